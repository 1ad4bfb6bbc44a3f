package store

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/document"
)

// objectColumns are the columns that are read for each object, without key material.
var objectColumns = `o.tenant, o.id, o.seq, o.version, o.type, o.owner, o.grp, o.doc, o.token, o.mac, o.seal, ` + searchColumns

// materialColumns are the columns of key material.
const materialColumns = `o.mode, o.class, o.epoch, o.wrap, o.kind, o.format, o.bytes, o.blob, o.ttlv`

const selectToken = `SELECT 1 FROM object WHERE token = $1 LIMIT 1`

// readObject is a row of object whose seal is not checked yet.
type readObject struct {
	objectRow
	seal         []byte
	search       string
	withMaterial bool
}

// scanObject reads one row, which ends with materialColumns if material is true, else
// with custodyColumns. openObject checks the result after the connection is released:
// it may need another connection to load the keys of the seal.
func scanObject(r scanner, material bool) (*readObject, error) {
	o := &core.ManagedObject{}
	row := &readObject{objectRow: objectRow{object: o}, withMaterial: material}
	var typ, format int64
	m := &o.Material
	dest := []any{&o.Tenant, &o.ID, &o.Seq, &o.Version, &typ, &o.Owner, &o.Group, &row.doc, &m.CKAID, &m.MAC, &row.seal, &row.search}
	if material {
		dest = append(dest, (*string)(&m.Mode), (*string)(&m.Class), &m.Epoch, &m.Wrap, (*string)(&m.Kind), &format, &m.Length, &m.Blob, &m.TTLV)
	} else {
		dest = append(dest, &row.custody)
	}
	if err := r.Scan(dest...); err != nil {
		return nil, err
	}
	o.Type, m.Format = core.ObjectType(typ), core.KeyFormatType(format)
	if int64(o.Type) != typ {
		return nil, tamperedObject(o.ID)
	}
	if material {
		row.custody = custodyOf(m)
	}
	return row, nil
}

// scanCandidate reads rows of object without key material and appends them to out.
func scanCandidate(out *[]*readObject) func(scanner) error {
	return func(r scanner) error {
		o, err := scanObject(r, false)
		*out = append(*out, o)
		return err
	}
}

// openObject checks the seal of a row and returns its object.
func (s seals) openObject(row *readObject) (*core.ManagedObject, error) {
	o, m := row.object, &row.object.Material
	if err := s.checkObject(&row.objectRow, row.seal); err != nil {
		return nil, err
	}
	var err error
	if o.Attributes, err = document.Read(row.doc); err != nil {
		return nil, err
	}
	if row.search != searchOf(o) || (m.MAC == nil && (m.Blob != nil || m.TTLV != nil)) {
		return nil, tamperedObject(o.ID)
	}
	if !row.withMaterial {
		o.Material = core.Material{Class: classIn(row.custody)} // the seal covers it
	}
	return o, nil
}

// openObjects opens the rows of a page.
func (s seals) openObjects(rows []*readObject) ([]*core.ManagedObject, error) {
	out := make([]*core.ManagedObject, len(rows))
	for i, row := range rows {
		o, err := s.openObject(row)
		if err != nil {
			return nil, err
		}
		out[i] = o
		rows[i] = nil // frees its document
	}
	return out, nil
}

// itemNotFound quotes no more bytes than an identifier can have.
func itemNotFound(id string) error {
	return core.Errorf(core.ItemNotFound, "no row has the id %q", id[:min(len(id), maxNameBytes)])
}

// OldestRows implements [core.ObjectTable].
func (t *tables) OldestRows(ctx context.Context, tenant string, limit int) (rows core.OldestRows, err error) {
	err = t.query(ctx, func(r scanner) error { return r.Scan(&rows.Count, &rows.LastSeq) }, selectOldestRows, tenant, limit)
	return rows, err
}
