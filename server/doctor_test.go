package server_test

import (
	"maps"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// changed lists what differs between two states of a folder.
func changed(before, after map[string]string) (out []string) {
	for path := range maps.Keys(after) {
		if before[path] != after[path] {
			out = append(out, path+": "+before[path]+" -> "+after[path])
		}
	}
	for path := range maps.Keys(before) {
		if after[path] == "" {
			out = append(out, path+" is gone")
		}
	}
	return out
}

// The doctor never logs in, whatever the PIN in the settings is, and leaves every
// file as it was: beside a server that runs, that stopped, and that was killed.
func TestDoctorLeavesNoTrace(t *testing.T) {
	faults := hsmtest.FaultModule(t)
	dir, fresh := installed(t)
	env := []string{"SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf")}
	right, wrong := fresh(t), fresh(t)
	wrong.set("hsm", "pin_file", write(t, filepath.Join(t.TempDir(), "pin"), "s3cret-wrong\n"))
	for _, s := range []settings{right, wrong} {
		s.set("hsm", "module", faults.Module)
		s["store"] = map[string]any{"url": "sqlite:" + filepath.Join(dir, "keyreeve.db")}
	}
	files := map[string]string{"right": saved(t, right), "wrong": saved(t, wrong)}
	look := func(state string, says ...string) {
		t.Helper()
		for pin, file := range files {
			// without times: SoftHSM2 writes a file of its token again, with the same content
			logins, before := faults.Logins(), storetest.Files(t, dir, false)
			r := program(t, env, "doctor", "--config", file)
			if r.status != 0 || strings.Contains(r.out+r.err, "s3cret") {
				t.Errorf("%s, %s PIN: %+v", state, pin, r)
			}
			for _, want := range says {
				if !strings.Contains(r.out, want) {
					t.Errorf("%s, %s PIN: the doctor does not say %q: %s", state, pin, want, r.out)
				}
			}
			if n := faults.Logins(); n != logins {
				t.Errorf("%s, %s PIN: %d logins", state, pin, n-logins)
			}
			after := storetest.Files(t, dir, false)
			if shm := filepath.Join(dir, "keyreeve.db-shm"); state == "running" {
				before[shm] = after[shm] // the server itself keeps it in motion
			}
			if diff := changed(before, after); len(diff) > 0 {
				t.Errorf("%s, %s PIN: %q", state, pin, diff)
			}
		}
	}
	look("stopped", "note: not logged in", "installation ")
	served := servertest.StartConfig(t, files["right"], dir, filepath.Join(dir, "certs"), env...)
	if faults.Logins() == 0 {
		t.Fatal("the server's login was not counted, so the test counts nothing")
	}
	look("running", "in use by the running server", "token \"keyreeve\"")
	if out, err := served.Command("audit", "list", "--dir", dir); err != nil { // its record is in the WAL, which the server empties from time to time
		t.Fatal(err, out)
	}
	served.Kill()
	if wal, err := os.Stat(filepath.Join(dir, "keyreeve.db-wal")); err != nil || wal.Size() == 0 {
		t.Fatalf("the killed server left no WAL: %v", err)
	}
	os.Remove(filepath.Join(dir, "admin.sock"))
	look("killed", "note: not logged in", "installation ")
}

// So it is for the folder of a development server.
func TestDoctorOfDevelopmentFolder(t *testing.T) {
	s := servertest.Start(t)
	s.Signal(syscall.SIGTERM)
	if err := s.Wait(); err != nil {
		t.Fatal(err)
	}
	before := storetest.Files(t, s.Dir, false)
	if out, err := s.Command("doctor", "--dir", s.Dir); err != nil || strings.Contains(out, "PROBLEM") {
		t.Errorf("%v: %s", err, out)
	}
	if diff := changed(before, storetest.Files(t, s.Dir, false)); len(diff) > 0 {
		t.Errorf("%q", diff)
	}
}

// A database of an older schema is reported with both versions and stays as it is.
func TestDoctorMigratesNothing(t *testing.T) {
	dir, fresh := installed(t)
	env := []string{"SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf")}
	pg := storetest.StartPostgres(t)
	for name, url := range map[string]string{"sqlite": "", "postgres": pg.URL} {
		s := fresh(t)
		if url == "" {
			url = s["store"].(map[string]any)["url"].(string)
			statement(t, strings.TrimPrefix(url, "sqlite:"), "DELETE FROM goose_db_version WHERE version_id > 0")
		} else {
			s["store"] = map[string]any{"url": url}
			if r := program(t, env, "init", "--config", saved(t, s)); r.status != 0 {
				t.Fatal(r)
			}
			pg.Run("DELETE FROM goose_db_version WHERE version_id > 0")
		}
		keys := tokenFiles(t, dir)
		for range 2 { // the first changed nothing that the second sees
			r := program(t, env, "doctor", "--config", saved(t, s))
			if said := problem(r.out, "store"); r.status != 1 || !strings.Contains(said, "has schema 0 and this release needs 2") || !strings.Contains(said, "keyreeve serve") {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if n := tokenFiles(t, dir); n != keys {
			t.Errorf("%s: the token had %d objects and has %d", name, keys, n)
		}
	}
}
