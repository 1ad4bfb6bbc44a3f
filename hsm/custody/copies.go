package custody

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/core"
)

// copyBytes is the room of one copy: longer keys are read from the token each time.
const copyBytes = 128

// clearCopies keeps class C keys in locked memory that is never swapped or dumped,
// for a limited time. A nil *clearCopies keeps nothing. Safe for concurrent use.
type clearCopies struct {
	mu     sync.RWMutex
	ttl    time.Duration
	arena  []byte
	free   []int
	slots  map[keyName]copySlot
	size   int            // slots there are
	counts map[string]int // slots of each tenant
}

// keyName names a key across its rows.
type keyName struct{ tenant, id string }

// copySlot remembers the row that it was filled from: a hit must have the same one.
type copySlot struct {
	at, n   int
	row     keyRow
	expires time.Time
}

// keyRow is what a row says of a key, by its material MAC. The other fields are bound
// by the MAC; they are compared because the MAC of a hit is not computed.
type keyRow struct {
	mac                 [sealBytes]byte
	typ                 core.ObjectType
	algorithm           core.CryptographicAlgorithm
	mask                core.UsageMask
	mode                core.Mode
	class               core.Class
	kind                core.KeyKind
	format              core.KeyFormatType
	wrap                string
	length, epoch, blob int
}

func rowOf(k *core.Key) keyRow {
	m := k.Material
	r := keyRow{typ: k.Type, algorithm: k.Algorithm, mask: k.Mask, mode: m.Mode, class: m.Class, kind: m.Kind, format: m.Format, wrap: m.Wrap, length: m.Length, epoch: m.Epoch, blob: len(m.Blob)}
	copy(r.mac[:], m.MAC)
	return r
}

func newClearCopies(n int, ttl time.Duration) (*clearCopies, error) {
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
	c := &clearCopies{ttl: ttl, arena: arena, slots: make(map[keyName]copySlot, n), size: n, counts: map[string]int{}}
	for i := range n {
		c.free = append(c.free, i*copyBytes)
	}
	return c, nil
}

// get appends the key's bytes to dst. It allocates nothing where dst has room.
func (c *clearCopies) get(k *core.Key, dst []byte) ([]byte, bool) {
	if c == nil {
		return dst, false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	s, ok := c.slots[keyName{k.Tenant, k.ID}]
	if !ok || len(k.Material.MAC) != sealBytes || s.row != rowOf(k) || time.Now().After(s.expires) {
		return dst, false
	}
	return append(dst, c.arena[s.at:s.at+s.n]...), true
}

// put keeps a verified class C key's bytes.
func (c *clearCopies) put(k *core.Key, b []byte) {
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
	c.counts[name.tenant]++
	c.slots[name] = copySlot{at, len(b), rowOf(k), time.Now().Add(c.ttl)}
}

// evictLocked drops a copy of a tenant that has at least its share, so that a
// tenant with very many keys drives out its own. Map order is random enough.
func (c *clearCopies) evictLocked() {
	share := c.size / max(1, len(c.counts))
	for victim := range c.slots {
		if c.counts[victim.tenant] >= share {
			c.dropLocked(victim)
			return
		}
	}
}

func (c *clearCopies) drop(tenant, id string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.dropLocked(keyName{tenant, id})
}

func (c *clearCopies) dropLocked(name keyName) {
	if s, ok := c.slots[name]; ok {
		clear(c.arena[s.at : s.at+copyBytes])
		c.free = append(c.free, s.at)
		delete(c.slots, name)
		if c.counts[name.tenant]--; c.counts[name.tenant] <= 0 {
			delete(c.counts, name.tenant)
		}
	}
}

// expire zeroes what is too old; [Custody] calls it every few seconds, so that
// a copy that nobody asks for ends too.
func (c *clearCopies) expire(now time.Time) {
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

func (c *clearCopies) count() int {
	if c == nil {
		return 0
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return len(c.slots)
}

func (c *clearCopies) close() {
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
