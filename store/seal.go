package store

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// A seal binds a whole row: the table, the primary key, the tenant and every
// column, so that a change behind the server is noticed when the row is read.
// The rows of a tenant's objects are sealed under the tenant's key R; tenant
// keys and intents under R of the system set. Both databases seal the same
// bytes. A seal does not show that a row was deleted, or that a row was put
// back together with its old seal.

// sealVersion names the form of what is sealed. It changes with the columns.
const sealVersion = 1

// systemSet is the tenant whose key seals rows that belong to no tenant, or
// that decide about tenants.
const systemSet = ""

// row is what a seal covers. Every field has its length in front of it, so that
// bytes cannot move from one column to the next.
type row struct{ b []byte }

var rows = sync.Pool{New: func() any { return &row{b: make([]byte, 0, 4096)} }}

// newRow begins a row with the table, the version of the form and the key.
func newRow(table string, key ...string) *row {
	r := rows.Get().(*row)
	r.b = r.b[:0]
	r.text(table).number(sealVersion)
	for _, k := range key {
		r.text(k)
	}
	return r
}

// maxPooledRow bounds, in bytes, the buffers that are kept for the next row.
const maxPooledRow = 64 << 10

func (r *row) free() {
	if cap(r.b) <= maxPooledRow {
		rows.Put(r)
	}
}

func (r *row) text(s string) *row {
	r.b = append(binary.BigEndian.AppendUint32(r.b, uint32(len(s))), s...)
	return r
}

// null is the length of a column that is NULL, which no text or bytes can have.
const null = 0xffff_ffff

// bytes tells NULL from no bytes.
func (r *row) bytes(b []byte) *row {
	if b == nil {
		r.b = binary.BigEndian.AppendUint32(r.b, null)
		return r
	}
	r.b = append(binary.BigEndian.AppendUint32(r.b, uint32(len(b))), b...)
	return r
}

func (r *row) number(n int64) *row {
	r.b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(r.b, 8), uint64(n))
	return r
}

// seals makes and checks the seals of all tables.
type seals struct{ sealer core.Sealer }

// seal returns the seal of a row and frees the row.
func (s seals) seal(tenant string, r *row) ([]byte, error) {
	defer r.free()
	return s.sealer.Seal(tenant, r.b)
}

// check frees the row. A wrong seal is reported as what, which names the row.
// Other errors pass as they are: a seal that could not be checked, because the
// token or the database did not answer, says nothing about the row.
func (s seals) check(tenant string, r *row, seal []byte, what func() error) error {
	defer r.free()
	err := s.sealer.CheckSeal(tenant, r.b, seal)
	if core.CodeOf(err) == core.CryptographicFailure {
		return what()
	}
	return err
}

// sealSystem and checkSystem are seal and check of the system set.
func (s seals) sealSystem(r *row) ([]byte, error) {
	return s.seal(systemSet, r)
}

func (s seals) checkSystem(r *row, seal []byte, what func() error) error {
	return s.check(systemSet, r, seal, what)
}

// objectRow is a row of the table object as it is sealed. The search columns
// are left out: they are compared with the document, which is sealed.
type objectRow struct {
	object  *core.ManagedObject
	doc     string
	custody string
}

// input is what the seal of an object covers. Seq comes last: the rest is what
// [seals.hash] hashes.
func (o *objectRow) input() (r *row, hashed int) {
	m := &o.object.Material
	r = newRow("object", o.object.Tenant, o.object.ID).number(o.object.Version).number(int64(o.object.Type)).
		text(o.object.Owner).text(o.object.Group).text(o.doc).text(o.custody).bytes(m.Token).bytes(m.MAC)
	hashed = len(r.b)
	return r.number(o.object.Seq), hashed
}

func (s seals) sealObject(o *objectRow) ([]byte, error) {
	r, _ := o.input()
	return s.seal(o.object.Tenant, r)
}

func (s seals) checkObject(o *objectRow, seal []byte) error {
	r, _ := o.input()
	return s.check(o.object.Tenant, r, seal, func() error { return tamperedObject(o.object.ID) })
}

