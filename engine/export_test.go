package engine

import "github.com/keyreeve/keyreeve/core"

// Bounds that the tests of all rooms need.
const (
	LoginSources   = loginSources
	LoginsEach     = loginsEach
	MaxHeld        = maxHeld
	MaxHeldInAll   = maxHeldInAll
	MaxStreamsEach = maxStreamsEach
)

// NewCKAID returns a new CKA_ID.
var NewCKAID = newCKAID

// StreamsLeft counts the streams under way, those between two parts, and the bytes
// that they hold.
func (e *Engine) StreamsLeft() (all, idle, held int) {
	return e.streams.all, len(e.streams.idle), e.streams.held
}

// IdleStreams lists the streams between two parts by their Correlation Values.
func (e *Engine) IdleStreams() map[string]*Stream { return e.streams.idle }

// ExpireStream ends a stream as if its next part had not come in time.
func (e *Engine) ExpireStream(s *Stream) { e.streams.expireIdle(s) }

// ObjectID returns the object of a stream.
func (s *Stream) ObjectID() string { return s.object }

// CountStreamsIn sets where the memory of streams counts.
func (e *Engine) CountStreamsIn(open func(tenant, principal string) Account) { e.streams.open = open }

// ForgetSnapshot drops an object from the cache.
func (e *Engine) ForgetSnapshot(tenant, id string) { e.objects.forget(tenant, id) }

// PlantSnapshot puts an old snapshot into the cache.
func (e *Engine) PlantSnapshot(o *core.ManagedObject) {
	e.objects.forget(o.Tenant, o.ID)
	_, generation := e.objects.lookUp(o.Tenant, o.ID, 0)
	e.objects.fillFromStore(o, generation, 0)
}

// TakeTurn takes the turn of loading a tenant's keys and never gives it back.
func (t *Tenants) TakeTurn(tenant string) {
	busy := make(chan struct{}, 1)
	busy <- struct{}{}
	t.turns.Store(tenant, busy)
}

// StillGranted checks the grants of an operation again.
func (k *Call) StillGranted() error { return k.stillGranted() }

// ForgetGrants removes all grants of an operation.
func (k *Call) ForgetGrants() { k.grants = k.grantRoom[:0] }
