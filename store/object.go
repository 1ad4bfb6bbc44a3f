package store

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/document"
)

// objectWeight is the weight of the row of an object with its rows of the search table.
const objectWeight = 8

type insertObject core.InsertObject

func (w insertObject) validate() error { return checkObject(w.Object) }

func (insertObject) weight() int { return objectWeight }

func (w insertObject) appendStatements(l *statementCollector) error {
	o := *w.Object // a copy: others may read the object before the change is stored
	o.Seq, l.seqs = l.seqs[0], l.seqs[1:]
	values, err := l.changedValues(&o)
	if err != nil {
		return err
	}
	l.addStatements(statement{text: insertObjectRow, args: append([]any{o.Tenant, o.ID, int64(o.Type), o.Seq}, values...), rows: exactlyOne(notStored("object")), duplicate: objectExists(&o), doing: "write an object"})
	l.addIndexRows(&o)
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

func (w updateObject) validate() error { return checkObject(w.Object) }

func (updateObject) weight() int { return objectWeight }

func (w updateObject) appendStatements(l *statementCollector) error {
	o := w.Object
	values, err := l.changedValues(o)
	if err != nil {
		return err
	}
	l.addStatements(statement{text: updateObjectRow, args: append(values, o.Tenant, o.ID, o.Version-1, o.Seq), rows: exactlyOne(objectConflict(o)), doing: "change an object"},
		statement{text: deleteIndexRows, args: []any{o.Tenant, o.Seq}, doing: "change an object"})
	l.addIndexRows(o)
	return nil
}

type deleteObject core.DeleteObject

func (w deleteObject) validate() error { return checkObject(w.Object) }

func (deleteObject) weight() int { return objectWeight }

// appendStatements first locks the row at its version, so that the row cannot stay
// without its rows of the search table.
func (w deleteObject) appendStatements(l *statementCollector) error {
	o := w.Object
	l.addStatements(statement{text: lockObjectRow, args: []any{o.Tenant, o.ID, o.Version, o.Seq}, rows: exactlyOne(objectConflict(o)), doing: "delete an object"},
		statement{text: deleteIndexRows, args: []any{o.Tenant, o.Seq}, doing: "delete an object"},
		statement{text: deleteDueDates, args: []any{o.Tenant, o.ID}, doing: "delete an object"},
		statement{text: deleteObjectRow, args: []any{o.Tenant, o.ID, o.Version}, rows: exactlyOne(objectConflict(o)), doing: "delete an object"})
	return nil
}

type removeRows core.RemoveRows

func (w removeRows) validate() error { return checkName("tenant", w.Tenant, false) }

func (removeRows) weight() int { return 100 * objectWeight }

func (w removeRows) appendStatements(l *statementCollector) error {
	for _, text := range []string{removeDates, removeIndexRows, removeObjectRows} {
		l.addStatements(statement{text: text, args: []any{w.Tenant, w.UpTo}, doing: "remove the objects of a deleted tenant"})
	}
	l.addStatements(statement{text: removeUsage, args: []any{w.Tenant}, doing: "remove the usage of a deleted tenant"})
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

// The statements of the table object. Both dialects need $n in ascending order.
var (
	insertObjectRow = `INSERT INTO object (tenant, id, type, seq, ` + changedColumns + `) VALUES (` + parameters(1, 30) + `)`
	updateObjectRow = `UPDATE object SET (` + changedColumns + `) = (` + parameters(1, 26) + `) WHERE tenant = $27 AND id = $28 AND version = $29 AND seq = $30`
	selectObject    = `SELECT ` + objectColumns + `, ` + materialColumns + ` FROM object o WHERE o.tenant = $1 AND o.id = $2`
)

const (
	lockObjectRow   = `UPDATE object SET version = version WHERE tenant = $1 AND id = $2 AND version = $3 AND seq = $4`
	deleteObjectRow = `DELETE FROM object WHERE tenant = $1 AND id = $2 AND version = $3`
)

// The statements about the rows of a deleted tenant.
const (
	selectOldestRows = `SELECT count(*), coalesce(max(seq), 0) FROM (SELECT seq FROM object WHERE tenant = $1 ORDER BY seq LIMIT $2) AS oldest`
	removeDates      = `DELETE FROM due_date WHERE tenant = $1 AND id IN (SELECT id FROM object WHERE object.tenant = due_date.tenant AND seq <= $2)`
	removeIndexRows  = `DELETE FROM object_attr WHERE tenant = $1 AND seq <= $2`
	removeObjectRows = `DELETE FROM object WHERE tenant = $1 AND seq <= $2`
	removeUsage      = `DELETE FROM tenant_usage WHERE tenant = $1`
)

const changedColumns = `version, owner, grp, algorithm, length, state, doc, mode, class, epoch, wrap, kind, format, bytes, token, blob, ttlv, mac, seal, ` +
	`initial_date, activation_date, process_start_date, protect_stop_date, deactivation_date, destroy_date, compromise_date`

// changedValues returns the values of changedColumns, with the seal of the row.
func (s seals) changedValues(o *core.ManagedObject) ([]any, error) {
	doc, err := document.Append(nil, o.Attributes)
	if err != nil {
		return nil, err
	}
	m := &o.Material
	row := objectRow{object: o, doc: string(doc), custody: custodyOf(m)}
	seal, err := s.sealObject(&row)
	if err != nil {
		return nil, err
	}
	values := make([]any, 0, 32)
	values = append(values, o.Version, o.Owner, o.Group, int64(o.Algorithm()), o.Attributes.Num(core.TagCryptographicLength),
		o.Attributes.Num(core.TagState), row.doc, string(m.Mode), string(m.Class), int64(m.Epoch), m.Wrap,
		string(m.Kind), int64(m.Format), int64(m.Length), nullable(m.CKAID), nullable(m.Blob), nullable(m.TTLV), nullable(m.MAC), seal)
	for _, d := range dateColumns {
		values = append(values, dateColumn(o, d.tag))
	}
	return values, nil
}

// dateColumn returns the value of a date's column. It is NULL if the object lacks the
// date, so that no range finds it.
func dateColumn(o *core.ManagedObject, t core.Tag) any {
	if unix, ok := o.Attributes.Date(t); ok {
		return unix
	}
	return nil
}

func checkObject(o *core.ManagedObject) error {
	m := &o.Material
	if max(len(m.Blob), len(m.TTLV)) > maxBlobBytes || max(len(m.CKAID), len(m.MAC)) > maxTokenBytes {
		return core.Errorf(core.InvalidField, "the material of an object has blobs of %d and %d bytes, a CKA_ID of %d, a MAC of %d; at most %d and %d fit",
			len(m.Blob), len(m.TTLV), len(m.CKAID), len(m.MAC), maxBlobBytes, maxTokenBytes)
	}
	for _, name := range [...]string{string(m.Mode), string(m.Class), m.Wrap, string(m.Kind)} {
		if strings.ContainsRune(name, ',') || !document.IsStorable(name) {
			return core.Errorf(core.Internal, "the material of object %s has the name %q, which has a comma or is not UTF-8 text without NUL", o.ID, name)
		}
	}
	if m.MAC == nil && (m.Blob != nil || m.TTLV != nil) {
		return core.Errorf(core.Internal, "the material of object %s has a blob but no MAC", o.ID)
	}
	if err := checkName("Unique Identifier", o.ID, false); err != nil {
		return err
	}
	if err := checkName("tenant", o.Tenant, false); err != nil {
		return err
	}
	if err := checkName("owner", o.Owner, true); err != nil {
		return err
	}
	return checkName("group", o.Group, true)
}

func objectConflict(o *core.ManagedObject) error {
	return core.Errorf(core.Conflict, "another request changed object %s at the same time; try again", o.ID)
}

func objectExists(o *core.ManagedObject) error {
	return core.Errorf(core.ObjectAlreadyExists, "an object with the Unique Identifier %s exists already", o.ID)
}