// RowHash returns the SHA-256 of what the seal of a version covers, except Seq,
// which an object gets only when it is stored. It implements [core.Store].
func (seals) RowHash(o *core.ManagedObject) ([]byte, error) {
	doc, err := appendDocument(nil, o.Attributes)
	if err != nil {
		return nil, err
	}
	row := objectRow{object: o, doc: string(doc), custody: custodyOf(&o.Material)}
	r, hashed := row.input()
	defer r.free()
	sum := sha256.Sum256(r.b[:hashed])
	return sum[:], nil
}

// custodyOf is the custody columns in one text, as custodyColumns makes it. The
// names in it have no comma (see checkObject), so that it reads in one way only.
// The blobs are bound by the MAC; here stands whether there are any.
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

func presence(b []byte) int64 {
	if b == nil {
		return 0
	}
	return 1
}

// custodyColumns gives the database's side of custodyOf.
const custodyColumns = `concat(o.epoch, ',', o.format, ',', o.bytes, ',', CASE WHEN o.blob IS NULL THEN 0 ELSE 1 END, ',', CASE WHEN o.ttlv IS NULL THEN 0 ELSE 1 END, ',', ` +
	`o.mode, ',', o.class, ',', o.wrap, ',', o.kind)`

// searchOf is what the typed search columns of an object must say, as
// searchColumns makes it: numbers, and nothing for NULL.
func searchOf(o *core.ManagedObject) string {
	b := make([]byte, 0, 64)
	for _, t := range [...]core.Tag{core.TagCryptographicAlgorithm, core.TagCryptographicLength, core.TagState} {
		b = append(strconv.AppendInt(b, o.Attributes.Num(t), 10), ',')
	}
	for _, d := range dateColumns {
		if v, ok := o.Attributes.Get(d.tag); ok {
			b = strconv.AppendInt(b, v.Num, 10)
		}
		b = append(b, ',')
	}
	return string(b)
}

// searchColumns gives the database's side of searchOf.
var searchColumns = func() string {
	s := `concat(o.algorithm, ',', o.length, ',', o.state, ','`
	for _, d := range dateColumns {
		s += `, o.` + d.column + `, ','`
	}
	return s + `)`
}()

func setRow(k *core.KeySet) *row {
	return newRow("tenant_key", k.Tenant).number(k.Number).number(int64(k.Epoch)).text(k.State).bytes(k.Checks)
}

func installationRow(i *core.Installation) *row {
	return newRow("installation", i.ID).number(i.Created).bytes(i.Checks)
}

func intentRow(i *core.Intent) *row {
	return newRow("intent", i.ID, i.Tenant).text(i.Kind).bytes(i.Token).text(i.Object).text(i.Label).number(i.Time).text(i.Process).text(i.Nonce)
}

func tamperedObject(id string) error {
	return core.Errorf(core.Tampered, "the database row of object %s is not as keyreeve wrote it; it is not used. Restore the row from a backup, and find out who can write the database", shown(id))
}

func tamperedSet(k *core.KeySet) error {
	return core.Errorf(core.Tampered, "the database row of set %d of tenant %s is not as keyreeve wrote it, so its keys are not used. Restore the row from a backup, and find out who can write the database",
		k.Number, shown(k.Tenant))
}

func tamperedInstallation(i *core.Installation) error {
	return core.Errorf(core.Tampered, "the database row of installation %s is not as keyreeve wrote it. Restore the row from a backup, and find out who can write the database", shown(i.ID))
}

func tamperedIntent(i *core.Intent) error {
	return core.Errorf(core.Tampered, "the database row of intent %s is not as keyreeve wrote it; it is not used. Restore the row from a backup, and find out who can write the database", shown(i.ID))
}

// shown is a name of the database, bounded and quoted, since anyone may have
// written it.
func shown(s string) string { return strconv.Quote(s[:min(len(s), maxNameBytes)]) }
