package store

import (
	"fmt"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/document"
)

// selectCandidates begins the SELECT of candidates, whose blobs are not read.
var selectCandidates = "SELECT " + objectColumns + ", " + custodyColumns

// columnOf gives the typed column of an attribute that Locate compares for
// equality; each has an index named after it that goes on by seq, but length.
var columnOf = map[core.Tag]string{core.TagUniqueIdentifier: "id", core.TagObjectType: "type", core.TagCryptographicAlgorithm: "algorithm",
	core.TagCryptographicLength: "length"}

// condition is what a filter demands of one column: equal to low, or from low
// to high.
type condition struct {
	column    string
	dates     bool
	low, high any
}

// conditions lists what the typed columns can tell of a filter. The rest is
// left to the engine, which checks each candidate again.
func conditions(f *core.Filter) (out []condition) {
	for i := range f.Attributes {
		a := &f.Attributes[i]
		if c, ok := columnOf[a.Tag]; ok {
			low := any(a.Value.Num)
			if a.Value.Kind == core.KindTextString {
				low = a.Value.Text
			}
			out = append(out, condition{column: c, low: low})
		}
		if s := core.State(a.Value.Uint()); a.Tag == core.TagState && s != core.Active && s != core.Deactivated {
			out = append(out, condition{column: "state", low: int64(s)}) // no date leads here
		}
	}
	for _, d := range dateColumns {
		if all := f.Attributes.All(core.AttributeName{Tag: d.tag}); len(all) > 0 && all[0].Value.Kind == core.KindDateTime {
			low, high := all[0].Value.Num, all[0].Value.Num
			for _, a := range all {
				low, high = min(low, a.Value.Num), max(high, a.Value.Num)
			}
			out = append(out, condition{d.column, true, low, high})
		}
	}
	return out
}

// appendConditions writes what columns, dates fallen due, owner and groups demand.
func (s *sqlBuilder) appendConditions(f *core.Filter, cs []condition) {
	for _, c := range cs {
		if c.dates {
			s.appendSQL(" AND o."+c.column+" >= ", c.low)
			s.appendSQL(" AND o."+c.column+" <= ", c.high)
			continue
		}
		s.appendSQL(" AND o."+c.column+" = ", c.low)
	}
	for i := range f.Attributes {
		if f.Attributes[i].Tag == core.TagState {
			s.appendStateCondition(core.State(f.Attributes[i].Value.Uint()), f.Now)
		}
	}
	if !f.Everyone {
		s.appendOwnerCondition(f)
	}
}

// appendStateCondition asks for the two states that a date alone can lead to: what is stored
// may be older than the dates that have fallen due since.
func (s *sqlBuilder) appendStateCondition(wanted core.State, now int64) {
	switch wanted {
	case core.Active:
		s.appendSQL(fmt.Sprintf(" AND (o.state = %d OR o.state = %d AND o.activation_date <= ", core.Active, core.PreActive), now)
		s.appendSQL(")")
	case core.Deactivated:
		s.appendSQL(fmt.Sprintf(" AND (o.state = %d OR o.state IN (%d, %d) AND o.deactivation_date <= ", core.Deactivated, core.PreActive, core.Active), now)
		s.appendSQL(")")
	}
}

// appendOwnerCondition narrows to what the owner or the groups of f have.
func (s *sqlBuilder) appendOwnerCondition(f *core.Filter) {
	s.appendSQL(" AND (1 = 0")
	if document.IsStorable(f.Owner) {
		s.appendSQL(" OR o.owner = ", f.Owner)
	}
	if groups := groupsOf(f); len(groups) > 0 {
		s.appendSQL(" OR o.grp IN (", groups...)
		s.appendSQL(")")
	}
	s.appendSQL(")")
}

// groupsOf are the groups that a row can have; nobody is a member of the group
// without a name.
func groupsOf(f *core.Filter) (out []any) {
	for _, g := range f.Groups {
		if g != "" && document.IsStorable(g) {
			out = append(out, g)
		}
	}
	return out
}

// canMatch is false when nothing can match: no row has a name that a database
// cannot hold, and PostgreSQL would call the question an error.
func canMatch(tenant string, f *core.Filter) bool {
	for i := range f.Attributes {
		a := &f.Attributes[i]
		if a.Tag == core.TagUniqueIdentifier && (!document.IsStorable(a.Value.Text) || a.Value.Kind != core.KindTextString) {
			return false
		}
		if c := columnOf[a.Tag]; c != "" && c != "id" && a.Value.Kind == core.KindTextString {
			return false
		}
	}
	return document.IsStorable(tenant)
}

// maxJoined bounds the search rows that one query looks at; the engine checks
// the rest.
const maxJoined = 8

// appendPage asks for what comes beyond a Seq in the order that f wants.
func (s *sqlBuilder) appendPage(f *core.Filter, column string, beyond int64) {
	switch {
	case f.OldestFirst:
		s.appendSQL(" AND "+column+" > ", beyond)
	case beyond != 0:
		s.appendSQL(" AND "+column+" < ", beyond)
	}
}

// appendOrder ends a query with the order that f wants.
func (s *sqlBuilder) appendOrder(f *core.Filter, column string) {
	s.appendSQL(" ORDER BY " + column)
	if !f.OldestFirst {
		s.appendSQL(" DESC")
	}
}

// selectBySearchRows starts from the first of keys, which the caller has made the most
// selective one. CROSS JOIN keeps SQLite from turning the order round.
func (s *sqlBuilder) selectBySearchRows(tenant string, f *core.Filter, keys []searchRow, beyond int64) {
	s.appendSQL(selectCandidates+" FROM object_attr a CROSS JOIN object o WHERE o.seq = a.seq AND a.tenant = ", tenant)
	s.appendSQL(" AND a.name = ", keys[0].name)
	s.appendSQL(" AND a.val = ", keys[0].val)
	s.appendPage(f, "a.seq", beyond)
	for _, k := range keys[1:min(len(keys), maxJoined)] {
		s.appendSQL(" AND EXISTS (SELECT 1 FROM object_attr b WHERE b.tenant = ", tenant)
		s.appendSQL(" AND b.name = ", k.name)
		s.appendSQL(" AND b.val = ", k.val)
		s.appendSQL(" AND b.seq = a.seq)")
	}
	s.appendSQL(" AND o.tenant = ", tenant)
}

// postgresCandidates leaves the way to PostgreSQL's planner, which has
// statistics.
func postgresCandidates(tenant string, f *core.Filter, beyond int64, limit int) (string, []any) {
	s, order := &sqlBuilder{}, "o.seq"
	if keys := searchRows(f.Attributes); len(keys) > 0 {
		s.selectBySearchRows(tenant, f, keys, beyond)
		order = "a.seq"
	} else {
		s.appendSQL(selectCandidates+" FROM object o WHERE o.tenant = ", tenant)
		s.appendPage(f, "o.seq", beyond)
	}
	s.appendConditions(f, conditions(f))
	s.appendOrder(f, order)
	s.appendSQL(" LIMIT ", limit)
	return s.text.String(), s.args
}
