// Package store keeps keyreeve's metadata in SQLite, embedded, or PostgreSQL,
// shared by several nodes, behind core.Store.
//
// Both keep the same rows: typed columns for what is searched often, one
// document with all attributes, and a search table for names, links, groups and
// vendor attributes. A commit is durable when it returns; those of many callers
// share one sync. It never sees a key byte in clear, and decides nothing.
// The suite in storetest holds both to one contract. Start at [Open].
package store

import (
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"

	"database/sql"

	"github.com/keyreeve/keyreeve/core"
)

//go:embed migrations
var migrations embed.FS

// Open opens the store that a URL names, sqlite:PATH or postgres://..., and
// brings its schema up to date. It makes no database where there is none: a
// mistyped URL must not start an empty system. The sealer seals every row that
// decides something, and checks it when it is read.
func Open(ctx context.Context, url string, sealer core.Sealer) (core.Store, error) {
	return open(ctx, url, sealer, false)
}

// Create opens a store as [Open] does, and makes the database if there is none.
func Create(ctx context.Context, url string, sealer core.Sealer) (core.Store, error) {
	return open(ctx, url, sealer, true)
}

func open(ctx context.Context, url string, sealer core.Sealer, create bool) (core.Store, error) {
	if path, ok := strings.CutPrefix(url, "sqlite:"); ok {
		return openSQLite(ctx, path, sealer, create)
	}
	if isPostgres(url) {
		return openPostgres(ctx, url, sealer, create)
	}
	return nil, noSuchStore()
}

func isPostgres(url string) bool {
	return strings.HasPrefix(url, "postgres://") || strings.HasPrefix(url, "postgresql://")
}

func noSuchStore() error {
	return core.Errorf(core.StoreUnavailable, "the store must be sqlite:PATH or postgres://USER@HOST/DATABASE; see store.url")
}

func provider(db *sql.DB, dialect goose.Dialect, folder string) (*goose.Provider, error) {
	sub, err := fs.Sub(migrations, "migrations/"+folder)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db, sub, goose.WithDisableGlobalRegistry(true))
}

// noInstallation is said of a database that keyreeve has not made.
func noInstallation() error {
	return core.Errorf(core.ItemNotFound, "the database has no keyreeve installation: look at store.url, or run keyreeve init to make a new one")
}

// hasTable reports whether the database has a table. It makes nothing.
func hasTable(ctx context.Context, db *sql.DB, dialect goose.Dialect, table string) (bool, error) {
	q := `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1`
	if dialect == goose.DialectPostgres {
		q = `SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = $1`
	}
	var n int
	err := db.QueryRowContext(ctx, q, table).Scan(&n)
	return n > 0, err
}

// migrate brings a schema up to date. Migrations only go forward, and each must
// run while the previous release still serves. Without create there must be a
// schema already.
func migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, folder string, create bool) error {
	if made, err := hasTable(ctx, db, dialect, "object"); err != nil || !made && !create {
		if err == nil {
			err = noInstallation()
		}
		return err
	}
	p, err := provider(db, dialect, folder)
	if err != nil {
		return err
	}
	is, knows, err := p.GetVersions(ctx)
	if err == nil && is > 0 {
		err = sealedSchema(ctx, db, dialect)
	}
	if err == nil && is > knows {
		return newerSchema(is, knows)
	}
	if err == nil {
		_, err = p.Up(ctx)
	}
	return err
}

func newerSchema(is, knows int64) error {
	return core.Errorf(core.StoreUnavailable, "the database has schema %d and this release knows %d; start the release that made it, or a newer one", is, knows)
}

