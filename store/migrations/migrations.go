// Package migrations has the schemas of both databases and brings a database up to date.
// Start at [Migrate].
package migrations

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/core"
)

//go:embed postgres sqlite
var files embed.FS

func provider(db *sql.DB, dialect goose.Dialect, folder string) (*goose.Provider, error) {
	sub, err := fs.Sub(files, folder)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db, sub, goose.WithDisableGlobalRegistry(true))
}

// hasTable reports whether the database has a table.
func hasTable(ctx context.Context, db *sql.DB, dialect goose.Dialect, table string) (bool, error) {
	q := `SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = $1`
	if dialect == goose.DialectPostgres {
		q = `SELECT count(*) FROM information_schema.tables WHERE table_schema = current_schema() AND table_name = $1`
	}
	var n int
	err := db.QueryRowContext(ctx, q, table).Scan(&n)
	return n > 0, err
}

// Migrate brings a schema up to date. Migrations only go forward, and the previous
// release must be able to serve while one runs. Without create, the schema must exist.
func Migrate(ctx context.Context, db *sql.DB, dialect goose.Dialect, folder string, create bool) error {
	if made, err := hasTable(ctx, db, dialect, "object"); err != nil || !made && !create {
		if err == nil {
			err = NoInstallation()
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
	return core.Errorf(core.StoreUnavailable, "the database has schema %d, and this release knows only %d; start the release that created it, or a newer one", is, knows)
}

// sealedSchema refuses a database from before rows had seals, or before there were
// installations. No release created such a database.
func sealedSchema(ctx context.Context, db *sql.DB, dialect goose.Dialect) error {
	made, err := hasTable(ctx, db, dialect, "installation")
	if err != nil {
		return err
	}
	if !made {
		return core.Errorf(core.StoreUnavailable, "the database was created by keyreeve before the first release, which had no installation id; start with an empty database (a development server: with an empty folder)")
	}
	for query, lacks := range map[string]string{"SELECT seal FROM object LIMIT 0": "whose rows have no seals", "SELECT count FROM audit_entry LIMIT 0": "which did not count audit records in the database"} {
		r, err := db.QueryContext(ctx, query)
		if err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return core.Wrap(core.StoreUnavailable, err, "the database was created by keyreeve before the first release, %s; start with an empty database (a development server: with an empty folder)", lacks)
		}
		if err := r.Close(); err != nil {
			return err
		}
	}
	return nil
}

// RequireCurrent fails unless the schema is exactly that of this program. It reads the
// table of goose itself, because goose would create a missing table.
func RequireCurrent(ctx context.Context, db *sql.DB, dialect goose.Dialect, folder string) error {
	for _, table := range []string{"object", goose.DefaultTablename} {
		if made, err := hasTable(ctx, db, dialect, table); err != nil || !made {
			if err == nil {
				err = NoInstallation()
			}
			return err
		}
	}
	if err := sealedSchema(ctx, db, dialect); err != nil {
		return err
	}
	p, err := provider(db, dialect, folder)
	if err != nil {
		return err
	}
	var is, knows int64
	if err := db.QueryRowContext(ctx, "SELECT coalesce(max(version_id), 0) FROM "+goose.DefaultTablename+" WHERE is_applied").Scan(&is); err != nil {
		return err
	}
	for _, s := range p.ListSources() {
		knows = max(knows, s.Version)
	}
	if is > knows {
		return newerSchema(is, knows)
	}
	if is < knows {
		return core.Errorf(core.StoreUnavailable, "the database has schema %d and this release needs %d; back up the database and start keyreeve serve, which brings it up to date. Nothing was changed", is, knows)
	}
	return nil
}

// NoInstallation is the error for a database that keyreeve did not create.
func NoInstallation() error {
	return core.Errorf(core.ItemNotFound, "the database has no keyreeve installation: check store.url, or run keyreeve init to create one")
}
