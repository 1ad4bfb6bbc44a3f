package server_test

import (
	"database/sql"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// Somebody changes rows behind the server: an owner, a state, a class, a search
// column, a blob, and an intent. Every key of a changed row is refused with a
// sentence that names it, a search that meets one fails, and the rest is served. Health says so.
func TestTamperedRows(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V2_1)
	changes := map[string]string{
		"owner":  "UPDATE object SET owner = 'dev2' WHERE id = $1",
		"state":  "UPDATE object SET state = 2, doc = replace(doc, '\"t\":\"42008d\",\"E\":1', '\"t\":\"42008d\",\"E\":2') WHERE id = $1",
		"class":  "UPDATE object SET class = 'N' WHERE id = $1",
		"search": "UPDATE object SET algorithm = 2 WHERE id = $1",
		"mac":    "UPDATE object SET mac = NULL WHERE id = $1",
		"seal":   "UPDATE object SET seal = zeroblob(34) WHERE id = $1",
		"seq":    "UPDATE object SET seq = seq + 100000 WHERE id = $1",
		"blob":   "UPDATE object SET blob = zeroblob(length(blob)) WHERE id = $1",
	}
	create := func() string {
		out, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt|core.MaskDecrypt))
		if err != nil {
			t.Fatal(err)
		}
		return out.ID
	}
	good, ids := create(), map[string]string{}
	for what := range changes {
		ids[what] = create()
	}
	s.Kill()
	db, err := sql.Open("sqlite3", filepath.Join(s.Dir, "keyreeve.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for what, change := range changes {
		r, err := db.Exec(change, ids[what])
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if n, _ := r.RowsAffected(); n != 1 {
			t.Fatalf("%s: %d rows were changed", what, n)
		}
	}
	if _, err := db.Exec(`INSERT INTO intent VALUES ('planted', 'default', 'destroy-token-object', x'00', 'x', 'x', 0, 'x', 'x', zeroblob(34))`); err != nil {
		t.Fatal(err)
	}
	db.Close()
	s.Run()
	c = dial(t, s, "dev", core.V2_1)
	refused := func(what string, err error) {
		t.Helper()
		if kmiptest.Reason(err) != core.ReasonGeneralFailure || !strings.Contains(err.Error(), "changed outside keyreeve") { // 2.x lists no closer reason for these
			t.Errorf("%s: %v; want General Failure and a sentence that says why", what, err)
		}
	}
	for what, id := range ids {
		_, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)})
		refused("Get after a change of "+what, err)
		if what != "blob" { // which only its use shows
			_, err = kmiptest.Do(c, &kmip.GetAttributes, &core.GetAttributesInput{ID: core.ID(id)})
			refused("Get Attributes after a change of "+what, err)
		}
	}
	_, err = kmiptest.Do(c, &kmip.Locate, &core.LocateInput{MaximumItems: -1})
	refused("Locate", err)
	if _, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(good)}); err != nil {
		t.Errorf("the key whose row is as it was: %v", err)
	}
	text, err := s.Command("health", "--dir", s.Dir)
	if err != nil || !strings.Contains(text, "changed behind the server") {
		t.Errorf("health says %q, %v", text, err)
	}
	if text, err := s.Command("hsm", "orphans", "list", "--dir", s.Dir); err != nil || !strings.HasPrefix(text, "planted ") || !strings.Contains(text, "changed behind the server") {
		t.Errorf("with a planted intent the list says %q, %v", text, err)
	}
}
