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

// rowWrite is a write of a change as the store carries it out.
type rowWrite interface {
	// check refuses what one of the databases could not keep.
	check() error
	// weight is about how long the database takes, in audit records.
	weight() int
	// lay appends the statements, with the seals of their rows.
	lay(l *layout) error
}

// rowWriteOf finds how a write is carried out: each kind in the file of its table.
// Nothing is allocated for an audit record.
func rowWriteOf(w core.Write) rowWrite {
	switch w := w.(type) {
	case core.AppendEntry:
		return appendEntry(w)
	case core.InsertObject:
		return insertObject(w)
	case core.UpdateObject:
		return updateObject(w)
	case core.DeleteObject:
		return deleteObject(w)
	case core.SaveKeySet:
		return saveKeySet(w)
	case core.InsertInstallation:
		return insertInstallation(w)
	case core.BeginIntent:
		return beginIntent(w)
	case core.FinishIntent:
		return finishIntent(w)
	case core.AddDueDate:
		return addDueDate(w)
	case core.NoteDueDate:
		return noteDueDate(w)
	case core.AddUsage:
		return addUsage(w)
	}
	return unknownWrite{w}
}

// unknownWrite is a write that the store has no table for.
type unknownWrite struct{ core.Write }

func (w unknownWrite) check() error {
	return core.Errorf(core.Internal, "the store does not know the write %T", w.Write)
}

func (unknownWrite) weight() int { return 0 }

func (w unknownWrite) lay(*layout) error { return w.check() }

// layout is a change as statements, all but its audit entries.
type layout struct {
	seals
	seqs  []int64 // of the objects that are yet to be inserted
	steps []step
	usage []core.AddUsage
}

func (l *layout) add(s ...step) { l.steps = append(l.steps, s...) }

// steps lays a change out. The objects that it inserts are given the Seq of seqs: a
// seal covers Seq, so the database must not choose it.
func (s seals) steps(c *core.Change, seqs []int64) ([]step, error) {
	l := layout{seals: s, seqs: seqs}
	for _, w := range c.Writes {
		if err := rowWriteOf(w).lay(&l); err != nil {
			return nil, err
		}
	}
	l.count()
	return l.steps, nil
}

// checkChange refuses, before a change joins a group, what one of the databases
// could not keep: in the group it would fail the others too.
func checkChange(c *core.Change) error {
	for _, w := range c.Writes {
		if err := rowWriteOf(w).check(); err != nil {
			return err
		}
	}
	return nil
}

// weightOf is about how long the database takes for a change, in audit records.
func weightOf(c *core.Change) (sum int) {
	for _, w := range c.Writes {
		sum += rowWriteOf(w).weight()
	}
	return sum
}

// appendEntry is an audit record. Those of all changes of a batch are stored
// together, so it has no statement of its own.
type appendEntry core.AppendEntry

func (w appendEntry) check() error { return checkEntry(w.Entry) }

func (appendEntry) weight() int { return 1 }

func (appendEntry) lay(*layout) error { return nil }

// appendEntries appends the audit records of a change.
func appendEntries(all []core.Entry, c *core.Change) []core.Entry {
	for _, w := range c.Writes {
		if w, ok := w.(core.AppendEntry); ok {
			all = append(all, *w.Entry)
		}
	}
	return all
}

// entriesOnly reports whether a change consists of audit records.
func entriesOnly(c *core.Change) bool {
	for _, w := range c.Writes {
		if _, ok := w.(core.AppendEntry); !ok {
			return false
		}
	}
	return true
}

// objectWeight is the weight of an object's row and its lines of the search table.
const objectWeight = 8

type insertObject core.InsertObject

func (w insertObject) check() error { return checkObject(w.Object) }

func (insertObject) weight() int { return objectWeight }

func (w insertObject) lay(l *layout) error {
	o := *w.Object // others may read it before the change is stored
	o.Seq, l.seqs = l.seqs[0], l.seqs[1:]
	values, err := l.changedValues(&o)
	if err != nil {
		return err
	}
	l.add(step{text: insertObjectRow, args: append([]any{o.Tenant, o.ID, int64(o.Type), o.Seq}, values...), rows: one(notStored("object")), refused: exists(&o), doing: "write an object"})
	l.index(&o)
	return nil
}

