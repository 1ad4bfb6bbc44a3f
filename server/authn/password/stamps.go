package password

import (
	"container/list"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of the timestamps of Hashed Password credentials.
const (
	stampBehind   = 2 * time.Minute // how far a timestamp may be behind the server's clock
	stampAhead    = 5 * time.Second // how far it may be ahead
	stampsOfUser  = 256             // that are remembered
	stampingUsers = 16_384          // whose timestamps are remembered
)

// timestamps refuses a Hashed Password that was used before on this node. It remembers the newest
// timestamps of each user. What it has forgotten is refused too, because it is up to a floor.
//
// The process before this one may have accepted timestamps up to stampAhead after its end. So
// nothing up to stampAhead after the start is accepted. Each tenant has a floor of its own above
// that: the newest timestamp of its users that were forgotten to make room. Room is made by the
// tenant with the most users, so a tenant below its share keeps its floor, whatever others do.
// Safe for concurrent use.
type timestamps struct {
	floor int64 // of all tenants; Unix microseconds, as all timestamps

	mu      sync.Mutex
	users   int // of all tenants
	tenants map[string]*tenantStamps
}

// tenantStamps are the timestamps of the users of a tenant.
type tenantStamps struct {
	floor int64                    // up to it all are refused
	users map[string]*list.Element // by name; a *userStamps
	order *list.List               // the users, the one that logged in longest ago first
}

// userStamps are the newest timestamps that a user has used, sorted.
type userStamps struct {
	name string
	used []int64
}

func newTimestamps(start time.Time) *timestamps {
	return &timestamps{floor: start.Add(stampAhead).UnixMicro(), tenants: map[string]*tenantStamps{}}
}

// refuseAtStart fails with Busy until a timestamp of now can be accepted.
func (s *timestamps) refuseAtStart(now time.Time) error {
	wait := time.UnixMicro(s.floor).Sub(now)
	if wait < 0 {
		return nil
	}
	return core.Errorf(core.Busy, "the server has just started and accepts no Hashed Passwords yet; try again in %d s", wait/time.Second+1)
}

// accept notes the timestamp of a user. It fails if it must not be used.
func (s *timestamps) accept(tenant, name string, stamp int64, now time.Time) error {
	if stamp < now.Add(-stampBehind).UnixMicro() || stamp > now.Add(stampAhead).UnixMicro() {
		return errors.New("the timestamp of the Hashed Password is more than 2 minutes behind the server's clock, or more than 5 seconds ahead of it")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tenantLocked(tenant)
	var known []int64
	if e := t.users[name]; e != nil {
		known = e.Value.(*userStamps).used
	}
	place, found := slices.BinarySearch(known, stamp)
	switch {
	case found:
		return errors.New("the Hashed Password was used before")
	case stamp <= t.floor || len(known) == stampsOfUser && place == 0:
		return errors.New("the timestamp of the Hashed Password is from before the server accepted any, or older than too many others")
	case known == nil:
		s.makeRoomLocked(t, now)
	}
	known = slices.Insert(known, place, stamp)
	s.rememberLocked(t, name, known[max(0, len(known)-stampsOfUser):])
	return nil
}

func (s *timestamps) tenantLocked(tenant string) *tenantStamps {
	t := s.tenants[tenant]
	if t == nil {
		t = &tenantStamps{floor: s.floor, users: map[string]*list.Element{}, order: list.New()}
		s.tenants[tenant] = t // never removed: a floor must stay, and there are few tenants
	}
	return t
}

// rememberLocked keeps the timestamps of a user, who becomes the last to be forgotten.
func (s *timestamps) rememberLocked(t *tenantStamps, name string, used []int64) {
	if e := t.users[name]; e != nil {
		e.Value.(*userStamps).used = used
		t.order.MoveToBack(e)
		return
	}
	t.users[name] = t.order.PushBack(&userStamps{name, used})
	s.users++
}

// makeRoomLocked forgets a user if there are too many, of the tenant that has the most. The tenant
// that needs the room comes first among equals.
func (s *timestamps) makeRoomLocked(t *tenantStamps, now time.Time) {
	if s.users < stampingUsers {
		return
	}
	largest := t
	for _, other := range s.tenants {
		s.forgetOldLocked(other, now)
		if len(other.users) > len(largest.users) {
			largest = other
		}
	}
	if s.users >= stampingUsers {
		s.forgetFirstLocked(largest)
	}
}

// forgetOldLocked forgets users whose timestamps are all refused because of their age.
func (s *timestamps) forgetOldLocked(t *tenantStamps, now time.Time) {
	oldest := now.Add(-stampBehind).UnixMicro()
	for len(t.users) > 0 && t.order.Front().Value.(*userStamps).newest() < oldest {
		s.forgetFirstLocked(t)
	}
}

func (u *userStamps) newest() int64 { return u.used[len(u.used)-1] }

// forgetFirstLocked forgets the user of a tenant that logged in longest ago. Its timestamps must not
// become good again, so they raise the floor, also if they are too old by the clock of now.
func (s *timestamps) forgetFirstLocked(t *tenantStamps) {
	u := t.order.Remove(t.order.Front()).(*userStamps)
	delete(t.users, u.name)
	t.floor = max(t.floor, u.newest())
	s.users--
}
