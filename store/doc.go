// Package store keeps keyreeve's metadata - objects with their sealed
// material, tenant keys, intents and audit entries - in SQLite or PostgreSQL.
//
// Both implement core.Store alike, which storetest proves. A row has typed
// columns for what Locate asks most, one document with all attributes, and rows
// in a search table for names, links, groups and vendor attributes. The tenant
// stands first in every key, index and WHERE.
//
// Commits of many callers share one transaction and one sync: whoever finds no
// commit under way leads, what gathers meanwhile is the next group. A change
// that fails fails its own caller alone. What Commit acknowledged is durable;
// what it refused is not stored, with one exception that its error names: a
// commit under way when the disk or the database went away for good.
//
// The package relies on github.com/mattn/go-sqlite3, github.com/jackc/pgx/v5
// and goose for migrations. It never sees clear key bytes, never reads a clock
// for anything but its own deadlines, and never waits without a bound. Start at
// [Open], then group.go.
package store
