package store

import (
	"context"
	"log/slog"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Defaults and bounds of Options.
const (
	DefaultReaders      = 4
	maxReaders          = 256
	DefaultCommitWaitMS = 10_000
	openWaitMS          = 30_000 // to connect, migrate and prepare
)

// Options say where the data is. Exactly one of Path and DSN is given.
type Options struct {
	Path string // of the SQLite database; it is made if it is not there
	DSN  string // of the PostgreSQL database: a URL or key=value words

	Readers      int          // connections that read at the same time; 0: DefaultReaders
	CommitWaitMS int          // how long a commit may wait for its turn, and again take; 0: DefaultCommitWaitMS
	MaxPages     int64        // SQLite: the database grows to this many pages of 4 KiB; 0: as far as the disk goes
	NoMigrate    bool         // refuse a database that is not migrated instead of migrating it
	Log          *slog.Logger // nil: slog.Default
}

func (o *Options) fill() error {
	if o.Readers == 0 {
		o.Readers = DefaultReaders
	}
	if o.CommitWaitMS == 0 {
		o.CommitWaitMS = DefaultCommitWaitMS
	}
	if o.Log == nil {
		o.Log = slog.Default()
	}
	if o.Readers < 1 || o.Readers > maxReaders || o.CommitWaitMS < 1 || o.MaxPages < 0 {
		return core.Errorf(core.InvalidField, "readers is %d, commit wait %d ms, max pages %d; readers may be 1 to %d, the others not negative", o.Readers, o.CommitWaitMS, o.MaxPages, maxReaders)
	}
	return nil
}

func (o *Options) commitWait() time.Duration {
	return time.Duration(o.CommitWaitMS) * time.Millisecond
}

// Open opens the store that url names: "sqlite:PATH" or "postgres://...".
func Open(ctx context.Context, url string) (core.Store, error) {
	o, err := Parse(url)
	if err != nil {
		return nil, err
	}
	if o.DSN != "" {
		return asStore(OpenPostgres(ctx, o))
	}
	return asStore(OpenSQLite(ctx, o))
}

// asStore keeps a nil pointer from becoming an interface that is not nil.
func asStore[S core.Store](s S, err error) (core.Store, error) {
	if err != nil {
		return nil, err
	}
	return s, nil
}

// Parse turns a store's URL into Options.
func Parse(url string) (Options, error) {
	switch scheme, rest, _ := strings.Cut(url, ":"); {
	case scheme == "sqlite" && rest != "":
		return Options{Path: rest}, nil
	case scheme == "postgres", scheme == "postgresql":
		return Options{DSN: url}, nil
	}
	return Options{}, core.Errorf(core.InvalidField, "the store's address must be sqlite:PATH or postgres://USER@HOST/DATABASE")
}
