package store

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// step is one statement of a change. Both databases carry out the same ones:
// SQLite one by one, PostgreSQL all in one round trip, so none may need what
// another answers.
type step struct {
	text string
	args []any
	// rows judges how many rows were touched; nil: any number will do.
	rows func(n int64) error
	// refused is the answer where the statement meets a row that is there already.
	refused error
	doing   string // for an error of the database
}

// steps lays a change out, all but its entries, with the seals of its rows. The
// objects that it inserts are given the Seq of seqs: a seal covers Seq, so the
// database must not choose it.
func (s seals) steps(c *core.Change, seqs []int64) (out []step, err error) {
	for i := range c.Begin {
		if out, err = s.appendIntent(out, &c.Begin[i]); err != nil {
			return nil, err
		}
	}
	for i, o := range c.Insert {
		born := *o // others may read o before the change is stored
		born.Seq = seqs[i]
		values, err := s.changedValues(&born)
		if err != nil {
			return nil, err
		}
		out = append(out, step{text: insertObject, args: append([]any{o.Tenant, o.ID, int64(o.Type), born.Seq}, values...), rows: one(notStored("object")), refused: exists(o), doing: "write an object"})
		out = appendIndex(out, &born)
	}
	for _, o := range c.Update {
		values, err := s.changedValues(o)
		if err != nil {
			return nil, err
		}
		out = append(out, step{text: updateObject, args: append(values, o.Tenant, o.ID, o.Version-1, o.Seq), rows: one(conflict(o)), doing: "change an object"},
			step{text: deleteAttrs, args: []any{o.Tenant, o.Seq}, doing: "change an object"})
		out = appendIndex(out, o)
	}
	for _, o := range c.Delete {
		// The row is locked at its version first: it must not go on without its search lines.
		out = append(out, step{text: lockObject, args: []any{o.Tenant, o.ID, o.Version, o.Seq}, rows: one(conflict(o)), doing: "delete an object"},
			step{text: deleteAttrs, args: []any{o.Tenant, o.Seq}, doing: "delete an object"},
			step{text: deleteDue, args: []any{o.Tenant, o.ID}, doing: "delete an object"},
			step{text: deleteObject, args: []any{o.Tenant, o.ID, o.Version}, rows: one(conflict(o)), doing: "delete an object"})
	}
	if i := c.Installation; i != nil {
		seal, err := s.sealSystem(installationRow(i))
		if err != nil {
			return nil, err
		}
		out = append(out, step{text: insertSite, args: []any{i.ID, i.Created, i.Checks, seal}, rows: one(notStored("installation")), refused: otherInstallation(), doing: "write the installation"})
	}
	for i := range c.KeySets {
		k := &c.KeySets[i]
		seal, err := s.sealSystem(setRow(k))
		if err != nil {
			return nil, err
		}
		out = append(out, step{text: upsertSet, args: []any{k.Number, k.Tenant, k.Epoch, k.State, nullable(k.Checks), seal}, rows: one(otherSet(*k)), refused: otherSet(*k), doing: "write a set of keys"})
	}
	for _, id := range c.Finish {
		s := step{text: deleteIntent, args: []any{id}, doing: "finish an intent"}
		if len(c.Insert) > 0 {
			s.rows = one(settled(id))
		}
		out = append(out, s)
	}
	return appendUsage(appendDates(out, c), c), nil
}

const (
	insertDue = `INSERT INTO due_date (tenant, id, tag, at, done) VALUES ($1, $2, $3, $4, 0) ON CONFLICT DO NOTHING`
	noteDue   = `UPDATE due_date SET done = 1 WHERE tenant = $1 AND id = $2 AND tag = $3 AND at = $4 AND done = 0`
	deleteDue = `DELETE FROM due_date WHERE tenant = $1 AND id = $2`
	selectDue = `SELECT tenant, id, tag, at FROM due_date WHERE done = 0 AND at <= $1 AND (at, tenant, id, tag) > ($2, $3, $4, $5) ORDER BY at, tenant, id, tag LIMIT $6`
)

