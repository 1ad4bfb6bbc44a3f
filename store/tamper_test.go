package store

import (
	"crypto/rand"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/sqlitefile"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// attacked is a store with a second connection to its database, like that of an attacker
// who can write it.
type attacked struct {
	core.Store
	t      *testing.T
	db     *sql.DB
	sealer *storetest.Sealer
	lite   bool
}

// eachDatabase runs f on SQLite and on PostgreSQL.
func eachDatabase(t *testing.T, f func(t *testing.T, a *attacked)) {
	open := func(t *testing.T, url string, db *sql.DB, lite bool) {
		sealer := new(storetest.Sealer)
		s, err := Create(bg, url, sealer)
		if err != nil {
			t.Fatal(err)
		}
		defer s.Close()
		f(t, &attacked{s, t, db, sealer, lite})
	}
	t.Run("sqlite", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "attacked.db")
		db, err := sql.Open("sqlite3", sqlitefile.DSN(path, ""))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		open(t, "sqlite:"+path, db, true)
	})
	t.Run("postgres", func(t *testing.T) {
		url := storetest.Postgres(t)
		open(t, url, database(t, url), false)
	})
}

func (a *attacked) exec(query string, args ...any) {
	a.t.Helper()
	r, err := a.db.Exec(query, args...)
	if err != nil {
		a.t.Fatalf("%s: %v", query, err)
	}
	if n, _ := r.RowsAffected(); n == 0 && strings.HasPrefix(query, "UPDATE") {
		a.t.Fatalf("%s touched no row", query)
	}
}

func (a *attacked) commit(c *core.Change) {
	a.t.Helper()
	if err := a.Commit(bg, c); err != nil {
		a.t.Fatal(err)
	}
}

// column is one column of a table, with its type as the database names it.
type column struct{ name, kind string }

// columns reads them from the database, so that new ones are tested too.
func (a *attacked) columns(table string) []column { return a.tableColumns(table, 6) }

// tableColumns returns the columns of a table. It fails if there are fewer than expected.
func (a *attacked) tableColumns(table string, least int) (out []column) {
	a.t.Helper()
	query := `SELECT name, type FROM pragma_table_info($1)`
	if !a.lite {
		query = `SELECT column_name, data_type FROM information_schema.columns WHERE table_name = $1`
	}
	rows, err := a.db.Query(query, table)
	if err != nil {
		a.t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var c column
		if err := rows.Scan(&c.name, &c.kind); err != nil {
			a.t.Fatal(err)
		}
		out = append(out, c)
	}
	if len(out) < least {
		a.t.Fatalf("table %s has %d columns", table, len(out))
	}
	return out
}

// edits are ways to change a column.
func (c column) edits() []string {
	switch strings.ToUpper(c.kind) {
	case "TEXT":
		return []string{"'x' || " + c.name, "''", "upper(" + c.name + ")"}
	case "INTEGER", "BIGINT":
		return []string{"coalesce(" + c.name + ", 0) + 1", "0", "NULL"}
	}
	return []string{"NULL", "CAST('forged' AS " + c.kind + ")", "CAST('' AS " + c.kind + ")"}
}

// sameRow has the columns that no seal needs to cover: the MAC of the material covers the
// blobs, and the HSM refuses a key with a wrong MAC (hsm/custody).
func sameRow(table, column, edit string) bool {
	return table == "object" && (column == "blob" || column == "ttlv") && edit != "NULL"
}

// Each column of each sealed table is changed behind the server, in several ways. Then the
// row is refused, and so is each search or list that it is in.
func TestEveryColumnIsBound(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		o := storetest.Object("alpha", "victim")
		for _, d := range dateColumns {
			o.Attributes = o.Attributes.Set(d.tag, core.Date(1_700_000_001))
		}
		o.Material.CKAID = []byte("0123456789abcdef")
		a.commit(core.ChangeOf(core.InsertObject{Object: o}))
		tried := 0
		for _, c := range a.columns("object") {
			for _, edit := range c.edits() {
				if tried += a.try("object", c, edit, a.readsObject); t.Failed() {
					return
				}
			}
		}
		if tried < 60 {
			t.Errorf("only %d changes were tried", tried)
		}
	})
}

// The same for each column of the rows that name token keys.
func TestRowsOfKeysAreBound(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		a.commit(core.ChangeOf(core.InsertInstallation{Installation: core.Installation{ID: "0123456789abcdef0123456789abcdef", Created: 5, Checks: []byte("checks")}}, core.SaveKeySet{KeySet: core.KeySet{Number: 3, Tenant: "alpha", Epoch: 1, State: core.KeySetActive, Checks: []byte("of alpha")}}))
		tried := 0
		for table, reads := range map[string]func(column) string{"tenant_key": a.readsSets, "installation": a.readsInstallation} {
			for _, c := range a.tableColumns(table, 5) {
				for _, edit := range c.edits() {
					tried += a.try(table, c, edit, reads)
				}
			}
		}
		if tried < 15 {
			t.Errorf("only %d changes were tried", tried)
		}
	})
}

