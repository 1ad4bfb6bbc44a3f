package store

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// The same for each column of a directory entry, except the change number: it is a hint,
// and the row is read as before.
func TestDirectoryRowsAreBound(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		entry := storetest.DirectoryEntry(core.EntryPolicy, "alpha", "p", 1)
		a.commit(core.ChangeOf(core.SaveDirectoryEntry{Entry: entry}))
		tried := 0
		for _, c := range a.columns("directory_entry") {
			for _, edit := range c.edits() {
				tried += a.try("directory_entry", c, edit, func(c column) string { return a.readsDirectory(entry.Name(), c.name) })
			}
		}
		if tried < 20 {
			t.Errorf("only %d changes were tried", tried)
		}
	})
}

// readsDirectory returns how an entry is read after a change, or "" if it is refused as it
// should be.
func (a *attacked) readsDirectory(name core.DirectoryName, column string) string {
	renamed := column == "tenant" || column == "kind" || column == "id" // then the entry is absent, which no seal shows
	history, err := a.DirectoryHistory(bg, name, 0, 10)
	if column == "change" {
		if err != nil || len(history) != 1 {
			return fmt.Sprintf("DirectoryHistory answers %v, %v; want the row", history, err)
		}
		return ""
	}
	if len(history) > 0 || (core.CodeOf(err) != core.Tampered || err == nil) && !renamed {
		return fmt.Sprintf("DirectoryHistory answers %v, %v", history, err)
	}
	for what, read := range map[string]func() (core.DirectoryPage, error){
		"DirectoryChanges": func() (core.DirectoryPage, error) { return a.DirectoryChanges(bg, -1, 10) },
		"DirectoryEntries": func() (core.DirectoryPage, error) { return a.DirectoryEntries(bg, core.DirectoryName{}, 10) },
	} {
		page, err := read()
		if beforeFirst := what == "DirectoryEntries" && renamed && len(page.Tampered) == 0; err != nil || len(page.Entries) > 0 || len(page.Tampered) != 1 && !beforeFirst {
			return fmt.Sprintf("%s answers %+v, %v", what, page, err)
		}
	}
	return ""
}

// Columns of two versions, two entries or two tenants cannot be mixed, and a changed row
// does not hide others.
func TestDirectoryRowsDoNotMix(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		name := core.DirectoryName{Tenant: "alpha", Kind: core.EntryPolicy, ID: "p"}
		for version := int64(1); version <= 2; version++ {
			a.commit(core.ChangeOf(core.SaveDirectoryEntry{Entry: storetest.DirectoryEntry(core.EntryPolicy, "alpha", "p", version)}))
		}
		for _, other := range []*core.DirectoryEntry{storetest.DirectoryEntry(core.EntryPolicy, "alpha", "q", 1), storetest.DirectoryEntry(core.EntryRole, "alpha", "p", 1), storetest.DirectoryEntry(core.EntryPolicy, "beta", "p", 1)} {
			other.At, other.Body = 1_700_000_002, []byte(`{"name": "p", "version": 2}`)
			a.commit(core.ChangeOf(core.SaveDirectoryEntry{Entry: other}))
		}
		a.exec("CREATE TABLE kept_entries AS SELECT * FROM directory_entry")
		restore := func() {
			a.exec("DELETE FROM directory_entry")
			a.exec("INSERT INTO directory_entry SELECT * FROM kept_entries")
		}
		const newest = "tenant = 'alpha' AND kind = 'policy' AND id = 'p' AND version = 2"
		sources := []string{"tenant = 'alpha' AND kind = 'policy' AND id = 'p' AND version = 1", "id = 'q'", "kind = 'role'", "tenant = 'beta'"}
		for _, source := range sources {
			for _, columns := range [][]string{{"body"}, {"seal"}, {"body", "seal"}, {"at", "author", "reason", "deleted", "body", "seal"}} {
				for _, c := range columns {
					a.exec(fmt.Sprintf("UPDATE directory_entry SET %s = (SELECT %s FROM kept_entries WHERE %s) WHERE %s", c, c, source, newest))
				}
				if got, err := a.DirectoryHistory(bg, name, 0, 10); core.CodeOf(err) != core.Tampered || len(got) > 0 {
					t.Errorf("%s of the row %s: %d versions, %v; want Tampered", strings.Join(columns, ", "), source, len(got), err)
				}
				page, err := a.DirectoryEntries(bg, core.DirectoryName{}, 10)
				if err != nil || len(page.Entries) != 3 || len(page.Tampered) != 1 || page.Tampered[0] != name {
					t.Errorf("%s of the row %s: a list has %d entries and %v is tampered, %v; want the 3 others", strings.Join(columns, ", "), source, len(page.Entries), page.Tampered, err)
				}
				restore()
			}
		}
	})
}

// Bodies are not readable in the database, and one with a right seal that was not made by
// EncryptBody is tampered with.
func TestDirectoryBodiesAreEncrypted(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		e := storetest.DirectoryEntry(core.EntryUser, "alpha", "u", 1)
		a.commit(core.ChangeOf(core.SaveDirectoryEntry{Entry: e}))
		var stored []byte
		if err := a.db.QueryRow("SELECT body FROM directory_entry").Scan(&stored); err != nil {
			t.Fatal(err)
		}
		if len(stored) != len(e.Body)+core.BodyOverhead || strings.Contains(string(stored), "name") {
			t.Errorf("the body %s is stored as %q", e.Body, stored)
		}
		row := directoryRow{entry: *e}
		row.entry.Body = []byte(strings.Repeat("clear", 20))
		seal, err := (seals{a.sealer}).sealSystem(row.sealedColumns())
		if err != nil {
			t.Fatal(err)
		}
		a.exec("UPDATE directory_entry SET body = $1, seal = $2", row.entry.Body, seal)
		if got, err := a.DirectoryHistory(bg, e.Name(), 0, 1); core.CodeOf(err) != core.Tampered || len(got) > 0 {
			t.Errorf("a body in clear: %v, %v; want Tampered", got, err)
		}
	})
}

// Without the keys of the system set nothing is stored, and no row is reported as tampered.
func TestDirectoryNeedsTheSystemSet(t *testing.T) {
	eachDatabase(t, func(t *testing.T, a *attacked) {
		e := storetest.DirectoryEntry(core.EntryUser, "alpha", "u", 1)
		a.commit(core.ChangeOf(core.SaveDirectoryEntry{Entry: e}))
		system := systemSet
		a.sealer.Missing.Store(&system)
		if err := a.Commit(bg, core.ChangeOf(core.SaveDirectoryEntry{Entry: storetest.DirectoryEntry(core.EntryUser, "alpha", "u", 2)})); core.CodeOf(err) != core.TokenUnavailable {
			t.Errorf("a version was stored: %v", err)
		}
		if _, err := a.DirectoryHistory(bg, e.Name(), 0, 1); core.CodeOf(err) != core.TokenUnavailable {
			t.Errorf("the history was read: %v", err)
		}
		if page, err := a.DirectoryEntries(bg, core.DirectoryName{}, 10); core.CodeOf(err) != core.TokenUnavailable || len(page.Tampered) > 0 {
			t.Errorf("the newest versions were read: %+v, %v", page, err)
		}
	})
}
