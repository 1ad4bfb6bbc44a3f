package server_test

import (
	"bytes"
	"database/sql"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// saved writes settings into a file.
func saved(t *testing.T, s settings) string {
	t.Helper()
	b, err := yaml.Marshal(map[string]any(s))
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(t.TempDir(), "keyreeve.yaml"), string(b))
}

// tokenFiles counts the files of the token's objects.
func tokenFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(dir, "tokens"), func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, ".object") {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A mistyped store.url starts nothing: no file, no table and no key is made, and
// one sentence says what to do. keyreeve init makes an installation, once.
func TestInit(t *testing.T) {
	dir, fresh := installed(t)
	env := []string{"SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf")}
	databases := map[string]func(*testing.T) (url, file string){
		"sqlite": func(t *testing.T) (string, string) {
			f := filepath.Join(t.TempDir(), "new.db")
			return "sqlite:" + f, f
		},
		"postgres": func(t *testing.T) (string, string) { return storetest.Postgres(t), "" },
	}
	for name, database := range databases {
		t.Run(name, func(t *testing.T) {
			s := fresh(t)
			url, file := database(t)
			s["store"] = map[string]any{"url_file": write(t, filepath.Join(t.TempDir(), "url"), url)}
			path := saved(t, s)
			keys := tokenFiles(t, dir)
			oneSentence(t, program(t, env, "serve", "--config", path), "keyreeve init", "store.url", "has installation ")
			if file != "" {
				if left, _ := filepath.Glob(file + "*"); len(left) > 0 {
					t.Errorf("serve left %v", left)
				}
			}
			if n := tokenFiles(t, dir); n != keys {
				t.Errorf("the token had %d objects and has %d", keys, n)
			}
			r := program(t, env, "init", "--config", path)
			if !regexp.MustCompile(`^installation [0-9a-f]{32}\n$`).MatchString(r.out) || r.status != 0 {
				t.Fatalf("init: %+v", r)
			}
			id := strings.Fields(r.out)[1]
			if n := tokenFiles(t, dir); n != keys+7 {
				t.Errorf("init made %d keys, want 7", n-keys)
			}
			oneSentence(t, program(t, env, "init", "--config", path), id, "already")
			served := servertest.StartConfig(t, path, s["dir"].(string), filepath.Join(dir, "certs"), env...)
			served.Signal(syscall.SIGTERM)
			if err := served.Wait(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A database and a token that do not belong together are refused by serve, naming
// both, and so is a database whose rows about keys were written by somebody else.
func TestForeignDatabase(t *testing.T) {
	dir, fresh := installed(t)
	other, _ := installed(t)
	env := []string{"SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf")}
	idOf := func(dir string) (id string) {
		db, err := sql.Open("sqlite3", filepath.Join(dir, "keyreeve.db"))
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		if err := db.QueryRow("SELECT id FROM installation").Scan(&id); err != nil {
			t.Fatal(err)
		}
		return id
	}
	mine, theirs := idOf(dir), idOf(other)
	foreign := fresh(t)
	foreign["store"] = map[string]any{"url": "sqlite:" + filepath.Join(other, "keyreeve.db")}
	oneSentence(t, program(t, env, "serve", "--config", saved(t, foreign)), mine, theirs, "store.url", "hsm.token")

	keys := tokenFiles(t, dir)
	for what, c := range map[string]struct{ edit, says string }{
		"another id":                 {"UPDATE installation SET id = '" + theirs + "'", theirs},
		"check values":               {"UPDATE installation SET checks = X'00'", "installation"},
		"a time":                     {"UPDATE installation SET created = created + 1", "installation"},
		"no installation":            {"DELETE FROM installation", mine},
		"a set of another tenant":    {"UPDATE tenant_key SET tenant = 'eve'", "set 1"},
		"a set that was inserted":    {"INSERT INTO tenant_key (number, tenant, epoch, state, checks, seal) SELECT 9, 'eve', 1, 'active', checks, seal FROM tenant_key", "set 9"},
		"an active set made pending": {"UPDATE tenant_key SET state = 'pending', checks = NULL", "set 1"},
		"a set that was retired":     {"UPDATE tenant_key SET state = 'retired'", "set 1"},
		"another number":             {"UPDATE tenant_key SET number = 2", "set 2"},
		"forged check values":        {"UPDATE tenant_key SET checks = X'4E000141'", "set 1"},
	} {
		t.Run(what, func(t *testing.T) {
			s := fresh(t)
			statement(t, strings.TrimPrefix(s["store"].(map[string]any)["url"].(string), "sqlite:"), c.edit)
			oneSentence(t, program(t, env, "serve", "--config", saved(t, s)), c.says)
			if n := tokenFiles(t, dir); n != keys {
				t.Errorf("the token had %d objects and has %d", keys, n)
			}
		})
	}
	// An untouched copy serves.
	s := fresh(t)
	served := servertest.StartConfig(t, saved(t, s), s["dir"].(string), filepath.Join(dir, "certs"), env...)
	served.Signal(syscall.SIGTERM)
	if err := served.Wait(); err != nil {
		t.Error(err)
	}
}

// A development server makes an installation in an empty folder alone: when its
// database is lost it does not start again beside the keys of the old one. One that
// was killed at its first start is finished by the next.
func TestDevelopmentInstallation(t *testing.T) {
	s := servertest.Start(t)
	s.Kill()
	for _, f := range []string{"keyreeve.db", "keyreeve.db-wal", "keyreeve.db-shm"} {
		os.Remove(filepath.Join(s.Dir, f))
	}
	oneSentence(t, program(t, nil, "serve", "--dev", "--dir", s.Dir, "--kmip", "127.0.0.1:0", "--http", "127.0.0.1:0"), "installation", "store.url")
	write(t, filepath.Join(s.Dir, "installing"), "")
	s.Run()
	if _, err := os.Stat(filepath.Join(s.Dir, "installing")); err == nil {
		t.Error("the mark of a first start is left")
	}

	base := servertest.Start(t) // a folder that ends with the test
	base.Kill()
	for round := range 6 {
		dir := filepath.Join(base.Dir, "first"+string(rune('a'+round)))
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		killed := interrupted(t, dir, time.Duration(30+40*round)*time.Millisecond)
		base.Move(dir)
		base.Run()
		base.Kill()
		if !killed {
			break // it was ready before the kill, and later kills come later still
		}
	}
}

// interrupted kills a first start after a time, and reports whether it was not
// ready by then.
func interrupted(t *testing.T, dir string, after time.Duration) bool {
	t.Helper()
	cmd := exec.Command(servertest.Binary(t), "serve", "--dev", "--dir", dir, "--kmip", "127.0.0.1:0", "--http", "127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out bytes.Buffer
	cmd.Stdout = &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	cmd.Process.Kill()
	cmd.Wait()
	return out.Len() == 0
}