// giveSeqs sets the Seq of the objects that a stored change inserted.
func giveSeqs(c *core.Change, seqs []int64) {
	for _, w := range c.Writes {
		if w, ok := w.(core.InsertObject); ok {
			w.Object.Seq, seqs = seqs[0], seqs[1:]
		}
	}
}

type updateObject core.UpdateObject

func (w updateObject) check() error { return checkObject(w.Object) }

func (updateObject) weight() int { return objectWeight }

func (w updateObject) lay(l *layout) error {
	o := w.Object
	values, err := l.changedValues(o)
	if err != nil {
		return err
	}
	l.add(step{text: updateObjectRow, args: append(values, o.Tenant, o.ID, o.Version-1, o.Seq), rows: one(conflict(o)), doing: "change an object"},
		step{text: deleteAttrs, args: []any{o.Tenant, o.Seq}, doing: "change an object"})
	l.index(o)
	return nil
}

type deleteObject core.DeleteObject

func (w deleteObject) check() error { return checkObject(w.Object) }

func (deleteObject) weight() int { return objectWeight }

// lay locks the row at its version first: the row must not go on without its search
// lines.
func (w deleteObject) lay(l *layout) error {
	o := w.Object
	l.add(step{text: lockObjectRow, args: []any{o.Tenant, o.ID, o.Version, o.Seq}, rows: one(conflict(o)), doing: "delete an object"},
		step{text: deleteAttrs, args: []any{o.Tenant, o.Seq}, doing: "delete an object"},
		step{text: deleteDue, args: []any{o.Tenant, o.ID}, doing: "delete an object"},
		step{text: deleteObjectRow, args: []any{o.Tenant, o.ID, o.Version}, rows: one(conflict(o)), doing: "delete an object"})
	return nil
}

// removesKey reports whether a change removes key material.
func removesKey(c *core.Change) bool {
	return slices.ContainsFunc(c.Writes, func(w core.Write) bool {
		if u, ok := w.(core.UpdateObject); ok {
			return u.RemovesKey
		}
		_, deletes := w.(core.DeleteObject)
		return deletes
	})
}

type insertInstallation core.InsertInstallation

func (insertInstallation) check() error { return nil }

func (insertInstallation) weight() int { return 1 }

func (w insertInstallation) lay(l *layout) error {
	i := &w.Installation
	seal, err := l.sealSystem(installationRow(i))
	l.add(step{text: insertSite, args: []any{i.ID, i.Created, i.Checks, seal}, rows: one(notStored("installation")), refused: otherInstallation(), doing: "write the installation"})
	return err
}

type saveKeySet core.SaveKeySet

func (w saveKeySet) check() error { return checkSet(&w.KeySet) }

func (saveKeySet) weight() int { return 2 }

func (w saveKeySet) lay(l *layout) error {
	k := &w.KeySet
	seal, err := l.sealSystem(setRow(k))
	l.add(step{text: upsertSet, args: []any{k.Number, k.Tenant, k.Epoch, k.State, nullable(k.Checks), seal}, rows: one(otherSet(*k)), refused: otherSet(*k), doing: "write a set of keys"})
	return err
}

type beginIntent core.BeginIntent

func (w beginIntent) check() error { return checkIntent(&w.Intent) }

func (beginIntent) weight() int { return 2 }

func (w beginIntent) lay(l *layout) error {
	i := &w.Intent
	seal, err := l.sealSystem(intentRow(i))
	l.add(step{text: insertIntent, args: []any{i.ID, i.Tenant, i.Kind, i.Token, i.Object, i.Label, i.Time, i.Process, i.Nonce, seal}, rows: one(notStored("intent")), doing: "write an intent"})
	return err
}

type finishIntent core.FinishIntent

func (finishIntent) check() error { return nil }

func (finishIntent) weight() int { return 2 }

func (w finishIntent) lay(l *layout) error {
	s := step{text: deleteIntent, args: []any{w.ID}, doing: "finish an intent"}
	if w.MustBeOpen {
		s.rows = one(settled(w.ID))
	}
	l.add(s)
	return nil
}