// sealedSchema refuses a database that was made before rows had seals, or before
// there were installations: no release made one.
func sealedSchema(ctx context.Context, db *sql.DB, dialect goose.Dialect) error {
	made, err := hasTable(ctx, db, dialect, "installation")
	if err != nil {
		return err
	}
	if !made {
		return core.Errorf(core.StoreUnavailable, "the database was made by a keyreeve from before the first release, which had no installation id; start with an empty database (a development server: with an empty folder)")
	}
	for query, lacks := range map[string]string{"SELECT seal FROM object LIMIT 0": "whose rows have no seals", "SELECT count FROM audit_entry LIMIT 0": "which did not count audit records in the database"} {
		r, err := db.QueryContext(ctx, query)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return core.Wrap(core.StoreUnavailable, err, "the database was made by a keyreeve from before the first release, %s; start with an empty database (a development server: with an empty folder)", lacks)
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}

// objectColumns is what every row of object is read from, without key material.
var objectColumns = `o.tenant, o.id, o.seq, o.version, o.type, o.owner, o.grp, o.doc, o.token, o.mac, o.seal, ` + searchColumns

// materialColumns are the columns of key material.
const materialColumns = `o.mode, o.class, o.epoch, o.wrap, o.kind, o.format, o.bytes, o.blob, o.ttlv`

type scanner interface{ Scan(dest ...any) error }

// readObject is a row of object as it was read, not checked.
type readObject struct {
	objectRow
	seal         []byte
	search       string
	withMaterial bool
}

// scanObject reads one row. With material, the row has materialColumns at the
// end, otherwise custodyColumns. The result is checked by openObject when the
// connection is free again: to load the keys of a seal takes another one.
func scanObject(r scanner, material bool) (*readObject, error) {
	o := &core.ManagedObject{}
	row := &readObject{objectRow: objectRow{object: o}, withMaterial: material}
	var typ, format int64
	m := &o.Material
	dest := []any{&o.Tenant, &o.ID, &o.Seq, &o.Version, &typ, &o.Owner, &o.Group, &row.doc, &m.Token, &m.MAC, &row.seal, &row.search}
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

// openObject checks the seal of a row and returns its object.
func (s seals) openObject(row *readObject) (*core.ManagedObject, error) {
	o, m := row.object, &row.object.Material
	if err := s.checkObject(&row.objectRow, row.seal); err != nil {
		return nil, err
	}
	var err error
	if o.Attributes, err = readDocument(row.doc); err != nil {
		return nil, err
	}
	if row.search != searchOf(o) || (m.MAC == nil && (m.Blob != nil || m.TTLV != nil)) {
		return nil, tamperedObject(o.ID)
	}
	if !row.withMaterial {
		o.Material = core.Material{}
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
		rows[i] = nil // its document is not needed any more
	}
	return out, nil
}

// changedValues are the columns that an update writes, the row's seal included.
func (s seals) changedValues(o *core.ManagedObject) ([]any, error) {
	doc, err := appendDocument(nil, o.Attributes)
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
		string(m.Kind), int64(m.Format), int64(m.Length), nullable(m.Token), nullable(m.Blob), nullable(m.TTLV), nullable(m.MAC), seal)
	for _, d := range dateColumns {
		values = append(values, dateOf(o, d.tag))
	}
	return values, nil
}

// dateOf is a date's column: NULL where the object lacks it, so that no range
// finds it.
func dateOf(o *core.ManagedObject, t core.Tag) any {
	if v, ok := o.Attributes.Get(t); ok {
		return v.Num
	}
	return nil
}

// nullable keeps an absent byte string absent.
func nullable(b []byte) any {
	if b == nil {
		return nil
	}
	return b
}

const changedColumns = `version, owner, grp, algorithm, length, state, doc, mode, class, epoch, wrap, kind, format, bytes, token, blob, ttlv, mac, seal, ` +
	`initial_date, activation_date, process_start_date, protect_stop_date, deactivation_date, destroy_date, compromise_date`

// The statements; both dialects take $n in ascending order.
var (
	insertObjectRow = `INSERT INTO object (tenant, id, type, seq, ` + changedColumns + `) VALUES (` + params(1, 30) + `)`
	updateObjectRow = `UPDATE object SET (` + changedColumns + `) = (` + params(1, 26) + `) WHERE tenant = $27 AND id = $28 AND version = $29 AND seq = $30`
)

// notDestroyed is the condition that a row still stands for its token object.
var notDestroyed = fmt.Sprintf("state NOT IN (%d, %d)", core.Destroyed, core.DestroyedCompromised)

var selectToken = `SELECT 1 FROM object WHERE token = $1 AND ` + notDestroyed + ` LIMIT 1`

const (
	lockObjectRow   = `UPDATE object SET version = version WHERE tenant = $1 AND id = $2 AND version = $3 AND seq = $4`
	deleteObjectRow = `DELETE FROM object WHERE tenant = $1 AND id = $2 AND version = $3`
	deleteAttrs     = `DELETE FROM object_attr WHERE tenant = $1 AND seq = $2`
	upsertSet       = `INSERT INTO tenant_key (number, tenant, epoch, state, checks, seal) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (number) DO UPDATE SET state = excluded.state, checks = excluded.checks, seal = excluded.seal ` +
		`WHERE tenant_key.tenant = excluded.tenant AND tenant_key.epoch = excluded.epoch AND tenant_key.state = 'pending' AND excluded.state <> 'pending'`
	insertSite   = `INSERT INTO installation (one, id, created, checks, seal) VALUES (1, $1, $2, $3, $4)`
	insertIntent = `INSERT INTO intent (` + intentColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, kind = excluded.kind, token = excluded.token, ` +
		`object = excluded.object, label = excluded.label, began = excluded.began, process = excluded.process, nonce = excluded.nonce, seal = excluded.seal`
	deleteIntent  = `DELETE FROM intent WHERE id = $1`
	selectSets    = `SELECT number, tenant, epoch, state, checks, seal FROM tenant_key WHERE ($1 = '' OR tenant = $2) ORDER BY tenant, epoch`
	selectSite    = `SELECT id, created, checks, seal FROM installation`
	selectIntent  = `SELECT ` + intentColumns + ` FROM intent ORDER BY began, id`
	intentColumns = `id, tenant, kind, token, object, label, began, process, nonce, seal`
)

var selectObject = `SELECT ` + objectColumns + `, ` + materialColumns + ` FROM object o WHERE o.tenant = $1 AND o.id = $2`

// rowsOf are the parameters of n rows of VALUES, from $first on.
func rowsOf(first, n, columns int) string {
	rows := make([]string, n)
	for i := range rows {
		rows[i] = "(" + params(first+i*columns, first+(i+1)*columns-1) + ")"
	}
	return strings.Join(rows, ", ")
}

func params(from, to int) string {
	var b strings.Builder
	for i := from; i <= to; i++ {
		if i > from {
			b.WriteString(", ")
		}
		fmt.Fprintf(&b, "$%d", i)
	}
	return b.String()
}

// itemNotFound quotes no more of a hostile identifier than one could have.
func itemNotFound(id string) error {
	return core.Errorf(core.ItemNotFound, "no row has the id %q", id[:min(len(id), maxNameBytes)])
}

func conflict(o *core.ManagedObject) error {
	return core.Errorf(core.Conflict, "object %s was changed by somebody else meanwhile; try again", o.ID)
}

func exists(o *core.ManagedObject) error {
	return core.Errorf(core.ObjectAlreadyExists, "an object has the Unique Identifier %s already", o.ID)
}

// maxRecords bounds one page of Records.
const maxRecords = 1000

// recordsQuery builds the SQL for records, newest first.
func recordsQuery(q core.RecordQuery) (string, []any) {
	s := &sqlBuilder{}
	s.add("SELECT number, tenant, at, body, node, writer, count FROM audit_entry WHERE 1 = 1")
	if q.Tenant != "" {
		s.add(" AND tenant = ", q.Tenant)
	}
	if q.Since != 0 {
		s.add(" AND at >= ", q.Since)
	}
	if q.Until != 0 {
		s.add(" AND at < ", q.Until)
	}
	if q.Before != 0 {
		s.add(" AND number < ", q.Before)
	}
	limit := q.Limit
	if limit <= 0 || limit > maxRecords {
		limit = maxRecords
	}
	s.add(" ORDER BY number DESC LIMIT ", limit)
	return s.text.String(), s.args
}
