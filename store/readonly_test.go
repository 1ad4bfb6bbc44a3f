package store_test

import (
	"database/sql"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// readBack opens a database only for reading and reads its object.
func readBack(t *testing.T, url, id string) {
	t.Helper()
	s, err := store.OpenReadOnly(ctx, url, new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if o, err := s.Object(ctx, "look", id); err != nil || o.ID != id {
		t.Errorf("the object: %v", err)
	}
	if found, err := s.Candidates(ctx, "look", core.Filter{WholeTenant: true}, 0, 10); err != nil || len(found) != 1 {
		t.Errorf("%d objects, %v; want 1", len(found), err)
	}
	if err := s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "look", Time: 1, Body: []byte("{}")}})); core.CodeOf(err) != core.IllegalOperation {
		t.Errorf("Commit: %v; want that it is refused", err)
	}
}

func withOneObject(t *testing.T, url string) core.Store {
	t.Helper()
	s := created(t, url)
	if err := s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: storetest.Object("look", "one")})); err != nil {
		t.Fatal(err)
	}
	return s
}

// To open a SQLite database only for reading changes nothing in its folder. That is so
// even if the server was killed, which leaves a WAL with commits in it.
func TestReadOnlyLeavesTheFolderAlone(t *testing.T) {
	dir, killed := t.TempDir(), t.TempDir()
	path := filepath.Join(dir, "db")
	s := withOneObject(t, "sqlite:"+path)
	if _, err := store.OpenReadOnly(ctx, "sqlite:"+path, new(storetest.Sealer)); err == nil || !strings.Contains(err.Error(), "another process") {
		t.Errorf("a database that is open: %v; want a refusal", err)
	}
	// The server itself empties the WAL from time to time, so a copy may meet it empty.
	wal := int64(0)
	for try := 0; wal == 0 && try < 50; try++ {
		entry := &core.Entry{Tenant: "look", Time: 1, Body: []byte("{}")}
		if err := s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: entry})); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"db", "db-wal", "db-lock"} {
			b, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(killed, name), b, 0o600); err != nil {
				t.Fatal(err)
			}
			if name == "db-wal" {
				wal = int64(len(b))
			}
		}
	}
	if wal == 0 {
		t.Fatal("the WAL of a killed server is empty")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	copied := t.TempDir() // a backup has no lock file
	b, err := os.ReadFile(path)
	if err != nil || os.WriteFile(filepath.Join(copied, "db"), b, 0o600) != nil {
		t.Fatal(err)
	}
	for what, dir := range map[string]string{"stopped": dir, "killed": killed, "a copy": copied} {
		t.Run(what, func(t *testing.T) {
			before := storetest.Files(t, dir, true)
			readBack(t, "sqlite:"+filepath.Join(dir, "db"), "one")
			if after := storetest.Files(t, dir, true); !maps.Equal(before, after) {
				t.Errorf("before: %v\nafter: %v", before, after)
			}
		})
	}
	empty := t.TempDir()
	if _, err := store.OpenReadOnly(ctx, "sqlite:"+filepath.Join(empty, "none"), new(storetest.Sealer)); core.CodeOf(err) != core.ItemNotFound || len(storetest.Files(t, empty, true)) != 1 {
		t.Errorf("no database: %v, and the folder has %v", err, storetest.Files(t, empty, true))
	}
}

// schemaCase is a database that OpenReadOnly refuses.
type schemaCase struct {
	what, statement, says string
	code                  core.Code
}

var schemaCases = []schemaCase{
	{"older", "DELETE FROM goose_db_version WHERE version_id > 0", "has schema 0 and this release needs 4", core.StoreUnavailable},
	{"newer", "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, true)", "has schema 99, and this release knows only 4", core.StoreUnavailable},
	{"without versions", "DROP TABLE goose_db_version", "keyreeve init", core.ItemNotFound},
	{"without tables", "DROP TABLE object", "keyreeve init", core.ItemNotFound},
}

// OpenReadOnly refuses a database with another schema, says which, and changes nothing.
func TestReadOnlyBringsNothingUpToDate(t *testing.T) {
	for _, c := range schemaCases {
		t.Run("sqlite "+c.what, func(t *testing.T) {
			dir := t.TempDir()
			url := "sqlite:" + filepath.Join(dir, "db")
			withOneObject(t, url).Close()
			execSQL(t, "sqlite3", filepath.Join(dir, "db"), c.statement)
			before := storetest.Files(t, dir, true)
			_, err := store.OpenReadOnly(ctx, url, new(storetest.Sealer))
			if core.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %q", err, c.says)
			}
			if after := storetest.Files(t, dir, true); !maps.Equal(before, after) {
				t.Errorf("before: %v\nafter: %v", before, after)
			}
		})
	}
	pg := storetest.StartPostgres(t)
	withOneObject(t, pg.URL).Close()
	readBack(t, pg.URL, "one")
	for _, c := range schemaCases {
		t.Run("postgres "+c.what, func(t *testing.T) {
			execSQL(t, "pgx", pg.URL, c.statement)
			before := tables(t, pg.URL)
			_, err := store.OpenReadOnly(ctx, pg.URL, new(storetest.Sealer))
			if core.CodeOf(err) != c.code || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v; want %q", err, c.says)
			}
			if after := tables(t, pg.URL); before != after {
				t.Errorf("before: %v\nafter: %v", before, after)
			}
			execSQL(t, "pgx", pg.URL, "DROP SCHEMA public CASCADE; CREATE SCHEMA public")
			withOneObject(t, pg.URL).Close()
		})
	}
}

func execSQL(t *testing.T, driver, at, statement string) {
	t.Helper()
	db, err := sql.Open(driver, at)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(statement); err != nil {
		t.Fatal(err)
	}
}

// tables lists the tables of a PostgreSQL database and the versions of its schema.
func tables(t *testing.T, url string) (out string) {
	t.Helper()
	db, err := sql.Open("pgx", url)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, q := range []string{"SELECT coalesce(string_agg(table_name, ' ' ORDER BY table_name), '') FROM information_schema.tables WHERE table_schema = 'public'",
		"SELECT coalesce(string_agg(version_id::text, ' ' ORDER BY id), '') FROM goose_db_version"} {
		var s string
		if err := db.QueryRow(q).Scan(&s); err != nil {
			s = err.Error()
		}
		out += s + "\n"
	}
	return out
}