// Someone adds triggers that drop the rows to be written. Then a change fails as a whole:
// the client is not told that it was stored.
func TestTriggersMakeNoFalseSuccess(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		record := core.AppendEntry{Entry: &core.Entry{Tenant: "alpha", Time: 1, Body: []byte("record")}}
		old := storetest.Object("alpha", "old")
		a.commit(core.ChangeOf(core.InsertObject{Object: old}, record))
		kept, err := a.Object(bg, "alpha", "old")
		if err != nil {
			t.Fatal(err)
		}
		next := *kept
		next.Version++
		for _, c := range []struct {
			event, table string
			change       *core.Change
		}{
			{"INSERT", "object", core.ChangeOf(core.InsertObject{Object: storetest.Object("alpha", "new")}, record)},
			{"UPDATE", "object", core.ChangeOf(core.UpdateObject{Object: &next}, record)},
			{"INSERT", "audit_entry", core.ChangeOf(record)},
			{"INSERT", "audit_entry", core.ChangeOf(core.InsertObject{Object: storetest.Object("alpha", "new")}, record)},
			{"INSERT", "intent", core.ChangeOf(core.BeginIntent{Intent: core.Intent{ID: "i", Tenant: "alpha", Kind: "create-token-object", CKAID: []byte("t"), Object: "new", Time: 1, Process: "p"}})},
		} {
			drop := a.addTrigger(c.event, c.table)
			if err := a.Commit(bg, c.change); err == nil {
				t.Errorf("a change is answered Success while a trigger drops each %s of %s", c.event, c.table)
			}
			drop()
			a.commit(core.ChangeOf(core.InsertObject{Object: storetest.Object("alpha", rand.Text())}, record))
		}
		if _, err := a.Object(bg, "alpha", "new"); core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("a change that failed left its object: %v", err)
		}
		a.commit(core.ChangeOf(core.UpdateObject{Object: &next}, record))
	})
}

// addTrigger adds a trigger that drops rows, and returns a function that removes it.
func (a *attacked) addTrigger(event, table string) (drop func()) {
	text, remove := "CREATE TRIGGER planted BEFORE %s ON %s BEGIN SELECT RAISE(IGNORE); END", "DROP TRIGGER planted"
	if !a.lite {
		a.exec("CREATE OR REPLACE FUNCTION planted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'")
		text, remove = "CREATE TRIGGER planted BEFORE %s ON %s FOR EACH ROW EXECUTE FUNCTION planted()", remove+" ON "+table
	}
	a.exec(fmt.Sprintf(text, event, table))
	return func() { a.exec(remove) }
}

// readsSets returns how a set is read after a change. No seal can show that a tenant has no
// set, which is how it looks if the row names another tenant.
func (a *attacked) readsSets(c column) string {
	for _, tenant := range []string{"alpha", "xalpha", "ALPHA", ""} {
		sets, err := a.KeySets(bg, tenant)
		if len(sets) > 0 || (err != nil && core.CodeOf(err) != core.Tampered) || (err == nil && tenant == "alpha" && c.name != "tenant") {
			return fmt.Sprintf("KeySets of %q answers %d sets, %v", tenant, len(sets), err)
		}
	}
	return ""
}

func (a *attacked) readsInstallation(c column) string {
	if _, err := a.Installation(bg); core.CodeOf(err) != core.Tampered && c.name != "one" {
		return fmt.Sprintf("Installation answers %v", err)
	}
	return ""
}

