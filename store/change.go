package store

import (
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// step is one statement of a change. Both databases carry out the same ones:
// SQLite one by one, PostgreSQL all in one round trip, so none may need what
// another answers.
type step struct {
	text string
	args []any
	seq  bool // it returns the row's seq, of which there must be one
	rest int  // lines of the search table that it writes for the object whose birth is the step before
	// rows judges how many rows were touched; nil: any number will do.
	rows func(n int64) error
	// refused is the answer where the statement meets a row that is there already.
	refused error
	doing   string // for an error of the database
}

// steps lays a change out, all but its entries.
func steps(c *core.Change) (out []step, err error) {
	for _, i := range c.Begin {
		out = append(out, step{text: insertIntent, args: []any{i.ID, i.Tenant, i.Kind, i.Token, i.Object, i.Time}, doing: "write an intent"})
	}
	for _, o := range c.Insert {
		values, err := changedValues(o)
		if err != nil {
			return nil, err
		}
		out = append(out, step{text: insertObject, args: append([]any{o.Tenant, o.ID, int64(o.Type)}, values...), seq: true, refused: exists(o), doing: "write an object"})
		first := len(out)
		if out = appendIndex(out, o); len(out) > first {
			out[first].rest = (len(out[first].args) - 2) / 2
		}
	}
	for _, o := range c.Update {
		values, err := changedValues(o)
		if err != nil {
			return nil, err
		}
		out = append(out, step{text: updateObject, args: append(values, o.Tenant, o.ID, o.Version-1), rows: one(conflict(o)), doing: "change an object"},
			step{text: deleteAttrs, args: []any{o.Tenant, o.ID}, doing: "change an object"})
		out = appendIndex(out, o)
	}
	for _, o := range c.Delete {
		// The row is locked at its version first: it must not go on without its search lines.
		out = append(out, step{text: lockObject, args: []any{o.Tenant, o.ID, o.Version}, rows: one(conflict(o)), doing: "delete an object"},
			step{text: deleteAttrs, args: []any{o.Tenant, o.ID}, doing: "delete an object"},
			step{text: deleteObject, args: []any{o.Tenant, o.ID, o.Version}, rows: one(conflict(o)), doing: "delete an object"})
	}
	for _, k := range c.TenantKeys {
		out = append(out, step{text: upsertKey, args: []any{k.Tenant, k.Purpose, k.Epoch, k.Token, k.State}, rows: one(otherKey(k)), doing: "write a tenant key"})
	}
	for _, id := range c.Finish {
		s := step{text: deleteIntent, args: []any{id}, doing: "finish an intent"}
		if len(c.Insert) > 0 {
			s.rows = one(settled(id))
		}
		out = append(out, s)
	}
	return out, nil
}

// one demands that one row was touched.
func one(otherwise error) func(int64) error {
	return func(n int64) error {
		if n != 1 {
			return otherwise
		}
		return nil
	}
}

// judge is what came of a step.
func (s *step) judge(n int64, err error, duplicate func(error) bool) error {
	switch {
	case err != nil && s.refused != nil && duplicate(err):
		return s.refused
	case err != nil:
		return unavailable(err, s.doing)
	case s.rows != nil:
		return s.rows(n)
	}
	return nil
}

func otherKey(k core.TenantKey) error {
	return core.Errorf(core.Conflict, "tenant %s has another key %s of epoch %d, or one that is further on: another node made it", k.Tenant, k.Purpose, k.Epoch)
}

// settled refuses a birth whose intent the reconciler has closed meanwhile: it
// has removed the token object too, and the row would name a key that is lost.
func settled(intent string) error {
	return core.Errorf(core.Conflict, "the intent %s is not open any more, so the token object that it was for is gone; make the object anew", intent)
}

// maxIndexRows is the most lines of the search table in one statement.
const maxIndexRows = 8

// indexTexts are the INSERTs of 1, 2 ... maxIndexRows lines.
var indexTexts = func() (texts [maxIndexRows + 1]string) {
	for n := 1; n <= maxIndexRows; n++ {
		texts[n] = "INSERT INTO object_attr (tenant, name, val, seq) SELECT o.tenant, v.column1, v.column2, o.seq FROM object o, (VALUES " +
			rowsOf(1, n, 2) + fmt.Sprintf(") v WHERE o.tenant = $%d AND o.id = $%d ON CONFLICT DO NOTHING", 2*n+1, 2*n+2)
	}
	return texts
}()

// appendIndex writes the search table's lines of an object, several in a statement.
func appendIndex(out []step, o *core.ManagedObject) []step {
	for part := range slices.Chunk(searchRows(o.Attributes), maxIndexRows) {
		args := make([]any, 0, 2*len(part)+2)
		for _, r := range part {
			args = append(args, r.name, r.val)
		}
		out = append(out, step{text: indexTexts[len(part)], args: append(args, o.Tenant, o.ID), doing: "index an object"})
	}
	return out
}

func scanKey(out *[]core.TenantKey) func(scanner) error {
	return func(r scanner) error {
		var k core.TenantKey
		err := r.Scan(&k.Tenant, &k.Purpose, &k.Epoch, &k.Token, &k.State)
		*out = append(*out, k)
		return err
	}
}

func scanIntent(out *[]core.Intent) func(scanner) error {
	return func(r scanner) error {
		var i core.Intent
		err := r.Scan(&i.ID, &i.Tenant, &i.Kind, &i.Token, &i.Object, &i.Time)
		*out = append(*out, i)
		return err
	}
}

func scanEntry(out *[]core.StoredEntry) func(scanner) error {
	return func(r scanner) error {
		var e core.StoredEntry
		err := r.Scan(&e.Number, &e.Tenant, &e.Time, &e.Body)
		*out = append(*out, e)
		return err
	}
}
