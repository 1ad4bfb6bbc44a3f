package ldap

import (
	"errors"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Times between two probes.
const (
	probeInterval   = 5 * time.Second // during an outage
	quietInterval   = time.Minute     // while the directory answers
	refusedInterval = 5 * time.Minute // while it refuses the service account, which many tries could lock
)

// outage is a time in which logins are refused without asking the directory, so that they do
// not wait for it. It begins with a login or a probe that failed, and ends with a probe. Safe
// for concurrent use.
type outage struct {
	mu      sync.Mutex
	problem error // nil: there is no outage
	asked   time.Time
}

// refusal returns an error during an outage.
func (o *outage) refusal() error {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.problem == nil {
		return nil
	}
	return core.Wrap(core.StoreUnavailable, o.problem, "the LDAP directory cannot verify passwords at present; try again later")
}

// note notes whether the directory answered, nil, or why not. It reports whether that has
// changed.
func (o *outage) note(problem error) (changed bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	changed = (o.problem == nil) != (problem == nil)
	o.problem, o.asked = problem, time.Now()
	return changed
}

// probeDue reports whether it is time for the next probe.
func (o *outage) probeDue(now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	wait := probeInterval
	if _, refused := errors.AsType[*serviceRefusedError](o.problem); refused {
		wait = refusedInterval
	} else if o.problem == nil {
		wait = quietInterval
	}
	return now.Sub(o.asked) >= wait-time.Second // ticks are not exact
}

// describe returns the cause of an outage, "" if there is none.
func (o *outage) describe() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.problem == nil {
		return ""
	}
	return core.Printable(o.problem.Error(), maxSettingBytes)
}
