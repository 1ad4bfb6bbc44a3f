package server

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/adminsocket"
)

// AuditPage is the answer of the command audit list, newest first.
type AuditPage struct {
	Entries []audit.Entry `json:"entries"`
	Before  int64         `json:"before,omitempty"` // page on from here; 0: there are no more
}

// Bounds of one answer about records.
const (
	maxAuditPage = 1000 // entries
	adminPages   = 20   // pages that a filtered question walks through, of 1000 entries
)

// listRecords reads records back until the page is full.
func (d *adminDoor) listRecords(ctx context.Context, _ *core.Caller, q *adminsocket.Question) (any, error) {
	rq, want, err := auditQuery(q.Values)
	if err != nil {
		return nil, err
	}
	var page AuditPage
	for range adminPages {
		stored, err := d.store.Records(ctx, rq)
		if err != nil {
			return nil, err
		}
		for _, e := range stored {
			entry, err := audit.Decode(e)
			if err != nil {
				return nil, fmt.Errorf("record %d: %w", e.Number, err)
			}
			if isAskedFor(&entry, q.Values) {
				if page.Entries = append(page.Entries, entry); len(page.Entries) == want {
					page.Before = e.Number
					return page, nil
				}
			}
			rq.Before = e.Number
		}
		if len(stored) < rq.Limit {
			return page, nil
		}
	}
	page.Before = rq.Before // not all has been looked at
	return page, nil
}

// auditQuery reads a filter of records. What it does not understand is an error: a
// filter that is passed over would show more than was asked for.
func auditQuery(q url.Values) (rq core.RecordQuery, want int, err error) {
	texts := []string{"tenant", "principal", "object", "operation", "outcome"}
	numbers := map[string]int64{"limit": 0, "since": 0, "until": 0, "before": 0}
	for name, values := range q {
		_, isNumber := numbers[name]
		if len(values) != 1 || (!isNumber && !slices.Contains(texts, name)) {
			return rq, 0, core.Errorf(core.InvalidField, "%q is no filter of records, or is given twice", name)
		}
		if !isNumber || values[0] == "" {
			continue
		}
		if numbers[name], err = strconv.ParseInt(values[0], 10, 64); err != nil {
			return rq, 0, core.Errorf(core.InvalidField, "%s must be a whole number, not %q", name, values[0])
		}
	}
	if o := q.Get("outcome"); !slices.ContainsFunc([]core.Outcome{"", core.Allowed, core.Denied, core.Failed}, func(is core.Outcome) bool { return strings.EqualFold(o, string(is)) }) {
		return rq, 0, core.Errorf(core.InvalidField, "outcome must be allowed, denied or failed, not %q", o)
	}
	if o := q.Get("operation"); o != "" {
		if _, ok := core.ActionByName(o); !ok {
			return rq, 0, core.Errorf(core.InvalidField, "operation %q is in no record; Get, Create Key Pair and Load Policy are some", o)
		}
	}
	if n := numbers["limit"]; n <= 0 || n > maxAuditPage {
		return rq, 0, core.Errorf(core.InvalidField, "limit must be from 1 to %d", maxAuditPage)
	}
	return core.RecordQuery{Tenant: q.Get("tenant"), Since: numbers["since"], Until: numbers["until"], Before: numbers["before"], Limit: 1000}, int(numbers["limit"]), nil
}

// isAskedFor reports whether an entry passes the filters that the store does not know.
func isAskedFor(e *audit.Entry, q url.Values) bool {
	equal := func(want, have string) bool { return want == "" || strings.EqualFold(want, have) }
	action, _ := core.ActionByName(q.Get("operation"))
	return equal(q.Get("principal"), e.Principal) && (q.Get("object") == "" || e.Names(q.Get("object"))) &&
		equal(action.String(), e.Operation) && equal(q.Get("outcome"), e.Outcome)
}
