package custody

import (
	"errors"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
)

// copyBytes is the room of one copy: longer keys are read from the HSM each time.
const copyBytes = 128

// clearCopies keeps class C keys in locked memory that is never swapped or dumped,
// for a limited time. A nil *clearCopies keeps nothing. Safe for concurrent use.
type clearCopies struct {
	mu    sync.RWMutex
	arena []byte
	free  []int // where arena has room
	slots *cache.Bounded[*copySlot]
}

// copySlot is a copy in the arena. It is used only for the row that it was read from.
type copySlot struct {
	at, length int
	row        boundRow
}

// boundRow is the material MAC of a row, with the fields that the MAC binds. The fields
// are compared too, since the MAC of a row that has a copy is not computed again.
type boundRow struct {
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

// boundFields returns the fields of a key's row.
func boundFields(k *core.Key) boundRow {
	m := k.Material
	r := boundRow{typ: k.Type, algorithm: k.Algorithm, mask: k.Mask, mode: m.Mode, class: m.Class, kind: m.Kind, format: m.Format, wrap: m.Wrap, length: m.Length, epoch: m.Epoch, blob: len(m.Blob)}
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
		return nil, errors.New("the memory cannot be locked (" + err.Error() + "); raise the limit of locked memory (ulimit -l) or lower hsm.copies")
	}
	_ = unix.Madvise(arena, unix.MADV_DONTDUMP) // dumps are off anyway; old kernels refuse
	c := &clearCopies{arena: arena}
	c.slots = cache.New(n, ttl, c.freeSlot)
	for i := range n {
		c.free = append(c.free, i*copyBytes)
	}
	return c, nil
}

// freeSlot zeroes a copy that leaves the cache.
func (c *clearCopies) freeSlot(s *copySlot) {
	clear(c.arena[s.at : s.at+copyBytes])
	c.free = append(c.free, s.at)
}

// appendCopy appends the bytes of a key to dst, if there is a copy of its row. It
// allocates nothing if dst has room.
func (c *clearCopies) appendCopy(k *core.Key, dst []byte) ([]byte, bool) {
	if c == nil {
		return dst, false
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	s, ok := c.slots.Get(k.Tenant, k.ID)
	if !ok || len(k.Material.MAC) != sealBytes || s.row != boundFields(k) {
		return dst, false
	}
	return append(dst, c.arena[s.at:s.at+s.length]...), true
}

// remember keeps the bytes of a class C key whose row has been verified.
func (c *clearCopies) remember(k *core.Key, b []byte) {
	if c == nil || len(b) > copyBytes {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots.MakeRoom(k.Tenant, k.ID)
	last := len(c.free) - 1
	if last < 0 { // the copies have been zeroed for good
		return
	}
	at := c.free[last]
	c.free = c.free[:last]
	copy(c.arena[at:], b)
	c.slots.Put(k.Tenant, k.ID, &copySlot{at, len(b), boundFields(k)})
}

// forget zeroes the copy of a key.
func (c *clearCopies) forget(tenant, id string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots.Drop(tenant, id)
}

// forgetTenant zeroes the copies of all keys of a tenant.
func (c *clearCopies) forgetTenant(tenant string) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots.DropTenant(tenant)
}

// expire zeroes the copies whose time is over. [Custody] calls it every few seconds, so
// that a copy that nobody asks for ends too.
func (c *clearCopies) expire(now time.Time) {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots.Expire(now)
}

// length returns how many copies there are.
func (c *clearCopies) length() int {
	if c == nil {
		return 0
	}
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.slots.Len()
}

// unmapArena zeroes all copies and gives their memory back.
func (c *clearCopies) unmapArena() {
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.slots.Clear()
	unix.Munmap(c.arena) // nil the second time, which it refuses
	c.arena, c.free = nil, nil
}
