package hsm

import (
	"bytes"
	"container/list"
	"sync"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// handles keeps keys unwrapped in the token: unwrapping a private key costs
// 0.5 to 0.8 ms, using its handle 40 µs. The keeper session owns the objects.
// One in use is pinned; evicting one destroys its session object.
type handles struct {
	token *Token
	most  int
	ttl   time.Duration

	mu     sync.Mutex
	byKey  map[keyName]*list.Element // of *handle
	order  *list.List                // front: used last
	counts map[string]int            // of each tenant
	doomed []doomed                  // to be destroyed when mu is free: the token may be slow
}

// doomed is a session object to be destroyed, by the library's start that knows it.
type doomed struct {
	object p11.ObjectHandle
	start  uint64
}

type handle struct {
	name    keyName
	mac     []byte // of the row it was unwrapped from
	object  p11.ObjectHandle
	start   uint64 // of the library that object is a number of
	owned   bool   // a session object, ours to destroy; else a token object
	pins    int
	dead    bool // dropped while pinned: destroyed by the last unpin
	lost    bool // the token forgot it: nothing to destroy
	expires time.Time
}

func newHandles(t *Token, most int, ttl time.Duration) *handles {
	return &handles{token: t, most: most, ttl: ttl, byKey: map[keyName]*list.Element{}, order: list.New(), counts: map[string]int{}}
}

// pin finds the handle of a row and holds it; nil when there is none.
func (h *handles) pin(k core.Key) *handle {
	defer h.reap()
	h.mu.Lock()
	defer h.mu.Unlock()
	e, ok := h.byKey[keyName{k.Tenant, k.ID}]
	if !ok {
		return nil
	}
	v := e.Value.(*handle)
	if !bytes.Equal(v.mac, k.Material.MAC) || time.Now().After(v.expires) || v.start != h.token.starts.Load() {
		h.removeLocked(e)
		return nil
	}
	h.order.MoveToFront(e)
	v.pins++
	return v
}

// add keeps a fresh handle, pinned. A second one for the same row, unwrapped
// at the same moment, replaces the first.
func (h *handles) add(k core.Key, object p11.ObjectHandle, start uint64, owned bool) *handle {
	defer h.reap()
	h.mu.Lock()
	defer h.mu.Unlock()
	name := keyName{k.Tenant, k.ID}
	if e, ok := h.byKey[name]; ok {
		h.removeLocked(e)
	}
	v := &handle{name: name, mac: k.Material.MAC, object: object, start: start, owned: owned, pins: 1, expires: time.Now().Add(h.ttl)}
	h.byKey[name] = h.order.PushFront(v)
	h.counts[name.tenant]++
	for e := h.order.Back(); e != nil && h.order.Len() > h.most; {
		prev := e.Prev()
		if v := e.Value.(*handle); v.pins == 0 && h.counts[v.name.tenant] >= h.fairShare() {
			h.removeLocked(e)
		}
		e = prev
	}
	return v
}

// fairShare is how many handles each tenant keeps whatever the others do. A tenant
// that uses very many keys drives out its own, not those of others.
func (h *handles) fairShare() int { return h.most / max(1, len(h.counts)) }

func (h *handles) unpin(v *handle) {
	defer h.reap()
	h.mu.Lock()
	defer h.mu.Unlock()
	if v.pins--; v.pins == 0 && v.dead {
		h.destroy(v)
	}
}

func (h *handles) drop(tenant, id string) {
	defer h.reap()
	h.mu.Lock()
	defer h.mu.Unlock()
	if e, ok := h.byKey[keyName{tenant, id}]; ok {
		h.removeLocked(e)
	}
}

func (h *handles) removeLocked(e *list.Element) {
	v := h.order.Remove(e).(*handle)
	delete(h.byKey, v.name)
	if h.counts[v.name.tenant]--; h.counts[v.name.tenant] <= 0 {
		delete(h.counts, v.name.tenant)
	}
	if v.dead = true; v.pins == 0 {
		h.destroy(v)
	}
}

func (h *handles) destroy(v *handle) {
	if v.owned && !v.lost {
		h.doomed = append(h.doomed, doomed{v.object, v.start})
	}
}

// reap destroys what has been dropped. A token that has no time for it now gets
// it with the next; one that was finalized has none of it any more.
func (h *handles) reap() {
	h.mu.Lock()
	due := h.doomed
	if h.doomed = nil; len(due) == 0 {
		h.mu.Unlock()
		return
	}
	h.mu.Unlock()
	if h.token.destroyAll(due) != nil {
		h.mu.Lock()
		h.doomed = append(h.doomed, due...)
		h.mu.Unlock()
	}
}

// destroyAll destroys objects of the keeper's. Those of a library finalized
// meanwhile are gone, and their numbers may be tenants' keys by now.
func (t *Token) destroyAll(objects []doomed) error {
	if err := t.life.share(t.cfg.Wait); err != nil {
		return err
	}
	defer t.life.leave()
	if err := t.admin.take(t.cfg.Wait); err != nil || t.lib == nil {
		return err
	}
	defer t.admin.give()
	for _, o := range objects {
		if o.start == t.starts.Load() {
			t.lib.DestroyObject(t.keeper, o.object)
		}
	}
	return nil
}

// forgetAll drops every handle that is not in use; dropAll all, without asking
// the token, which has forgotten them.
func (h *handles) forgetAll() {
	defer h.reap()
	h.mu.Lock()
	defer h.mu.Unlock()
	for h.order.Len() > 0 {
		h.removeLocked(h.order.Front())
	}
}

func (h *handles) dropAll() {
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

func (h *handles) expire(now time.Time) {
	defer h.reap()
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

func (h *handles) count() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.order.Len()
}
