package directory

import (
	"hash/maphash"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
)

// shelf keeps entries by name. Readers take no lock: a slot is a sorted list that is never
// changed, only replaced by another one. A list costs 8 bytes for each entry, a map would
// cost ten times as much. One writer at a time.
type shelf struct {
	seed  maphash.Seed
	slots []atomic.Pointer[[]*heldEntry]
}

// slotCount makes lists of 25 entries when there are 100,000.
const slotCount = 4096

func newShelf() shelf {
	return shelf{maphash.MakeSeed(), make([]atomic.Pointer[[]*heldEntry], slotCount)}
}

func (s *shelf) slotOf(name core.DirectoryName) *atomic.Pointer[[]*heldEntry] {
	return &s.slots[maphash.Comparable(s.seed, name)%slotCount]
}

// locateHeld returns the list of a slot, and where the name is or would be.
func locateHeld(slot *atomic.Pointer[[]*heldEntry], name core.DirectoryName) (list []*heldEntry, at int, found bool) {
	if p := slot.Load(); p != nil {
		list = *p
	}
	at, found = slices.BinarySearchFunc(list, name, compareHeld)
	return list, at, found
}

// compareHeld compares an entry with a name. Most differ in their ID.
func compareHeld(h *heldEntry, name core.DirectoryName) int {
	if order := strings.Compare(h.entry.ID, name.ID); order != 0 {
		return order
	}
	if order := strings.Compare(string(h.entry.Kind), string(name.Kind)); order != 0 {
		return order
	}
	return strings.Compare(h.entry.Tenant, name.Tenant)
}

func (s *shelf) findHeld(name core.DirectoryName) *heldEntry {
	if list, at, found := locateHeld(s.slotOf(name), name); found {
		return list[at]
	}
	return nil
}

// putHeld adds an entry, or replaces the one with its name.
func (s *shelf) putHeld(h *heldEntry) {
	slot := s.slotOf(h.entry.Name())
	list, at, found := locateHeld(slot, h.entry.Name())
	room := 1
	if found {
		room = 0
	}
	next := append(make([]*heldEntry, 0, len(list)+room), list[:at]...)
	next = append(append(next, h), list[at+1-room:]...)
	slot.Store(&next)
}

func (s *shelf) removeHeld(name core.DirectoryName) {
	slot := s.slotOf(name)
	if list, at, found := locateHeld(slot, name); found {
		next := append(slices.Clone(list[:at]), list[at+1:]...)
		slot.Store(&next)
	}
}

// eachHeld yields the entries in no order.
func (s *shelf) eachHeld(yield func(*heldEntry) bool) {
	for i := range s.slots {
		list := s.slots[i].Load()
		if list == nil {
			continue
		}
		for _, h := range *list {
			if !yield(h) {
				return
			}
		}
	}
}
