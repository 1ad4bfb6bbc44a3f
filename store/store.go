// Package store implements [core.Store]: it keeps keyreeve's metadata in SQLite,
// embedded in one server, or in PostgreSQL, shared by several nodes.
//
// Both databases have the same rows: typed columns for what is searched often, one
// document with all attributes, and a search table for names, links, groups and
// vendor attributes. A commit is durable when it returns, and the commits of many
// callers share one sync. The package never sees a key byte in clear, and decides
// nothing. The suite in storetest holds both databases to one contract.
// Start at [Open].
package store

import (
	"context"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Open opens the store that a URL names, sqlite:PATH or postgres://..., and
// brings its schema up to date. It fails if the database does not exist: a
// mistyped URL must not start an empty system. The sealer seals each row that
// decides something, and checks the seal when the row is read.
func Open(ctx context.Context, url string, sealer core.Sealer) (core.Store, error) {
	return openURL(ctx, url, sealer, false)
}

// Create opens a store as [Open] does, and creates the database if it does not exist.
func Create(ctx context.Context, url string, sealer core.Sealer) (core.Store, error) {
	return openURL(ctx, url, sealer, true)
}

func openURL(ctx context.Context, url string, sealer core.Sealer, create bool) (core.Store, error) {
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
	return core.Errorf(core.StoreUnavailable, "store.url must be sqlite:PATH or postgres://USER@HOST/DATABASE")
}
