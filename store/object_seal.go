package store

import (
	"crypto/sha256"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/document"
)

// objectRow is a row of the table object, as far as it is sealed. The search columns
// are not: they are compared with the document, which is sealed.
type objectRow struct {
	object  *core.ManagedObject
	doc     string
	custody string
}

// sealInput returns what the seal of an object covers. Seq is the last part:
// [seals.RowHash] hashes the parts before it, of the length hashed.
func (o *objectRow) sealInput() (r *sealInput, hashed int) {
	m := &o.object.Material
	r = newSealInput("object", o.object.Tenant, o.object.ID).addNumber(o.object.Version).addNumber(int64(o.object.Type)).
		addText(o.object.Owner).addText(o.object.Group).addText(o.doc).addText(o.custody).addBytes(m.CKAID).addBytes(m.MAC)
	hashed = len(r.b)
	return r.addNumber(o.object.Seq), hashed
}

func (s seals) sealObject(o *objectRow) ([]byte, error) {
	r, _ := o.sealInput()
	return s.sealRow(o.object.Tenant, r)
}

func (s seals) checkObject(o *objectRow, seal []byte) error {
	r, _ := o.sealInput()
	return s.checkRow(o.object.Tenant, r, seal, func() error { return tamperedObject(o.object.ID) })
}

// RowHash implements [core.Store]. It returns the SHA-256 of what the seal of a version
// covers, except Seq, because an object gets its Seq when it is stored.
func (seals) RowHash(o *core.ManagedObject) ([]byte, error) {
	doc, err := document.Append(nil, o.Attributes)
	if err != nil {
		return nil, err
	}
	row := objectRow{object: o, doc: string(doc), custody: custodyOf(&o.Material)}
	r, hashed := row.sealInput()
	defer r.recycle()
	sum := sha256.Sum256(r.b[:hashed])
	return sum[:], nil
}

// custodyOf returns the custody columns in one text, the same as custodyColumns in the
// database. No name has a comma (see checkObject), so the text is unambiguous. A blob
// is only present or absent in it, because the MAC binds the bytes.
func custodyOf(m *core.Material) string {
	b := make([]byte, 0, 64)
	for _, n := range [...]int64{int64(m.Epoch), int64(m.Format), int64(m.Length), presence(m.Blob), presence(m.TTLV)} {
		b = append(strconv.AppendInt(b, n, 10), ',')
	}
	for i, s := range [...]string{string(m.Mode), string(m.Class), m.Wrap, string(m.Kind)} {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, s...)
	}
	return string(b)
}

// classIn returns the class in a text of custodyOf; "" if it has no known one.
func classIn(custody string) core.Class {
	const field = 6 // of the text: five numbers, the mode, the class
	parts := strings.SplitN(custody, ",", field+2)
	if len(parts) <= field {
		return ""
	}
	for _, class := range [...]core.Class{core.ClassN, core.ClassX, core.ClassC} {
		if parts[field] == string(class) {
			return class
		}
	}
	return ""
}

func presence(b []byte) int64 {
	if b == nil {
		return 0
	}
	return 1
}

// custodyColumns is the expression for which the database returns custodyOf.
const custodyColumns = `concat(o.epoch, ',', o.format, ',', o.bytes, ',', CASE WHEN o.blob IS NULL THEN 0 ELSE 1 END, ',', CASE WHEN o.ttlv IS NULL THEN 0 ELSE 1 END, ',', ` +
	`o.mode, ',', o.class, ',', o.wrap, ',', o.kind)`

// searchOf returns the typed search columns that an object must have in one text, the
// same as searchColumns in the database: numbers, and nothing for NULL.
func searchOf(o *core.ManagedObject) string {
	b := make([]byte, 0, 64)
	for _, t := range [...]core.Tag{core.TagCryptographicAlgorithm, core.TagCryptographicLength, core.TagState} {
		b = append(strconv.AppendInt(b, o.Attributes.Num(t), 10), ',')
	}
	for _, d := range dateColumns {
		if unix, ok := o.Attributes.Date(d.tag); ok {
			b = strconv.AppendInt(b, unix, 10)
		}
		b = append(b, ',')
	}
	return string(b)
}

// searchColumns is the expression for which the database returns searchOf.
var searchColumns = func() string {
	s := `concat(o.algorithm, ',', o.length, ',', o.state, ','`
	for _, d := range dateColumns {
		s += `, o.` + d.column + `, ','`
	}
	return s + `)`
}()

// dateColumns are the dates that have their own column and index.
var dateColumns = []struct {
	tag    core.Tag
	column string
}{
	{core.TagInitialDate, "initial_date"},
	{core.TagActivationDate, "activation_date"},
	{core.TagProcessStartDate, "process_start_date"},
	{core.TagProtectStopDate, "protect_stop_date"},
	{core.TagDeactivationDate, "deactivation_date"},
	{core.TagDestroyDate, "destroy_date"},
	{core.TagCompromiseDate, "compromise_date"},
}

func tamperedObject(id string) error {
	return core.Errorf(core.Tampered, "the database row of object %s was changed outside keyreeve, so it is not used. Restore the row from a backup, and find out who can write the database", quoteName(id))
}
