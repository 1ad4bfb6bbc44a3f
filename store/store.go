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
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Open opens the store that a URL names, sqlite:PATH or postgres://..., and
// brings its schema up to date. It makes no database where there is none: a
// mistyped URL must not start an empty system. The sealer seals every row that
// decides something, and checks it when it is read.
func Open(ctx context.Context, url string, sealer core.Sealer) (core.Store, error) {
	return openURL(ctx, url, sealer, false)
}

// Create opens a store as [Open] does, and makes the database if there is none.
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
	return core.Errorf(core.StoreUnavailable, "the store must be sqlite:PATH or postgres://USER@HOST/DATABASE; see store.url")
}
