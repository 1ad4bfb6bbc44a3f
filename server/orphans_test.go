package server_test

import (
	"bytes"
	"database/sql"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// atTerminal runs a command whose standard input is a terminal at which somebody
// types a line.
func atTerminal(t *testing.T, line string, args ...string) (string, error) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be made: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no terminal can be made: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be made: %v", err)
	}
	defer slave.Close()
	if _, err := master.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(servertest.Binary(t), args...)
	cmd.Stdin = slave
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// orphaned makes keys in the token and takes the rows of them away, as a restore
// of an old database does. It returns the CKA_IDs. The row of an intent about the
// first is planted.
func orphaned(t *testing.T, s *servertest.Server, n int) (ids []string) {
	t.Helper()
	c := dial(t, s, "dev", core.V1_4)
	var keys []string
	for range n {
		in := kmiptest.AESKey(256, core.MaskEncrypt)
		in.Attributes = append(in.Attributes, core.Attribute{Vendor: "x", Name: "keyreeve-custody", Value: core.Text("resident")})
		out, err := kmiptest.Do(c, &kmip.Create, in)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, out.ID)
	}
	s.Kill()
	db, err := sql.Open("sqlite3", filepath.Join(s.Dir, "keyreeve.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for _, key := range keys {
		var token []byte
		if err := db.QueryRow("SELECT token FROM object WHERE id = $1", key).Scan(&token); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, hex.EncodeToString(token))
		if _, err := db.Exec("DELETE FROM object WHERE id = $1", key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("INSERT INTO intent VALUES ($1, 'default', 'destroy-token-object', x'00', 'x', 'x', 0, 'x', 'x', zeroblob(34))", ids[0]); err != nil {
		t.Fatal(err)
	}
	s.Run()
	return ids
}

// Token objects are destroyed after somebody at a terminal typed what they were
// asked to type, or by --yes, and not otherwise. One whose intent was changed stays
// and is named. Records say who allowed it.
func TestPurgeCommand(t *testing.T) {
	s := servertest.Start(t)
	ids := orphaned(t, s, 4)
	left := func(want int, when string) {
		t.Helper()
		out, err := s.Command("hsm", "orphans", "list", "--dir", s.Dir)
		if n := strings.Count(out, "\n"); err != nil || n != want || !strings.Contains(out, ids[0]) {
			t.Fatalf("%s %d orphans are listed, want %d: %v\n%s", when, n, want, err, out)
		}
	}
	left(4, "before")
	purge := []string{"hsm", "orphans", "purge", "--dir", s.Dir, "--all"}
	cmd := exec.Command(servertest.Binary(t), purge...)
	cmd.Stdin = bytes.NewBufferString("destroy 3\n")
	if out, err := cmd.CombinedOutput(); statusOf(err) != 1 || !strings.Contains(string(out), "not a terminal") || !strings.Contains(string(out), "--yes") {
		t.Errorf("from a pipe: %v\n%s", err, out)
	}
	left(4, "after a pipe")
	for _, line := range []string{"no", "", "yes", "destroy", "destroy 4", "destroy 33"} {
		out, err := atTerminal(t, line, purge...)
		if statusOf(err) != 1 || !strings.Contains(out, `cannot be brought back. Type "destroy 3" to go on`) || !strings.Contains(out, "nothing was destroyed") {
			t.Errorf("%q: %v\n%s", line, err, out)
		}
	}
	left(4, "after no")
	if out, err := atTerminal(t, "destroy 1", "hsm", "orphans", "purge", "--dir", s.Dir, ids[1]); err != nil || !strings.Contains(out, "1 token objects destroyed") || strings.Contains(out, ids[2]) {
		t.Errorf("by its CKA_ID: %v\n%s", err, out)
	}
	left(3, "after one")
	if out, err := s.Command("hsm", "orphans", "purge", "--dir", s.Dir, "--yes", ids[0]); statusOf(err) != 1 || !strings.Contains(out, ids[0]+" may not be purged") || !strings.Contains(out, "changed behind the server") {
		t.Errorf("of a changed row: %v\n%s", err, out)
	}
	if out, err := s.Command(append(purge, "--yes")...); err != nil || !strings.Contains(out, "2 token objects destroyed") || !strings.Contains(out, "left alone: "+ids[0]) {
		t.Errorf("all: %v\n%s", err, out)
	}
	left(1, "at last")
	got := records(t, s, "Purge Token Object")
	allowed := 0
	for _, r := range got {
		if strings.Contains(r, "begins") && strings.Contains(r, "administrator on the server's machine") && strings.Contains(r, fmt.Sprintf("asked by user %d", os.Getuid())) {
			allowed++
		}
	}
	if allowed != 3 || len(got) != 7 { // two of each, and one refusal
		t.Errorf("%d records, %d of them of a beginning that the policy allowed; want 7 and 3: %q", len(got), allowed, got)
	}
	for _, as := range []string{"system/socket", "system/other"} {
		out, err := s.Command("policy", "simulate", "--dir", s.Dir, "--as", as, "--do", "Purge Token Object", "--role", "system")
		if want := map[string]int{"system/socket": 0, "system/other": 2}[as]; statusOf(err) != want {
			t.Errorf("%s: %v, %s", as, err, out)
		}
	}
}

// hsm keys shows every set of the token, also one that no other command shows: that
// of a database that was lost, one that was retired, and one that was not finished.
func TestKeysCommand(t *testing.T) {
	dir, fresh := installed(t)
	env := []string{"SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf")}
	lost := fresh(t)
	lost["store"] = map[string]any{"url": "sqlite:" + filepath.Join(t.TempDir(), "lost.db")}
	r := program(t, env, "init", "--config", saved(t, lost))
	if r.status != 0 {
		t.Fatal(r)
	}
	other := strings.Fields(r.out)[1]
	s := fresh(t)
	path := saved(t, s)
	served := servertest.StartConfig(t, path, dir, filepath.Join(dir, "certs"), env...)
	before := storetest.Files(t, filepath.Join(dir, "tokens"), false)
	out, err := served.Command("hsm", "keys", "--config", path)
	if err != nil || strings.Count(out, "\n") != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"/0 | system | 7 keys\n", "/1 | in use, tenant default, epoch 1 | 7 keys\n", "keyreeve/" + other + "/0 | another installation | 7 keys | left by an init"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if js, err := served.Command("hsm", "keys", "--config", path, "--json"); err != nil || strings.Count(js, `"keys":7`) != 3 {
		t.Errorf("%v\n%s", err, js)
	}
	if diff := changed(before, storetest.Files(t, filepath.Join(dir, "tokens"), false)); len(diff) > 0 {
		t.Errorf("the token was changed: %q", diff)
	}

	// A row that was changed behind the server is shown as such, and hides no other.
	url, _ := s["store"].(map[string]any)["url"].(string)
	statement(t, strings.TrimPrefix(url, "sqlite:"), "UPDATE tenant_key SET epoch = 7")
	out, err = served.Command("hsm", "keys", "--config", path)
	for _, want := range []string{"row of the table tenant_key | tampered | 0 keys | the database row of set 1 of tenant", "/1 | no row | 7 keys | its row may be one that was changed", "/0 | system | 7 keys\n"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %q is not in\n%s", err, want, out)
		}
	}
}
