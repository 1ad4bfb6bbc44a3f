package engine

import (
	"context"
	"strconv"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of the records of failed logins. Anyone who reaches a door can cause such a
// record, and each costs a sync of the disk and a row that is never deleted.
const (
	loginsEach   = 10   // of one address that get a record of their own in a period
	loginSources = 4096 // addresses that are counted separately in a period
)

// logins counts the failed logins of a period by address. Safe for concurrent use.
type logins struct {
	mu   sync.Mutex
	seen map[string]int
	rest map[string]*core.Record // the last login that was counted and not recorded
}

// elsewhere stands for the addresses beyond loginSources.
const elsewhere = "other addresses"

// RecordLogin records a failed authentication by a method, which is one of core.Methods. The first ones of an address in a period
// get a record each. The others are counted, and [Engine.RecordCountedLogins] records
// their number.
func (e *Engine) RecordLogin(ctx context.Context, method string, r core.Record) error {
	_, err := e.RecordLoginAt(ctx, method, r)
	return err
}

// RecordLoginAt is [Engine.RecordLogin]. It returns the Time of the record, 0 if the login was
// only counted.
func (e *Engine) RecordLoginAt(ctx context.Context, method string, r core.Record) (int64, error) {
	e.Ports.FailedLogin(r.Door, method)
	r.Time, r.Action, r.Outcome, r.Code = e.Ports.Clock.NowMicro(), core.ActionLogin, core.Denied, core.AuthenticationNotSuccessful
	if !e.logins.recordsAlone(r) {
		return 0, nil
	}
	return r.Time, e.Ports.Store.Commit(ctx, core.ChangeOf(e.Ports.RecordWrite(&r)))
}

// recordsAlone counts a failed login and reports whether it gets its own record.
func (l *logins) recordsAlone(r core.Record) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	from := r.Address
	if _, known := l.seen[from]; !known && len(l.seen) >= loginSources {
		from = elsewhere
	}
	if l.seen == nil {
		l.seen, l.rest = map[string]int{}, map[string]*core.Record{}
	}
	if l.seen[from]++; l.seen[from] <= loginsEach {
		return true
	}
	r.Address = from
	l.rest[from] = &r
	return false
}

// RecordCountedLogins ends a period: it records for each address how many failed logins
// were only counted. The server calls it once a minute and before it stops.
func (e *Engine) RecordCountedLogins(ctx context.Context) error {
	e.logins.mu.Lock()
	seen, rest := e.logins.seen, e.logins.rest
	e.logins.seen, e.logins.rest = nil, nil
	e.logins.mu.Unlock()
	var ch core.Change
	for from, r := range rest {
		counted := *r
		counted.Detail = strconv.Itoa(seen[from]-loginsEach) + " more failed logins in this period; the last: " + r.Detail
		ch.Add(e.Ports.RecordWrite(&counted))
	}
	if len(ch.Writes) == 0 {
		return nil
	}
	err := e.Ports.Store.Commit(ctx, &ch)
	if err != nil {
		e.logins.putBack(seen, rest)
	}
	return err
}

// putBack adds counts that could not be recorded to the new period.
func (l *logins) putBack(seen map[string]int, rest map[string]*core.Record) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.seen == nil {
		l.seen, l.rest = map[string]int{}, map[string]*core.Record{}
	}
	for from, r := range rest {
		l.seen[from] = max(l.seen[from], loginsEach) + seen[from] - loginsEach
		if l.rest[from] == nil {
			l.rest[from] = r
		}
	}
}