// A row of a set is not accepted in place of another: a tenant never gets the set of another
// tenant, and an old row is not read beside a newer one of the same number.
func TestSetsDoNotMix(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		for i, tenant := range []string{"alpha", "beta"} {
			a.commit(core.ChangeOf(core.SaveKeySet{KeySet: core.KeySet{Number: int64(i + 1), Tenant: tenant, Epoch: 1, State: core.KeySetActive, Checks: []byte("of " + tenant)}}))
		}
		refused := func(what string) {
			t.Helper()
			for _, tenant := range []string{"alpha", "beta", ""} {
				if sets, err := a.KeySets(bg, tenant); (err == nil && len(sets) > 0) || (err != nil && core.CodeOf(err) != core.Tampered) {
					t.Errorf("%s: tenant %q has %d sets, %v; want Tampered", what, tenant, len(sets), err)
				}
			}
		}
		a.exec("CREATE TABLE kept AS SELECT * FROM tenant_key")
		restore := func() {
			a.exec("DELETE FROM tenant_key")
			a.exec("INSERT INTO tenant_key SELECT * FROM kept")
		}
		a.exec("UPDATE tenant_key SET number = number + 10")
		a.exec("UPDATE tenant_key SET number = 13 - number")
		refused("numbers that were swapped")
		restore()
		a.exec("UPDATE tenant_key SET epoch = 2 WHERE tenant = 'alpha'")
		a.exec("UPDATE tenant_key SET tenant = 'alpha' WHERE tenant = 'beta'")
		a.exec("DELETE FROM tenant_key WHERE epoch = 2")
		refused("a row of another tenant")
		restore()
		a.exec("UPDATE tenant_key SET seal = (SELECT seal FROM kept WHERE kept.tenant <> tenant_key.tenant)")
		refused("seals that were swapped")
		a.exec("DELETE FROM tenant_key")
		a.exec("INSERT INTO tenant_key (number, tenant, epoch, state, checks, seal) SELECT 9, 'alpha', 1, 'active', checks, seal FROM kept WHERE tenant = 'beta'")
		refused("a row that the attacker inserted")
	})
}

// readsObject returns how the object is read after a change, or "" if it is refused as it
// should be.
func (a *attacked) readsObject(c column) string {
	_, err := a.Object(bg, "alpha", "victim")
	gone := c.name == "tenant" || c.name == "id" // then it is absent, which no seal shows
	if code := core.CodeOf(err); err == nil || (code != core.Tampered && (!gone || code != core.ItemNotFound)) {
		return fmt.Sprintf("Object answers %v", err)
	}
	for _, tenant := range []string{"alpha", "xalpha", "ALPHA", ""} {
		found, err := a.Candidates(bg, tenant, core.Filter{WholeTenant: true}, 0, 10)
		if len(found) > 0 || (err != nil && core.CodeOf(err) != core.Tampered) || (err == nil && tenant == "alpha" && c.name != "tenant") {
			return fmt.Sprintf("Candidates of tenant %q answers %d objects, %v", tenant, len(found), err)
		}
	}
	return ""
}

// try changes a column in one row, if the database allows it, and restores it.
func (a *attacked) try(table string, c column, edit string, reads func(column) string) int {
	a.t.Helper()
	if sameRow(table, c.name, edit) {
		return 0
	}
	var old any
	var changed bool
	if err := a.db.QueryRow("SELECT "+c.name+", coalesce("+edit+" <> "+c.name+", true) FROM "+table).Scan(&old, &changed); err != nil {
		a.t.Fatal(err)
	}
	if _, err := a.db.Exec("UPDATE " + table + " SET " + c.name + " = " + edit); err != nil || !changed {
		return 0 // NOT NULL, or the same value
	}
	if says := reads(c); says != "" {
		a.t.Errorf("%s.%s = %s: %s", table, c.name, edit, says)
	}
	a.exec("UPDATE "+table+" SET "+c.name+" = $1", old)
	return 1
}

// Columns of two versions of a row, of two rows or of two tenants cannot be mixed, and a row
// is valid only in its own place.
func TestRowsDoNotMix(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		o, other := storetest.Object("alpha", "victim"), storetest.Object("beta", "mine")
		other.Owner, other.Material.Class = "eve", core.ClassC
		a.commit(core.ChangeOf(core.InsertObject{Object: o}, core.InsertObject{Object: other}))
		a.exec("CREATE TABLE saved AS SELECT * FROM object WHERE id = 'victim'")
		next := *o
		next.Version, next.Owner, next.Group = 2, "bob", "h"
		next.Attributes = o.Attributes.Set(core.TagState, core.Enum(core.Compromised)).Set(core.TagCompromiseDate, core.Date(9)).
			Set(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmDES3)).Set(core.TagCryptographicLength, core.Int(168))
		next.Material = core.Material{Mode: core.ModeResident, Class: core.ClassN, Kind: core.KeyDES3, Epoch: 4, Format: core.KeyFormatTypeOpaque, Length: 21, CKAID: []byte("t"), MAC: []byte{1}}
		a.commit(core.ChangeOf(core.UpdateObject{Object: &next}))
		a.exec("CREATE TABLE present AS SELECT * FROM object WHERE id = 'victim'")
		refused := func(what, tenant, id string) {
			t.Helper()
			if _, err := a.Object(bg, tenant, id); core.CodeOf(err) != core.Tampered {
				t.Errorf("%s: got %v, want Tampered", what, err)
			}
			if found, err := a.Candidates(bg, tenant, core.Filter{WholeTenant: true}, 0, 9); core.CodeOf(err) != core.Tampered || len(found) > 0 {
				t.Errorf("%s: a search answers %d objects, %v; want Tampered", what, len(found), err)
			}
		}
		mixed := 0
		for _, c := range a.columns("object") {
			var differs bool
			if err := a.db.QueryRow("SELECT coalesce(s." + c.name + " <> p." + c.name + ", (s." + c.name + " IS NULL) <> (p." + c.name + " IS NULL)) FROM saved s, present p").Scan(&differs); err != nil {
				t.Fatal(err)
			}
			if !differs {
				continue
			}
			mixed++
			a.exec("UPDATE object SET " + c.name + " = (SELECT " + c.name + " FROM saved) WHERE id = 'victim'")
			refused("the old "+c.name, "alpha", "victim")
			a.exec("UPDATE object SET " + c.name + " = (SELECT " + c.name + " FROM present) WHERE id = 'victim'")
		}
		if mixed < 15 {
			t.Errorf("only %d columns differed between the versions", mixed)
		}
		a.exec("DELETE FROM object WHERE id = 'mine'")
		a.exec("UPDATE object SET tenant = 'beta'")
		refused("a row moved to another tenant", "beta", "victim")
		a.exec("UPDATE object SET tenant = 'alpha', id = 'copy'")
		refused("a row under another id", "alpha", "copy")
	})
}

