package member

import (
	"sync"
	"time"
)

// doubtfulObjects are the token objects that the library failed to destroy. SoftHSM2 drops
// such an object from its memory while the file stays. So "not found" proves nothing until
// the library is started again and has read its files. Safe for concurrent use.
type doubtfulObjects struct {
	mu    sync.Mutex
	since map[string]uint64 // label -> start of the library in which it failed
	next  time.Time         // the earliest time to start the library again for it
	wait  time.Duration     // from that start to the next
}

func (d *doubtfulObjects) addObject(label string, start uint64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.since == nil {
		d.since = map[string]uint64{}
	}
	d.since[label] = start
}

func (d *doubtfulObjects) removeObject(label string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.since, label)
	if len(d.since) == 0 {
		d.wait = 0
	}
}

// containsObject reports whether the library failed to destroy the object after it last
// read the token's files.
func (d *doubtfulObjects) containsObject(label string, start uint64) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	since, ok := d.since[label]
	return ok && since == start
}

// mayReadAgain reports whether the library may be started again now. If so, it plans the
// next time.
func (d *doubtfulObjects) mayReadAgain(now time.Time) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if now.Before(d.next) {
		return false
	}
	d.wait = min(max(2*d.wait, firstWait), longestWait)
	d.next = now.Add(d.wait)
	return true
}

// Bounds of starting the library again only to read the token's files: a start stops all
// calls for a moment and drops all handles.
const (
	firstWait   = time.Minute
	longestWait = time.Hour
)
