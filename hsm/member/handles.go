package member

import (
	"container/list"
	"context"
	"sync"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/hsm"
)

// handleCache keeps keys unwrapped in the token: unwrapping a private key costs
// 0.5 to 0.8 ms, using its handle 40 µs. The keeper session owns the objects. A
// handle in use is pinned; evicting one destroys its session object. Safe for
// concurrent use.
type handleCache struct {
	conn *connection
	most int
	ttl  time.Duration

	mu     sync.Mutex
	byMAC  map[string]*list.Element // of *handle
	macs   map[keyName]string       // of the handle that each key has
	order  *list.List               // front: used last
	counts map[string]int           // of each tenant
	doomed []doomedObject           // to be destroyed when mu is free: the token may be slow
}

// keyName names a key across its rows.
type keyName struct{ tenant, id string }

// doomedObject is a session object to be destroyed, by the library's start that
// knows it.
type doomedObject struct {
	object p11.ObjectHandle
	start  uint64
}

type handle struct {
	name    keyName
	mac     string // of the row that it was unwrapped from
	object  p11.ObjectHandle
	start   uint64 // of the library that object is a number of
	owned   bool   // a session object, ours to destroy; else a token object
	pins    int
	dropped bool // while pinned: the last unpin destroys it
	lost    bool // the token forgot it: nothing to destroy
	expires time.Time
}

func newHandleCache(c *connection, most int, ttl time.Duration) *handleCache {
	return &handleCache{conn: c, most: most, ttl: ttl, byMAC: map[string]*list.Element{}, macs: map[keyName]string{}, order: list.New(), counts: map[string]int{}}
}

// pin finds the handle of a key and holds it; nil if there is none.
func (h *handleCache) pin(k *hsm.Key) *handle {
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.byMAC[string(k.MAC)]
	if !ok || k.MAC == nil {
		return nil
	}
	v := e.Value.(*handle)
	if time.Now().After(v.expires) || v.start != h.conn.starts.Load() {
		h.removeLocked(e)
		return nil
	}
	h.order.MoveToFront(e)
	v.pins++
	return v
}

// add keeps a fresh handle, pinned. It replaces another of the same key, such as one
// that was unwrapped at the same moment. The handle of a key without a MAC is not
// kept: it goes with its pin.
func (h *handleCache) add(k *hsm.Key, object p11.ObjectHandle, start uint64, owned bool) *handle {
	name := keyName{k.Tenant, k.ID}
	v := &handle{name: name, mac: string(k.MAC), object: object, start: start, owned: owned, pins: 1, expires: time.Now().Add(h.ttl)}
	if v.dropped = k.MAC == nil; v.dropped {
		return v
	}
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	if mac, ok := h.macs[name]; ok {
		h.removeLocked(h.byMAC[mac])
	}
	h.byMAC[v.mac], h.macs[name] = h.order.PushFront(v), v.mac
	h.counts[name.tenant]++
	h.evictLocked()
	return v
}

// evictLocked drops the handles that were not used for longest while there are too
// many. A tenant that uses very many keys drives out its own, not those of others.
func (h *handleCache) evictLocked() {
	for e := h.order.Back(); e != nil && h.order.Len() > h.most; {
		prev := e.Prev()
		fairShare := h.most / max(1, len(h.counts))
		if v := e.Value.(*handle); v.pins == 0 && h.counts[v.name.tenant] >= fairShare {
			h.removeLocked(e)
		}
		e = prev
	}
}

func (h *handleCache) unpin(v *handle) {
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.pins--; v.pins == 0 && v.dropped {
		h.doomLocked(v)
	}
}

func (h *handleCache) drop(tenant, id string) {
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	if mac, ok := h.macs[keyName{tenant, id}]; ok {
		h.removeLocked(h.byMAC[mac])
	}
}

func (h *handleCache) removeLocked(e *list.Element) {
	v := h.order.Remove(e).(*handle)
	delete(h.byMAC, v.mac)
	delete(h.macs, v.name)
	if h.counts[v.name.tenant]--; h.counts[v.name.tenant] <= 0 {
		delete(h.counts, v.name.tenant)
	}
	if v.dropped = true; v.pins == 0 {
		h.doomLocked(v)
	}
}

func (h *handleCache) doomLocked(v *handle) {
	if v.owned && !v.lost {
		h.doomed = append(h.doomed, doomedObject{v.object, v.start})
	}
}

// destroyDoomed destroys what has been dropped. If the token has no time for it now,
// the next call does it; a token that was finalized has none of it any more.
func (h *handleCache) destroyDoomed() {
	h.mu.Lock()
	due := h.doomed
	if h.doomed = nil; len(due) == 0 {
		h.mu.Unlock()
		return
	}
	h.mu.Unlock()
	if h.destroyAll(due) != nil {
		h.mu.Lock()
		h.doomed = append(h.doomed, due...)
		h.mu.Unlock()
	}
}

// destroyAll destroys objects of the keeper's. Those of a library that was finalized
// since are gone, and their numbers may be keys of sets by now.
func (h *handleCache) destroyAll(objects []doomedObject) error {
	c := h.conn
	if err := c.gate.enter(c.cfg.Wait); err != nil {
		return err
	}
	defer c.gate.leave()
	if c.closed {
		return nil
	}
	if err := c.turn.take(context.Background()); err != nil {
		return err
	}
	defer c.turn.give()
	for _, o := range objects {
		if o.start == c.starts.Load() {
			c.ctx.DestroyObject(c.keeper, o.object)
		}
	}
	return nil
}

// dropAll drops every handle. Those in use are destroyed with their last pin.
func (h *handleCache) dropAll() {
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.order.Len() > 0 {
		h.removeLocked(h.order.Front())
	}
}

// loseAll drops every handle without asking the token, which has forgotten them.
func (h *handleCache) loseAll() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for e := h.order.Front(); e != nil; e = e.Next() {
		e.Value.(*handle).lost = true
	}
	for h.order.Len() > 0 {
		h.removeLocked(h.order.Front())
	}
	h.doomed = nil
}

// expire drops the handles that have ended by now.
func (h *handleCache) expire(now time.Time) {
	defer h.destroyDoomed()
	h.mu.Lock()
	defer h.mu.Unlock()
	for e := h.order.Back(); e != nil; {
		prev := e.Prev()
		if now.After(e.Value.(*handle).expires) {
			h.removeLocked(e)
		}
		e = prev
	}
}

func (h *handleCache) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.order.Len()
}