// appendDates writes dates to come, and notes those that were reached.
func appendDates(out []step, c *core.Change) []step {
	args := func(d *core.DueDate) []any { return []any{d.Tenant, d.ID, int64(d.Tag), d.At} }
	for i := range c.Dates {
		out = append(out, step{text: insertDue, args: args(&c.Dates[i]), doing: "write a date"})
	}
	for i := range c.Reached {
		d := &c.Reached[i]
		noted := core.Errorf(core.Conflict, "the %v of object %s has been noted already", d.Tag, d.ID)
		out = append(out, step{text: noteDue, args: args(d), rows: one(noted), doing: "note a date"})
	}
	return out
}

func scanDue(out *[]core.DueDate) func(scanner) error {
	return func(r scanner) error {
		var d core.DueDate
		var tag int64
		err := r.Scan(&d.Tenant, &d.ID, &tag, &d.At)
		d.Tag = core.Tag(tag)
		*out = append(*out, d)
		return err
	}
}

// usageStripes is the number of rows in which a tenant's usage is counted: changes
// of one tenant at the same time then seldom wait for each other.
const usageStripes = 16

// addUsage counts; the tenant's usage is the sum of its rows.
const addUsage = `INSERT INTO tenant_usage (tenant, stripe, objects, resident_keys, bytes) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant, stripe) DO UPDATE ` +
	`SET objects = tenant_usage.objects + excluded.objects, resident_keys = tenant_usage.resident_keys + excluded.resident_keys, bytes = tenant_usage.bytes + excluded.bytes`

const selectUsage = `SELECT CAST(coalesce(sum(objects), 0) AS BIGINT), CAST(coalesce(sum(resident_keys), 0) AS BIGINT), CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM tenant_usage WHERE tenant = $1`

// appendUsage counts a change last: others that count in the same row wait until
// its transaction ends.
func appendUsage(out []step, c *core.Change) []step {
	if c.Usage == (core.Usage{}) {
		return out
	}
	tenant := ""
	for _, list := range [][]*core.ManagedObject{c.Insert, c.Update, c.Delete} {
		for _, o := range list {
			tenant = o.Tenant
		}
	}
	return append(out, step{text: addUsage, args: []any{tenant, rand.IntN(usageStripes), c.Usage.Objects, c.Usage.ResidentKeys, c.Usage.Bytes}, doing: "count an object"})
}