// A row whose key is missing is not reported as tampered. A row whose key has a newer epoch
// is.
func TestKeysOfSeals(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		a.commit(core.ChangeOf(core.InsertObject{Object: storetest.Object("alpha", "first")}))
		a.sealer.Epoch.Store(1)
		a.commit(core.ChangeOf(core.InsertObject{Object: storetest.Object("alpha", "second")}))
		for _, id := range []string{"first", "second"} {
			if _, err := a.Object(bg, "alpha", id); err != nil {
				t.Errorf("%s, with seals of two epochs: %v", id, err)
			}
		}
		tenant := "alpha"
		a.sealer.Missing.Store(&tenant)
		if _, err := a.Object(bg, "alpha", "first"); core.CodeOf(err) != core.TokenUnavailable {
			t.Errorf("without the tenant's keys: %v", err)
		}
		if err := a.Commit(bg, core.ChangeOf(core.InsertObject{Object: storetest.Object("alpha", "third")})); core.CodeOf(err) != core.TokenUnavailable {
			t.Errorf("a birth without the tenant's keys: %v", err)
		}
	})
}

func BenchmarkSeal(b *testing.B) {
	s := seals{new(storetest.Sealer)}
	o := storetest.Object("t", "bench")
	b.ReportAllocs()
	for b.Loop() {
		row := objectRow{object: o, doc: strings.Repeat("x", 900), custody: custodyOf(&o.Material)}
		if _, err := s.sealObject(&row); err != nil {
			b.Fatal(err)
		}
	}
}

// The same for each column of an intent.
func TestIntentsAreBound(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		a.commit(core.ChangeOf(core.BeginIntent{Intent: core.Intent{ID: "abc", Tenant: "alpha", Kind: "k", CKAID: []byte("t"), Object: "o", Label: "l", Time: 5, Process: "p", Nonce: "n"}}))
		if sound, tampered, err := a.Intents(bg); err != nil || len(sound) != 1 || len(tampered) != 0 {
			t.Fatalf("as it was written: %v, %v, %v", sound, tampered, err)
		}
		tried := 0
		for _, c := range a.columns("intent") {
			for _, edit := range c.edits() {
				tried += a.try("intent", c, edit, func(column) string {
					sound, tampered, err := a.Intents(bg)
					if err != nil || len(sound) > 0 || len(tampered) != 1 {
						return fmt.Sprintf("Intents answers %v, %v, %v; want that the row is tampered", sound, tampered, err)
					}
					return ""
				})
			}
		}
		if tried < 25 {
			t.Errorf("only %d changes were tried", tried)
		}
	})
}

// A changed row of an intent does not hide other rows, whatever it contains.
func TestTamperedIntentHidesNoOther(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		for _, id := range []string{"abc", "def"} {
			a.commit(core.ChangeOf(core.BeginIntent{Intent: core.Intent{ID: id, Tenant: "alpha", Kind: "k", CKAID: []byte(id), Object: "o", Label: "l", Time: 5, Process: "p", Nonce: id}}))
		}
		for _, edit := range []string{"kind = 'other'", "began = 'soon'", "seal = ''"} {
			if _, err := a.db.Exec("UPDATE intent SET " + edit + " WHERE id = 'abc'"); err != nil {
				continue // PostgreSQL keeps no text in a column of numbers
			}
			sound, tampered, err := a.Intents(bg)
			if err != nil || len(sound) != 1 || sound[0].ID != "def" || len(tampered) != 1 || tampered[0] != "abc" {
				t.Errorf("%s: %v, %v, %v; want def, and that abc is tampered", edit, sound, tampered, err)
			}
		}
	})
}