const (
	insertDue = `INSERT INTO due_date (tenant, id, tag, at, done) VALUES ($1, $2, $3, $4, 0) ON CONFLICT DO NOTHING`
	noteDue   = `UPDATE due_date SET done = 1 WHERE tenant = $1 AND id = $2 AND tag = $3 AND at = $4 AND done = 0`
	deleteDue = `DELETE FROM due_date WHERE tenant = $1 AND id = $2`
	selectDue = `SELECT tenant, id, tag, at FROM due_date WHERE done = 0 AND at <= $1 AND (at, tenant, id, tag) > ($2, $3, $4, $5) ORDER BY at, tenant, id, tag LIMIT $6`
)

type addDueDate core.AddDueDate

func (addDueDate) check() error { return nil }

func (addDueDate) weight() int { return 1 }

func (w addDueDate) lay(l *layout) error {
	l.add(step{text: insertDue, args: dueArgs(&w.DueDate), doing: "write a date"})
	return nil
}

type noteDueDate core.NoteDueDate

func (noteDueDate) check() error { return nil }

func (noteDueDate) weight() int { return 1 }

func (w noteDueDate) lay(l *layout) error {
	noted := core.Errorf(core.Conflict, "the %v of object %s has been noted already", w.DueDate.Tag, w.DueDate.ID)
	l.add(step{text: noteDue, args: dueArgs(&w.DueDate), rows: one(noted), doing: "note a date"})
	return nil
}

func dueArgs(d *core.DueDate) []any { return []any{d.Tenant, d.ID, int64(d.Tag), d.At} }

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

// upsertUsage counts; the tenant's usage is the sum of its rows.
const upsertUsage = `INSERT INTO tenant_usage (tenant, stripe, objects, resident_keys, bytes) VALUES ($1, $2, $3, $4, $5) ON CONFLICT (tenant, stripe) DO UPDATE ` +
	`SET objects = tenant_usage.objects + excluded.objects, resident_keys = tenant_usage.resident_keys + excluded.resident_keys, bytes = tenant_usage.bytes + excluded.bytes`

const selectUsage = `SELECT CAST(coalesce(sum(objects), 0) AS BIGINT), CAST(coalesce(sum(resident_keys), 0) AS BIGINT), CAST(coalesce(sum(bytes), 0) AS BIGINT) FROM tenant_usage WHERE tenant = $1`

type addUsage core.AddUsage

func (w addUsage) check() error { return checkName("tenant", w.Tenant, false) }

func (addUsage) weight() int { return 0 }

// lay gathers what a change counts: see [layout.count].
func (w addUsage) lay(l *layout) error {
	for i := range l.usage {
		if l.usage[i].Tenant == w.Tenant {
			l.usage[i].Usage = l.usage[i].Usage.Add(w.Usage)
			return nil
		}
	}
	l.usage = append(l.usage, core.AddUsage(w))
	return nil
}

// count comes after all else: other changes that count in the same row wait until
// the transaction ends.
func (l *layout) count() {
	for _, u := range l.usage {
		if u.Usage != (core.Usage{}) {
			l.add(step{text: upsertUsage, args: []any{u.Tenant, rand.IntN(usageStripes), u.Usage.Objects, u.Usage.ResidentKeys, u.Usage.Bytes}, doing: "count an object"})
		}
	}
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

// index writes the search table's lines of an object, several in a statement.
func (l *layout) index(o *core.ManagedObject) {
	for part := range slices.Chunk(searchRows(o.Attributes), maxIndexRows) {
		args := make([]any, 0, 4*len(part))
		for _, r := range part {
			args = append(args, o.Tenant, r.name, r.val, o.Seq)
		}
		l.add(step{text: indexTexts[len(part)], args: args, doing: "index an object"})
	}
}

// scanCandidate reads one row of object without material.
func scanCandidate(out *[]*readObject) func(scanner) error {
	return func(r scanner) error {
		o, err := scanObject(r, false)
		*out = append(*out, o)
		return err
	}
}

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
