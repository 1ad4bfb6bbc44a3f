package member

import (
	"context"
	"sync"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core/cache"
	"github.com/keyreeve/keyreeve/hsm"
)

// handleCache keeps keys unwrapped in the token: unwrapping a private key costs 0.5 to
// 0.8 ms, using its handle 40 µs. The keeper session owns the objects. A handle in use
// is pinned. A handle that leaves the cache is destroyed when its last pin is released.
// Safe for concurrent use.
type handleCache struct {
	conn *connection

	mu     sync.Mutex
	kept   *cache.Bounded[*handle]
	doomed []doomedObject // to be destroyed without mu: the token may be slow
}

// handle is the number of a key's object in the token.
type handle struct {
	mac     string // of the row that it was unwrapped from
	object  p11.ObjectHandle
	start   uint64 // of the library: object is a number of this start only
	owned   bool   // a session object, ours to destroy; else a token object
	pins    int
	dropped bool // not in the cache: releasing the last pin destroys it
}

// doomedObject is a session object to be destroyed, with the start of the library that
// knows it.
type doomedObject struct {
	object p11.ObjectHandle
	start  uint64
}

func newHandleCache(c *connection, most int, lifetime time.Duration) *handleCache {
	h := &handleCache{conn: c}
	h.kept = cache.New(most, lifetime, func(v *handle) {
		v.dropped = true
		h.doomUnpinned(v)
	})
	return h
}

// doomUnpinned plans to destroy a handle that has left the cache, unless it is in use.
// The caller holds mu.
func (h *handleCache) doomUnpinned(v *handle) {
	if v.dropped && v.pins == 0 && v.owned {
		h.doomed = append(h.doomed, doomedObject{v.object, v.start})
	}
}

// pinKept finds the handle of a key and pins it. It returns nil if there is none.
func (h *handleCache) pinKept(k *hsm.Key) *handle {
	h.mu.Lock()
	defer h.mu.Unlock()
	v, ok := h.kept.Get(k.Tenant, k.ID)
	if !ok || k.MAC == nil || v.mac != string(k.MAC) || v.start != h.conn.starts.Load() {
		return nil
	}
	v.pins++
	return v
}

// addPinned keeps a new handle and pins it. It replaces another handle of the key, such
// as one that was unwrapped at the same moment. The handle of a key without a MAC is not
// kept: it ends with its pin.
func (h *handleCache) addPinned(k *hsm.Key, object p11.ObjectHandle, start uint64, owned bool) *handle {
	v := &handle{mac: string(k.MAC), object: object, start: start, owned: owned, pins: 1, dropped: k.MAC == nil}
	if v.dropped {
		return v
	}
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.Put(k.Tenant, k.ID, v)
	return v
}

func (h *handleCache) releasePin(v *handle) {
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	v.pins--
	h.doomUnpinned(v)
}

// forget drops the handle of a key.
func (h *handleCache) forget(tenant, id string) {
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.Drop(tenant, id)
}

// forgetTenant drops the handles of all keys of a tenant.
func (h *handleCache) forgetTenant(tenant string) {
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.DropTenant(tenant)
}

// destroyDoomed destroys the planned objects. If the token has no time for it now, the
// next call does it.
func (h *handleCache) destroyDoomed() {
	h.mu.Lock()
	due := h.doomed
	h.doomed = nil
	h.mu.Unlock()
	if len(due) > 0 && h.destroyAll(due) != nil {
		h.mu.Lock()
		h.doomed = append(h.doomed, due...)
		h.mu.Unlock()
	}
}

// destroyAll destroys objects of the keeper. If the library was started again since,
// they are gone, and their numbers may be keys of sets by now.
func (h *handleCache) destroyAll(objects []doomedObject) error {
	c := h.conn
	if err := c.gate.enterWithin(c.cfg.Wait); err != nil {
		return err
	}
	defer c.gate.leaveGate()
	if c.closed {
		return nil
	}
	if err := c.turn.takeTurn(context.Background()); err != nil {
		return err
	}
	defer c.turn.giveTurn()
	for _, o := range objects {
		if o.start == c.starts.Load() {
			c.ctx.DestroyObject(c.keeper, o.object)
		}
	}
	return nil
}

// dropAll drops every handle.
func (h *handleCache) dropAll() {
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.Clear()
}

// loseAll drops every handle of a library that is being started again. Nothing is left
// to destroy.
func (h *handleCache) loseAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.Clear()
	h.doomed = nil
}

// expire drops the handles whose time is over.
func (h *handleCache) expire(now time.Time) {
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	h.kept.Expire(now)
}

// length returns how many handles are kept.
func (h *handleCache) length() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.kept.Len()
}
