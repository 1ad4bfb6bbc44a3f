package store

import (
	"context"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/dberror"
	"github.com/keyreeve/keyreeve/store/document"
)

// SQLite has no statistics of our rows. So the entries of each usable index are counted
// before one is chosen: counting is cheaper than reading half of the table for nothing. An
// index that is also ordered by seq may have many matches. Matches of a range of dates
// must be sorted for each page, so there must be few.
const (
	probeRows  = 1_000
	probeDates = 10_000
	maxOwners  = 32 // owner and groups whose indexes are merged; if there are more, each row is checked
)

// Candidates implements [core.Store].
func (s *sqliteStore) Candidates(ctx context.Context, tenant string, f core.Filter, beyond int64, limit int) ([]*core.ManagedObject, error) {
	if !canMatch(tenant, &f) {
		return nil, nil
	}
	place, err := s.connections.searches.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	defer place.Release()
	text, args, err := s.planSearch(ctx, tenant, &f, beyond, limit)
	if err != nil || text == "" {
		return nil, err
	}
	var rows []*readObject
	if err := s.queryRows(ctx, scanCandidate(&rows), text, args...); err != nil {
		return nil, err
	}
	return s.openObjects(rows)
}

// planSearch returns the SELECT of a page, or "" if there are no candidates.
func (s *sqliteStore) planSearch(ctx context.Context, tenant string, f *core.Filter, beyond int64, limit int) (string, []any, error) {
	b, order, cs := &sqlBuilder{}, "o.seq", conditions(f)
	if keys := searchRows(f.Attributes); len(keys) > 0 {
		some, err := s.rarestFirst(ctx, tenant, keys)
		if err != nil || !some {
			return "", nil, err
		}
		b.selectBySearchRows(tenant, f, keys, beyond)
		order = "a.seq"
	} else {
		index, rows, err := s.shortest(ctx, tenant, cs)
		if err != nil {
			return "", nil, err
		}
		if mine := ownersOf(f); rows >= probeRows && len(mine) > 0 && len(mine) <= maxOwners {
			b.selectByOwners(tenant, f, mine, beyond)
			order = "m.seq"
		} else {
			b.appendSQL(selectCandidates+" FROM object o INDEXED BY "+index+" WHERE o.tenant = ", tenant)
			b.appendPage(f, "o.seq", beyond)
		}
	}
	b.appendConditions(f, cs)
	b.appendOrder(f, order)
	b.appendSQL(" LIMIT ", limit)
	return b.text.String(), b.args, nil
}

// rarestFirst sorts keys by their number of rows. It returns false if a key has none.
func (s *sqliteStore) rarestFirst(ctx context.Context, tenant string, keys []searchRow) (bool, error) {
	if len(keys) == 1 {
		return true, nil
	}
	counts := map[searchRow]int{}
	for _, k := range keys {
		n, err := s.countRows(ctx, probeRows, "object_attr WHERE tenant = $1 AND name = $2 AND val = $3", tenant, k.name, k.val)
		if err != nil || n == 0 {
			return false, err
		}
		counts[k] = n
	}
	slices.SortStableFunc(keys, func(a, b searchRow) int { return counts[a] - counts[b] })
	return true, nil
}

// shortest returns the index of the condition that the fewest rows meet, and their
// number as far as it was counted. Without conditions, it returns the index of all rows.
func (s *sqliteStore) shortest(ctx context.Context, tenant string, cs []condition) (index string, rows int, err error) {
	index, rows = "object_tenant", probeDates
	for _, c := range cs {
		n, name := probeDates, "object_"+c.column
		switch {
		case c.column == "length":
			continue
		case c.column == "id":
			return "sqlite_autoindex_object_1", 1, nil
		case c.dates:
			n, err = s.countRows(ctx, probeDates, "object INDEXED BY "+name+" WHERE tenant = $1 AND "+c.column+" >= $2 AND "+c.column+" <= $3", tenant, c.low, c.high)
		default:
			n, err = s.countRows(ctx, probeRows, "object INDEXED BY "+name+" WHERE tenant = $1 AND "+c.column+" = $2", tenant, c.low)
		}
		if err != nil {
			return "", 0, err
		}
		if n < rows {
			index, rows = name, n
		}
	}
	return index, rows, nil
}

// ownerColumn is a condition: an object that meets one of them is the caller's.
type ownerColumn struct {
	column string
	value  any
}

func ownersOf(f *core.Filter) (out []ownerColumn) {
	if f.WholeTenant {
		return nil
	}
	if document.IsStorable(f.Owner) {
		out = append(out, ownerColumn{"owner", f.Owner})
	}
	for _, g := range groupsOf(f) {
		out = append(out, ownerColumn{"grp", g})
	}
	return out
}

// selectByOwners merges the objects of the owner and of the groups, in the order of f.
// LIMIT -1 is no limit: with it, SQLite keeps the order of the merge. Without it, SQLite
// would sort everything again for a descending order.
func (s *sqlBuilder) selectByOwners(tenant string, f *core.Filter, all []ownerColumn, beyond int64) {
	s.appendSQL(selectCandidates + " FROM (")
	for i, m := range all {
		s.appendSQL(strings.Repeat(" UNION ", min(i, 1))+"SELECT seq FROM object INDEXED BY object_"+m.column+" WHERE tenant = ", tenant)
		s.appendSQL(" AND "+m.column+" = ", m.value)
		s.appendPage(f, "seq", beyond)
	}
	s.appendOrder(f, "seq")
	s.appendSQL(" LIMIT -1) m CROSS JOIN object o WHERE o.seq = m.seq AND o.tenant = ", tenant)
}

// countRows counts rows, up to limit.
func (s *sqliteStore) countRows(ctx context.Context, limit int, from string, args ...any) (n int, err error) {
	b := sqlBuilder{args: args}
	b.appendSQL("SELECT count(*) FROM (SELECT 1 FROM "+from+" LIMIT ", limit)
	b.appendSQL(")")
	if err = s.searchDB.QueryRowContext(ctx, b.text.String(), b.args...).Scan(&n); err != nil {
		return 0, dberror.Unavailable(err, "search")
	}
	return n, nil
}
