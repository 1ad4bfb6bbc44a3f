package store

import (
	"fmt"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/document"
)

// selectCandidates is the beginning of the SELECT of candidates. It reads no blobs.
var selectCandidates = "SELECT " + objectColumns + ", " + custodyColumns

// columnOf has the typed column of each attribute that Locate compares for equality.
// Each column except length has an index named after it, which is also ordered by seq.
var columnOf = map[core.Tag]string{core.TagUniqueIdentifier: "id", core.TagObjectType: "type", core.TagCryptographicAlgorithm: "algorithm",
	core.TagCryptographicLength: "length"}

// condition is what a filter demands of one column: that it equals low, or that it is
// a date from low to high.
type condition struct {
	column    string
	dates     bool
	low, high any
}

// conditions returns what a filter demands of the typed columns. The engine checks each
// candidate again, with all attributes.
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
			out = append(out, condition{column: "state", low: int64(s)}) // no date changes an object to s
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

// appendConditions adds the conditions on columns, reached dates, owner and groups.
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
	if !f.WholeTenant {
		s.appendOwnerCondition(f)
	}
}

// appendStateCondition adds the condition for the two states that an object reaches by
// a date alone. The stored state may be older than a date that was reached since.
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

// appendOwnerCondition limits the search to objects of the owner or the groups of f.
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

// groupsOf returns the groups of f that a row can have. The empty name is no group.
func groupsOf(f *core.Filter) (out []any) {
	for _, g := range f.Groups {
		if g != "" && document.IsStorable(g) {
			out = append(out, g)
		}
	}
	return out
}

// canMatch reports whether any row can match. No row has a name that a database cannot
// store, and PostgreSQL would reject a query with such a name.
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

// maxJoined bounds the rows of the search table that one query demands. The engine
// checks the others.
const maxJoined = 8

// appendPage adds the condition for rows after the Seq beyond, in the order of f.
func (s *sqlBuilder) appendPage(f *core.Filter, column string, beyond int64) {
	switch {
	case f.OldestFirst:
		s.appendSQL(" AND "+column+" > ", beyond)
	case beyond != 0:
		s.appendSQL(" AND "+column+" < ", beyond)
	}
}

// appendOrder adds the order of f.
func (s *sqlBuilder) appendOrder(f *core.Filter, column string) {
	s.appendSQL(" ORDER BY " + column)
	if !f.OldestFirst {
		s.appendSQL(" DESC")
	}
}

// selectBySearchRows searches by the first of keys, which should be the rarest, and
// demands the others. CROSS JOIN keeps SQLite from changing the order of the tables.
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

// postgresCandidates returns the SELECT of a page. The planner of PostgreSQL chooses
// the index, because it has statistics.
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
