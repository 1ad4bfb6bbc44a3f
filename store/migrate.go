package store

import (
	"context"
	"database/sql"
	"embed"
	"io/fs"

	"github.com/pressly/goose/v3"

	"github.com/keyreeve/keyreeve/core"
)

// migrations go forward only, and each must run while the previous release
// still serves.
//
//go:embed migrations/sqlite/*.sql migrations/postgres/*.sql
var migrations embed.FS

// Migrate brings the database that url names (see [Open]) to this release's
// schema and returns the number of migrations applied.
func Migrate(ctx context.Context, url string) (int, error) {
	o, err := Parse(url)
	if err != nil {
		return 0, err
	}
	if err := o.fill(); err != nil {
		return 0, err
	}
	if o.DSN != "" {
		return migratePostgres(ctx, &o)
	}
	return migrateSQLite(ctx, &o)
}

// provider reads the migrations of one dialect.
func provider(dialect goose.Dialect, db *sql.DB, folder string, options ...goose.ProviderOption) (*goose.Provider, error) {
	files, err := fs.Sub(migrations, "migrations/"+folder)
	if err != nil {
		return nil, err
	}
	return goose.NewProvider(dialect, db, files, append(options, goose.WithDisableGlobalRegistry(true))...)
}

// up applies what is missing. A database of a newer release is refused: this
// one would not know what its rows mean.
func up(ctx context.Context, p *goose.Provider, noMigrate bool) (int, error) {
	current, target, err := p.GetVersions(ctx)
	switch {
	case err != nil:
		return 0, err
	case current > target:
		return 0, core.Errorf(core.StoreUnavailable, "the database has schema %d, this release knows %d; start the release that made it, or a newer one", current, target)
	case current == target:
		return 0, nil
	case noMigrate:
		return 0, core.Errorf(core.StoreUnavailable, "the database has schema %d, this release needs %d; run keyreeve migrate", current, target)
	}
	done, err := p.Up(ctx)
	return len(done), err
}