func (s seals) appendIntent(out []step, i *core.Intent) ([]step, error) {
	seal, err := s.sealSystem(intentRow(i))
	return append(out, step{text: insertIntent, args: []any{i.ID, i.Tenant, i.Kind, i.Token, i.Object, i.Label, i.Time, i.Process, i.Nonce, seal}, rows: one(notStored("intent")), doing: "write an intent"}), err
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

// notStored is the answer if a database reports success for an INSERT and stored no
// row. A trigger or a rule that somebody added can do that.
func notStored(table string) error {
	return core.Errorf(core.StoreUnavailable, "the database accepted a row of table %s and did not store it; remove the triggers and rules of that table, and find out who can write the database", table)
}

// storedEntries checks that an INSERT stored all of its audit records.
func storedEntries(stored int64, entries int) error {
	if stored != int64(entries) {
		return notStored("audit_entry")
	}
	return nil
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

func otherSet(k core.KeySet) error {
	return core.Errorf(core.Conflict, "set %d or epoch %d of tenant %s is another one's, or is further on: another node made it", k.Number, k.Epoch, k.Tenant)
}

func otherInstallation() error {
	return core.Errorf(core.Conflict, "the database has an installation already")
}

// settled refuses a birth whose intent the reconciler has closed meanwhile: it
// has removed the token object too, and the row would name a key that is lost.
func settled(intent string) error {
	return core.Errorf(core.Conflict, "the intent %s is not open any more, so the token object that it was for is gone; make the object again", intent)
}

// maxIndexRows is the most lines of the search table in one statement.
const maxIndexRows = 8

// indexTexts are the INSERTs of 1, 2 ... maxIndexRows lines.
var indexTexts = func() (texts [maxIndexRows + 1]string) {
	for n := 1; n <= maxIndexRows; n++ {
		texts[n] = "INSERT INTO object_attr (tenant, name, val, seq) VALUES " + rowsOf(1, n, 4) + " ON CONFLICT DO NOTHING"
	}
	return texts
}()

// appendIndex writes the search table's lines of an object, several in a statement.
func appendIndex(out []step, o *core.ManagedObject) []step {
	for part := range slices.Chunk(searchRows(o.Attributes), maxIndexRows) {
		args := make([]any, 0, 4*len(part))
		for _, r := range part {
			args = append(args, o.Tenant, r.name, r.val, o.Seq)
		}
		out = append(out, step{text: indexTexts[len(part)], args: args, doing: "index an object"})
	}
	return out
}

// scanCandidate reads one row of object without material.
func scanCandidate(out *[]*readObject) func(scanner) error {
	return func(r scanner) error {
		o, err := scanObject(r, false)
		*out = append(*out, o)
		return err
	}
}

// scanSet reads and checks one row of tenant_key.
// scanSet reads a set of keys. Of a row that was changed behind the server, only the
// error is kept, in tampered, so that it does not hide the other rows.
func (s seals) scanSet(out *[]core.KeySet, tampered *[]error) func(scanner) error {
	return func(r scanner) error {
		var k core.KeySet
		var seal []byte
		err := r.Scan(&k.Number, &k.Tenant, &k.Epoch, &k.State, &k.Checks, &seal)
		if err == nil {
			err = s.checkSystem(setRow(&k), seal, func() error { return tamperedSet(&k) })
		}
		if err != nil && core.CodeOf(err) == core.Tampered {
			if len(*tampered) < maxTamperedSets {
				*tampered = append(*tampered, err)
			}
			return nil
		}
		*out = append(*out, k)
		return err
	}
}

// maxTamperedSets bounds the rows of changed sets that are named.
const maxTamperedSets = 100

// sealedInstallation is a row of installation as it was read.
type sealedInstallation struct {
	core.Installation
	seal []byte
}

func scanInstallation(out *[]sealedInstallation) func(scanner) error {
	return func(r scanner) error {
		var i sealedInstallation
		err := r.Scan(&i.ID, &i.Created, &i.Checks, &i.seal)
		*out = append(*out, i)
		return err
	}
}

// installationID returns the id of the one row, unchecked: the key of its seal is
// found by it.
func installationID(all []sealedInstallation, err error) (string, error) {
	switch {
	case err != nil:
		return "", err
	case len(all) == 0:
		return "", noInstallation()
	}
	return all[0].ID, nil
}

// installation returns the one row, checked.
func (s seals) installation(all []sealedInstallation, err error) (core.Installation, error) {
	if _, err := installationID(all, err); err != nil {
		return core.Installation{}, err
	}
	i := &all[0].Installation
	if err := s.checkSystem(installationRow(i), all[0].seal, func() error { return tamperedInstallation(i) }); err != nil {
		return core.Installation{}, err
	}
	return *i, nil
}

// scanIntent reads one row of intent and checks it. A row whose seal does not fit
// goes to tampered, by its id alone.
func (s seals) scanIntent(sound *[]core.Intent, tampered *[]string) func(scanner) error {
	return func(r scanner) error {
		var i core.Intent
		var seal []byte
		if err := r.Scan(&i.ID, &i.Tenant, &i.Kind, &i.Token, &i.Object, &i.Label, &i.Time, &i.Process, &i.Nonce, &seal); err != nil {
			var row [10]any // SQLite keeps a text in a column of numbers
			if r.Scan(&row[0], &row[1], &row[2], &row[3], &row[4], &row[5], &row[6], &row[7], &row[8], &row[9]) != nil {
				return err
			}
			i.ID = fmt.Sprint(row[0])
			*tampered = append(*tampered, i.ID[:min(len(i.ID), maxNameBytes)])
			return nil
		}
		err := s.checkSystem(intentRow(&i), seal, func() error { return tamperedIntent(&i) })
		if err != nil && core.CodeOf(err) == core.Tampered {
			*tampered = append(*tampered, i.ID[:min(len(i.ID), maxNameBytes)])
			return nil
		}
		*sound = append(*sound, i)
		return err
	}
}

func scanEntry(out *[]core.StoredEntry) func(scanner) error {
	return func(r scanner) error {
		var e core.StoredEntry
		err := r.Scan(&e.Number, &e.Tenant, &e.Time, &e.Body, &e.Node, &e.Writer, &e.Count)
		*out = append(*out, e)
		return err
	}
}

func scanUsage(u *core.Usage) func(scanner) error {
	return func(r scanner) error { return r.Scan(&u.Objects, &u.ResidentKeys, &u.Bytes) }
}
