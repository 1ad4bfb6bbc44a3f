package hsm

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/core"
)

// copyBytes is the room of one copy: longer keys are read from the token each time.
const copyBytes = 128

// copies keeps class C keys in locked memory that is never swapped or dumped,
// for a limited time. A nil *copies keeps nothing.
type copies struct {
	mu    sync.RWMutex
	ttl   time.Duration
	arena []byte
	free  []int
	slots map[keyName]copySlot
	size  int            // slots there are
	has   map[string]int // slots of each tenant
}

type keyName struct{ tenant, id string }

// copySlot remembers the row it was filled from: a hit must have the same one.
type copySlot struct {
	at, n   int
	mat     *core.Material
	alg     core.CryptographicAlgorithm
	mask    core.UsageMask
	expires time.Time
}

func newCopies(n int, ttl time.Duration) (*copies, error) {
	if n < 0 || ttl < 0 {
		return nil, nil
	}
	arena, err := unix.Mmap(-1, 0, n*copyBytes, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, err
	}
	if err := unix.Mlock(arena); err != nil {
		unix.Munmap(arena)
		return nil, errors.New("their memory cannot be locked (" + err.Error() + "); raise the limit of locked memory (ulimit -l) or lower hsm.copies")
	}
	_ = unix.Madvise(arena, unix.MADV_DONTDUMP) // dumps are off anyway; old kernels refuse
	c := &copies{ttl: ttl, arena: arena, slots: make(map[keyName]copySlot, n), size: n, has: map[string]int{}}
	for i := range n {
		c.free = append(c.free, i*copyBytes)
	}
	return c, nil
}

// get appends the key's bytes to dst. It allocates nothing where dst has room.
func (c *copies) get(k *core.Key, dst []byte) ([]byte, bool) {
	if c == nil {
		return dst, false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	s, ok := c.slots[keyName{k.Tenant, k.ID}]
	if !ok || s.mat != k.Material || s.alg != k.Algorithm || s.mask != k.Mask || time.Now().After(s.expires) {
		return dst, false
	}
	return append(dst, c.arena[s.at:s.at+s.n]...), true
}

// put keeps a verified class C key's bytes.
func (c *copies) put(k *core.Key, b []byte) {
	if c == nil || len(b) > copyBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	name := keyName{k.Tenant, k.ID}
	c.dropLocked(name)
	if len(c.free) == 0 {
		c.evictLocked()
	}
	at := c.free[len(c.free)-1]
	c.free = c.free[:len(c.free)-1]
	copy(c.arena[at:], b)
	c.has[name.tenant]++
	c.slots[name] = copySlot{at, len(b), k.Material, k.Algorithm, k.Mask, time.Now().Add(c.ttl)}
}

// evictLocked drops a copy of a tenant that has at least its share, so that a
// tenant with very many keys drives out its own. Map order is random enough.
func (c *copies) evictLocked() {
	share := c.size / max(1, len(c.has))
	for victim := range c.slots {
		if c.has[victim.tenant] >= share {
			c.dropLocked(victim)
			return
		}
	}
}

func (c *copies) drop(tenant, id string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(keyName{tenant, id})
}

func (c *copies) dropLocked(name keyName) {
	if s, ok := c.slots[name]; ok {
		clear(c.arena[s.at : s.at+copyBytes])
		c.free = append(c.free, s.at)
		delete(c.slots, name)
		if c.has[name.tenant]--; c.has[name.tenant] <= 0 {
			delete(c.has, name.tenant)
		}
	}
}

// expire zeroes what is too old; the token calls it every few seconds, so that
// a copy that nobody asks for ends too.
func (c *copies) expire(now time.Time) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for name, s := range c.slots {
		if now.After(s.expires) {
			c.dropLocked(name)
		}
	}
}

func (c *copies) count() int {
	if c == nil {
		return 0
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.slots)
}

func (c *copies) close() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	clear(c.arena)
	c.slots = map[keyName]copySlot{}
	unix.Munmap(c.arena)
	c.arena, c.free = nil, nil
}
