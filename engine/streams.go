package engine

import (
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of data in parts (KMIP 1.3 and later; 1.4 §4, 2.1 §6).
const (
	maxStreams      = 1024        // under way at once
	maxStreamsEach  = 32          // of them one principal's
	maxHeld         = 16 << 20    // bytes held back of one stream
	maxHeldInAll    = 64 << 20    // bytes held back of all streams
	streamIdle      = time.Minute // between two parts
	correlationSize = 16          // bytes of a Correlation Value
)

// streamOwner identifies the client that may continue a stream: the same principal
// with the same certificate, on any connection.
type streamOwner struct{ tenant, id, fingerprint string }

// Account counts the memory of one principal over all its connections. The bytes that
// a stream holds count until the stream has ended.
type Account interface {
	TryReserve(bytes int64) error // never waits
	Release(bytes int64)
	Close() // the account is no longer used by this stream
}

// streams is the table of the streams under way. Safe for concurrent use.
type streams struct {
	mu   sync.Mutex
	idle map[string]*Stream                     // between two parts
	open func(tenant, principal string) Account // nil: streams count in no account
	each map[streamOwner]int
	all  int
	held int // bytes, of all streams
}

func newStreams(open func(tenant, principal string) Account) *streams {
	return &streams{open: open, idle: map[string]*Stream{}, each: map[streamOwner]int{}}
}

// beginStream counts a new stream, if the bounds allow one more.
func (t *streams) beginStream(s *Stream) (*Stream, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all >= maxStreams || t.each[s.owner] >= maxStreamsEach {
		return nil, core.Errorf(core.Busy, "%d streams are under way, %d of them yours; at most %d and %d may be", t.all, t.each[s.owner], maxStreams, maxStreamsEach)
	}
	t.all++
	t.each[s.owner]++
	s.table = t
	if t.open != nil {
		s.memory = t.open(s.owner.tenant, s.owner.id)
	}
	return s, nil
}

// takeUp removes a stored stream from the table and returns it; nil if the owner has
// none with this Correlation Value for the action.
func (t *streams) takeUp(id string, owner streamOwner, action core.Action) *Stream {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.idle[id]
	if s == nil || s.owner != owner || s.action != action {
		return nil
	}
	delete(t.idle, id)
	s.timer.Stop()
	s.suspended = false
	return s
}

// expireIdle ends a stream whose next part did not come in time.
func (t *streams) expireIdle(s *Stream) {
	t.mu.Lock()
	mine := t.idle[s.id] == s
	if mine {
		delete(t.idle, s.id)
		s.suspended = false
	}
	t.mu.Unlock()
	if mine {
		s.Release()
	}
}
