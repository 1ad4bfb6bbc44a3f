package uses

import (
	"sync"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// A key may make 2^32 encryptions with random IVs. Nodes reserve some of them in the row of the
// key, in a commit before the first use, and count down in memory. What a node has reserved and
// not used when it stops is lost. So reservations begin small and double: a key that is used
// little on many nodes, or whose allotment is dropped often, loses little.
const (
	firstReservation = 1 << 12
	fullReservation  = 1 << 20
	maxAllotments    = 1 << 15 // keys for which a node has a reservation
)

// nonceTable has the reservations of this node. Safe for concurrent use.
type nonceTable struct {
	mu         sync.RWMutex
	allotments *cache.Bounded[*allotment]
}

func newNonceTable() *nonceTable {
	return &nonceTable{allotments: cache.New(maxAllotments, 0, func(*allotment) {})}
}

// allotment is what this node may still encrypt with one key. Whoever holds a dropped one may use
// it up: its encryptions are reserved for nobody else. Safe for concurrent use.
type allotment struct {
	left   atomic.Int64
	marked atomic.Bool // the row says that the key makes envelopes

	turn sync.Mutex // held while more is reserved
	next int64      // size of the next reservation
}

// take uses up one encryption. It reports false if none is left.
func (a *allotment) take() bool { return a.left.Load() > 0 && a.left.Add(-1) >= 0 }

// of returns the allotment of an object, which it adds if there is none.
func (t *nonceTable) of(o *core.ManagedObject) *allotment {
	t.mu.RLock()
	a, ok := t.allotments.Get(o.Tenant, o.ID)
	t.mu.RUnlock()
	if ok {
		return a
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if a, ok = t.allotments.Get(o.Tenant, o.ID); ok {
		return a
	}
	a = &allotment{next: firstReservation}
	t.allotments.MakeRoom(o.Tenant, o.ID)
	t.allotments.Put(o.Tenant, o.ID, a)
	return a
}

// admitIV checks the IV of an Encrypt, and counts the encryption if the server makes a random IV.
func (t *nonceTable) admitIV(k *engine.Call, o *core.ManagedObject, c *core.Cipher) error {
	if err := rules.CheckEnvelopeKey(o, &c.Parameters, c.IV); err != nil {
		return err
	}
	if rules.NeedsRawMark(o, &c.Parameters, c.IV) {
		if err := markRawCipher(k, o.ID); err != nil {
			return err
		}
	}
	if len(c.IV) > 0 || !rules.CountsNonces(o, &c.Parameters) {
		return nil
	}
	return t.count(k, o, false)
}

// markRawCipher stores the mark of a key that encrypts in a way that could break envelopes. This is
// one commit in the life of a key.
func markRawCipher(k *engine.Call, id string) error {
	defer fair.Waits(k.Ctx).Over()
	_, err := engine.CountUse(k, id, func(now *core.ManagedObject) (*core.ManagedObject, error) {
		if err := now.CheckUse(true, k.Now); err != nil {
			return nil, err
		}
		return rules.MarkRawCipher(now)
	})
	return err
}

// count uses up one encryption with a random IV. envelope says that it makes an envelope.
func (t *nonceTable) count(k *engine.Call, o *core.ManagedObject, envelope bool) error {
	a := t.of(o)
	if a.admits(o, envelope) && a.take() {
		return nil
	}
	defer fair.Waits(k.Ctx).Over()
	a.turn.Lock()
	defer a.turn.Unlock()
	if a.admits(o, envelope) && a.take() {
		return nil // another caller has reserved
	}
	var got int64
	next, err := engine.CountUse(k, o.ID, func(now *core.ManagedObject) (next *core.ManagedObject, err error) {
		if err = now.CheckUse(true, k.Now); err == nil {
			next, got, err = rules.ReserveNonces(now, a.next, envelope)
		}
		return next, err
	})
	if err != nil {
		return err
	}
	if rules.RotationDue(next) {
		k.Ports.Log.Warn("key is due for rotation", "tenant", o.Tenant, "object", o.ID, "encryptions", rules.ReservedNonces(next), "most", int64(rules.MaxNonces))
	}
	if envelope {
		a.marked.Store(true)
	}
	a.next = min(2*a.next, fullReservation)
	a.left.Add(got - 1) // one is for this caller
	return nil
}

// admits reports whether the row needs no mark before a use of the key.
func (a *allotment) admits(o *core.ManagedObject, envelope bool) bool {
	return !envelope || a.marked.Load() || rules.MakesEnvelopes(o)
}
