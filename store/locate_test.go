package store

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/sqlitefile"
	"github.com/keyreeve/keyreeve/store/storetest"
)

var bg = context.Background()

// ways are filters for the objects of storetest.Fill, with the index that each must use.
var ways = map[string]struct {
	filter core.Filter
	index  string
}{
	"a name":           {everyone(core.Attribute{Tag: core.TagName, Value: core.PlainName("key-0001234").Value()}), "object_attr"},
	"two x attributes": {everyone(x("SystemID", "sys3"), x("ResourceID", "res77")), "object_attr"},
	"an identifier":    {everyone(core.Attribute{Tag: core.TagUniqueIdentifier, Value: core.Text("id-0001234")}), "object"},
	"a state":          {everyone(core.Attribute{Tag: core.TagState, Value: core.Enum(core.Compromised)}), "object_state"},
	"a type":           {everyone(core.Attribute{Tag: core.TagObjectType, Value: core.Enum(core.ObjectTypeCertificate)}), "object_type"},
	"an algorithm":     {everyone(core.Attribute{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmDES3)}), "object_algorithm"},
	"a range of dates": {everyone(date(900), date(950)), "object_initial_date"},
	"an owner":         {core.Filter{Owner: "owner5"}, "object_owner"},
	"a group":          {core.Filter{Groups: []string{"group9"}}, "object_grp"},
}

func everyone(as ...core.Attribute) core.Filter {
	return core.Filter{WholeTenant: true, Attributes: as, Now: storetest.FillBegan}
}

func x(name, value string) core.Attribute {
	return core.Attribute{Vendor: "x", Name: name, Value: core.Text(value)}
}

func date(second int64) core.Attribute {
	return core.Attribute{Tag: core.TagInitialDate, Value: core.Date(storetest.FillBegan + second)}
}

// filled is the number of objects for which plans are made: enough that a scan costs more
// than an index.
const filled = 20_000

func TestSQLiteLocatesByIndex(t *testing.T) {
	s := newSQLite(t)
	storetest.Fill(t, s, "t", filled)
	for what, w := range ways {
		if w.index == "object_attr" {
			w.index = "SEARCH a USING PRIMARY KEY"
		}
		for _, beyond := range []int64{0, 5_000} {
			for _, w.filter.OldestFirst = range []bool{false, true} {
				text, args, err := s.planSearch(bg, "t", &w.filter, beyond, 100)
				if err != nil {
					t.Fatal(err)
				}
				plan := lines(t, s.readDB, "EXPLAIN QUERY PLAN "+text, args)
				if text == "" || strings.Contains(plan, "SCAN o") || !strings.Contains(plan, w.index) {
					t.Errorf("%s: the plan is\n%s; want %s and no scan", what, plan, w.index)
				}
				if strings.Contains(plan, "TEMP B-TREE") && w.index != "object_initial_date" {
					t.Errorf("%s, oldest first %v, beyond %d: the plan sorts\n%s", what, w.filter.OldestFirst, beyond, plan)
				}
			}
		}
	}
	text, args, _ := s.planSearch(bg, "t", &core.Filter{Attributes: core.Attributes{x("SystemID", "sys3"), x("ResourceID", "res77")}, WholeTenant: true}, 0, 100)
	if !strings.Contains(text, "a.val = $3") || args[2] != "res77" {
		t.Errorf("of two attributes the one that 20 objects have comes first, not %v", args[2])
	}
}

func TestPostgresLocatesByIndex(t *testing.T) {
	url := storetest.Postgres(t)
	s, err := Create(bg, url, new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	storetest.Fill(t, s, "plan", filled)
	db := database(t, url)
	if _, err := db.Exec("ANALYZE"); err != nil {
		t.Fatal(err)
	}
	for what, w := range ways {
		text, args := postgresCandidates("plan", &w.filter, 0, 100)
		plan := lines(t, db, "EXPLAIN "+text, args)
		if w.filter.OldestFirst = true; strings.Contains(text, "seq > ") {
			t.Errorf("%s: newest first begins with the first row", what)
		}
		if strings.Contains(plan, "Seq Scan") || !strings.Contains(plan, w.index) {
			t.Errorf("%s: the plan is\n%s; want %s and no scan", what, plan, w.index)
		}
	}
}

func database(t *testing.T, url string) *sql.DB {
	t.Helper()
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	db := stdlib.OpenDB(*cfg)
	t.Cleanup(func() { db.Close() })
	return db
}

// lines joins the last column of all rows.
func lines(t *testing.T, db *sql.DB, query string, args []any) string {
	t.Helper()
	rows, err := db.Query(query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer rows.Close()
	columns, _ := rows.Columns()
	var b strings.Builder
	for rows.Next() {
		to := make([]any, len(columns))
		for i := range to {
			to[i] = new(any)
		}
		if err := rows.Scan(to...); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&b, *to[len(to)-1].(*any))
	}
	return b.String()
}

// A database from before rows had seals is refused and not changed.
func TestUnsealedDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "old.db")
	db, err := sql.Open("sqlite3", sqlitefile.DSN(path, ""))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	url := storetest.Postgres(t)
	for name, old := range map[string]*sql.DB{"sqlite:" + path: db, url: database(t, url)} {
		for _, statement := range []string{"DROP TABLE IF EXISTS object", "DROP TABLE IF EXISTS goose_db_version", "CREATE TABLE object (id TEXT)",
			"CREATE TABLE goose_db_version (id INTEGER, version_id BIGINT, is_applied BOOLEAN, tstamp TIMESTAMP)", "INSERT INTO goose_db_version VALUES (1, 0, true, CURRENT_TIMESTAMP), (2, 1, true, CURRENT_TIMESTAMP), (3, 2, true, CURRENT_TIMESTAMP)"} {
			if _, err := old.Exec(statement); err != nil {
				t.Fatal(err)
			}
		}
		_, err := Open(bg, name, new(storetest.Sealer))
		wantUnavailable(t, "a database without seals", err, "first release")
		if got := lines(t, old, "SELECT count(*) FROM goose_db_version", nil); got != "3\n" {
			t.Errorf("the refused database was changed: %s", got)
		}
	}
}

func TestNewerDatabaseIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), "newer.db")
	s, err := Create(bg, "sqlite:"+path, new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.(*sqliteStore).writeConn.ExecContext(bg, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)"); err != nil {
		t.Fatal(err)
	}
	s.Close()
	_, err = Create(bg, "sqlite:"+path, new(storetest.Sealer))
	wantUnavailable(t, "a database of a newer release", err, "schema 99")
}

func BenchmarkLocateByName(b *testing.B) {
	for _, n := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			s, err := Create(bg, "sqlite:"+filepath.Join(b.TempDir(), "bench.db"), new(storetest.Sealer))
			if err != nil {
				b.Fatal(err)
			}
			defer s.Close()
			storetest.Fill(b, s, "t", n)
			i := 0
			for b.Loop() {
				i = (i + 7919) % n
				f := everyone(core.Attribute{Tag: core.TagName, Value: core.PlainName(fmt.Sprintf("key-%07d", i)).Value()})
				if found, err := s.Candidates(bg, "t", f, 0, 100); err != nil || len(found) != 1 {
					b.Fatal(len(found), err)
				}
			}
		})
	}
}
