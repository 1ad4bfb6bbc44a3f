package server_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3"
	yaml "go.yaml.in/yaml/v4"

	"github.com/keyreeve/keyreeve/authz/location/locationtest"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

func TestMain(m *testing.M) {
	code := m.Run()
	servertest.RemoveBinary()
	os.Exit(code)
}

// settings are a configuration file in the making, by section.
type settings map[string]any

func (s settings) set(section, name string, v any) { s[section].(map[string]any)[name] = v }

// installed makes a whole installation - token, certificates, database with the
// tenant's keys - and returns its folder and the settings of a server on it, with
// a copy of the database each.
func installed(t *testing.T) (dir string, fresh func(*testing.T) settings) {
	t.Helper()
	s := servertest.Start(t)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	module, err := member.SoftHSM()
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(s.Dir, name) }
	statement(t, in("keyreeve.db"), "VACUUM INTO '"+in("whole.db")+"'")
	return s.Dir, func(t *testing.T) settings {
		b, err := os.ReadFile(in("whole.db"))
		if err != nil {
			t.Fatal(err)
		}
		return settings{"dir": s.Dir, "kmip": "127.0.0.1:0", "https": "127.0.0.1:0",
			"tls":    map[string]any{"certificate": in("certs/server.pem"), "key": in("certs/server-key.pem"), "client_ca": in("certs/ca.pem"), "authorities": []any{map[string]any{"file": in("certs/ca.pem"), "tenants": []string{"*"}, "groups": []string{"*"}, "roles": []string{"*"}}}},
			"hsm":    map[string]any{"module": module, "token": "keyreeve", "pin_file": in("pin")},
			"store":  map[string]any{"url": "sqlite:" + write(t, filepath.Join(t.TempDir(), "keyreeve.db"), string(b))},
			"policy": map[string]any{},
		}
	}
}

// softHSMOf is the setting by which SoftHSM2 finds the token below dir.
func softHSMOf(dir string) string { return "SOFTHSM2_CONF=" + filepath.Join(dir, "softhsm2.conf") }

// startInstalled starts a server by a configuration on what installed made in dir.
func startInstalled(t *testing.T, dir string, s settings) *servertest.Server {
	t.Helper()
	config := write(t, filepath.Join(dir, "config.yaml"), wholeConfig(t, s))
	return servertest.StartConfig(t, config, dir, filepath.Join(dir, "certs"), softHSMOf(dir))
}

// write makes a file for a test.
func write(t *testing.T, path, text string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// ran is what a command that ended left.
type ran struct {
	out, err string
	status   int
}

// program runs the real binary until it ends by itself; one that serves instead
// is ended after a while, and its status is -1.
func program(t *testing.T, env []string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, servertest.Binary(t), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var out, serr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &serr
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ran{out.String(), serr.String(), cmd.ProcessState.ExitCode()}
}

// oneSentence demands status 1 and one line on standard error that names what to fix.
func oneSentence(t *testing.T, r ran, names ...string) {
	t.Helper()
	if r.status != 1 || strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "keyreeve: ") || len(r.err) > 700 {
		t.Errorf("status %d and %q on standard error; want 1 and one sentence", r.status, r.err)
	}
	for _, n := range names {
		if !strings.Contains(r.err, n) {
			t.Errorf("%q does not name %q", r.err, n)
		}
	}
	for _, bad := range []string{"goroutine ", ".go:", "panic", "password=", "s3cret"} {
		if strings.Contains(r.err+r.out, bad) {
			t.Errorf("%q on standard error, %q on output: no place for %q", r.err, r.out, bad)
		}
	}
}

// expired makes a server certificate that has ended, with its key.
func expired(t *testing.T, dir string, from, to time.Duration) (cert, key string) {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(filepath.Join(dir, "certs/ca.pem"), filepath.Join(dir, "certs/ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	ca, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	leaf := &x509.Certificate{SerialNumber: big.NewInt(now.UnixNano()), NotBefore: now.Add(from), NotAfter: now.Add(to), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, leaf, ca, &k.PublicKey, pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	pk, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(t.TempDir(), "ended.pem"), filepath.Join(t.TempDir(), "ended-key.pem")
	write(t, cert, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	write(t, key, string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pk})))
	return cert, key
}

// Whatever a server lacks, serve ends with status 1 and one sentence on standard
// error that names the setting to fix, and doctor says the same of that part.
func TestWhatIsMissingIsNamed(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	conf := softHSMOf(dir)
	tmp := t.TempDir()
	other, _ := installed(t)
	empty := t.TempDir()
	noToken := write(t, filepath.Join(tmp, "none.conf"), "directories.tokendir = "+empty+"\nobjectstore.backend = file\nlog.level = ERROR\n")
	noFolder := write(t, filepath.Join(tmp, "gone.conf"), "directories.tokendir = "+filepath.Join(tmp, "nowhere")+"\nobjectstore.backend = file\nlog.level = ERROR\n")
	newer := filepath.Join(tmp, "newer.db")
	statement(t, filepath.Join(dir, "whole.db"), "VACUUM INTO '"+newer+"'")
	statement(t, newer, "INSERT INTO goose_db_version (version_id, is_applied) VALUES (99, 1)")
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	silent, err := net.Listen("tcp", "127.0.0.1:0") // takes connections, and never speaks
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { silent.Close() })
	oldCert, oldKey := expired(t, dir, -2*time.Hour, -time.Hour)
	newCert, newKey := expired(t, dir, time.Hour, 2*time.Hour)
	in := func(name string) string { return filepath.Join(tmp, name) }
	text := func(name, s string) string { return write(t, in(name), s) }
	policyTests := filepath.Join(servertest.Root(), "policies_test.rego")
	pg := storetest.StartPostgres(t)

	if r := program(t, []string{conf}, "doctor", "--config", text("config.yaml", wholeConfig(t, fresh(t)))); r.status != 0 {
		t.Errorf("a whole installation: %+v", r)
	}
	const unseen = "unseen"
	type change func(s settings)
	put := func(section, name string, v any) change { return func(s settings) { s.set(section, name, v) } }
	both := func(a, b change) change { return func(s settings) { a(s); b(s) } }
	top := func(name string, v any) change { return func(s settings) { s[name] = v } }
	for _, c := range []struct {
		what  string
		edit  change
		env   string   // instead of conf
		names []string // in the sentence
		part  string   // of doctor; "": doctor refuses the configuration too; unseen: it takes a login to see
	}{
		{"no library", put("hsm", "module", in("none.so")), "", []string{"hsm.module", "none.so"}, "hsm"},
		{"a text as library", put("hsm", "module", text("text.so", "no library")), "", []string{"hsm.module", "text.so"}, "hsm"},
		{"a library that is no PKCS#11", put("hsm", "module", libm(t)), "", []string{"hsm.module", "libm"}, "hsm"},
		{"a folder as library", put("hsm", "module", tmp), "", []string{"hsm.module"}, "hsm"},
		{"no token", func(settings) {}, "SOFTHSM2_CONF=" + noToken, []string{"hsm.token", "keyreeve", "not initialised"}, "hsm"},
		{"a token folder that is not there", func(settings) {}, "SOFTHSM2_CONF=" + noFolder, []string{"SOFTHSM2_CONF"}, "hsm"},
		{"no configuration of the library", func(settings) {}, "SOFTHSM2_CONF=" + in("nowhere.conf"), []string{"SOFTHSM2_CONF"}, "hsm"},
		{"a wrong label", put("hsm", "token", "other"), "", []string{"hsm.token", `"other"`, `"keyreeve"`}, "hsm"},
		{"a wrong serial", put("hsm", "serial", "1234"), "", []string{"hsm.serial", "1234"}, "hsm"},
		{"a wrong PIN", put("hsm", "pin_file", text("wrong.pin", "s3cret-wrong\n")), "", []string{"hsm.pin_file", "once"}, unseen},
		{"a PIN file of two lines", put("hsm", "pin_file", text("two.pin", "s3cret\nsecond\n")), "", []string{"hsm.pin_file", "more than one line"}, "hsm"},
		{"an empty PIN file", put("hsm", "pin_file", text("empty.pin", "\n")), "", []string{"hsm.pin_file", "empty"}, "hsm"},
		{"no PIN file", put("hsm", "pin_file", in("none.pin")), "", []string{"hsm.pin_file", "none.pin"}, "hsm"},
		{"a PIN file that cannot be read", put("hsm", "pin_file", tmp), "", []string{"hsm.pin_file"}, ""},
		{"no PIN in the environment", both(put("hsm", "pin_file", ""), put("hsm", "pin_env", "KEYREEVE_TEST_NO_PIN")), "", []string{"hsm.pin_env", "KEYREEVE_TEST_NO_PIN"}, "hsm"},

		{"a newer database", put("store", "url", "sqlite:"+newer), "", []string{"schema 99", "release"}, "store"},
		{"another token's database", put("store", "url", "sqlite:"+filepath.Join(other, "whole.db")), "", []string{"hsm.token", "store.url"}, unseen},
		{"no folder of the database", put("store", "url", "sqlite:"+in("nowhere/k.db")), "", []string{"store.url", "nowhere"}, "store"},
		{"a folder as database", put("store", "url", "sqlite:"+tmp), "", []string{"store.url"}, "store"},
		{"a text as database", put("store", "url", "sqlite:"+text("text.db", strings.Repeat("no database ", 1000))), "", []string{"store.url"}, "store"},
		{"no such database", put("store", "url", "mysql://x/y"), "", []string{"store.url"}, "store"},
		{"no PostgreSQL", put("store", "url", "postgres://keyreeve@127.0.0.1:1/postgres"), "", []string{"store.url", "127.0.0.1:1"}, "store"},
		{"a PostgreSQL that does not answer", put("store", "url", "postgres://keyreeve@"+silent.Addr().String()+"/postgres?sslmode=disable"), "", []string{"store.url", silent.Addr().String()}, "store"},
		{"no PostgreSQL of that name", put("store", "url", strings.Replace(pg.URL, "/postgres?", "/nowhere?", 1)), "", []string{"store.url", "nowhere"}, "store"},
		{"no role", both(put("store", "url", ""), put("store", "url_file", text("role.url", strings.Replace(pg.URL, "keyreeve@", "nobody:s3cret@", 1)))), "", []string{"store.url", "nobody"}, "store"},
		{"a password in the address", put("store", "url", strings.Replace(pg.URL, "keyreeve@", "keyreeve:s3cret@", 1)), "", []string{"store.url", "store.url_file"}, ""},
		{"an address that cannot be read", put("store", "url", "postgres://keyreeve:s3cret@127.0.0.1:port/postgres"), "", []string{"store.url"}, "store"},
		{"no file with the address", both(put("store", "url", ""), put("store", "url_file", in("none.url"))), "", []string{"store.url_file", "none.url"}, "store"},

		{"no certificate", put("tls", "certificate", in("none.pem")), "", []string{"tls.certificate", "none.pem"}, "tls"},
		{"no key", put("tls", "key", in("none-key.pem")), "", []string{"tls.key", "none-key.pem"}, "tls"},
		{"another's key", put("tls", "key", filepath.Join(dir, "certs/dev-key.pem")), "", []string{"tls.certificate", "tls.key"}, "tls"},
		{"a text as certificate", put("tls", "certificate", text("text.pem", "no certificate")), "", []string{"tls.certificate"}, "tls"},
		{"a certificate that has ended", both(put("tls", "certificate", oldCert), put("tls", "key", oldKey)), "", []string{"tls.certificate", "ended"}, "tls"},
		{"a certificate of tomorrow", both(put("tls", "certificate", newCert), put("tls", "key", newKey)), "", []string{"tls.certificate", "not valid before"}, "tls"},
		{"no authority", put("tls", "client_ca", in("none-ca.pem")), "", []string{"tls.client_ca", "none-ca.pem"}, "tls"},
		{"an authority that is none", put("tls", "client_ca", text("text-ca.pem", "no certificate")), "", []string{"tls.client_ca"}, "tls"},
		{"a list that is none", put("tls", "client_crl", text("text-crl.pem", "no list")), "", []string{"tls.client_crl"}, "tls"},

		{"no policy", both(put("policy", "file", in("none.rego")), put("policy", "tests", policyTests)), "", []string{"policy.file", "none.rego"}, "policy"},
		{"a policy that does not compile", both(put("policy", "file", text("bad.rego", "package keyreeve.authz\n\nimport rego.v2\n\nallow if {\n")), put("policy", "tests", policyTests)), "", []string{"policy.file"}, "policy"},
		{"an empty policy", both(put("policy", "file", text("empty.rego", "")), put("policy", "tests", policyTests)), "", []string{"policy.file"}, "policy"},
		{"a policy without tests", put("policy", "file", policyTests), "", []string{"policy.tests"}, ""},
		{"a policy that fails its tests", both(put("policy", "file", filepath.Join(servertest.Root(), "policies.rego")), put("policy", "tests", text("fails_test.rego", "package keyreeve.authz_test\n\nimport rego.v2\n\ntest_no if false\n"))), "", []string{"policy.tests", "test_no"}, "policy"},
		{"no MaxMind file", put("policy", "maxmind", in("none.mmdb")), "", []string{"policy.maxmind", "none.mmdb"}, "policy"},
		{"a text as MaxMind file", put("policy", "maxmind", text("text.mmdb", "no addresses")), "", []string{"policy.maxmind", "text.mmdb", "no MaxMind DB file"}, "policy"},
		{"a MaxMind file without countries", put("policy", "maxmind", text("asn.mmdb", string(locationtest.File("GeoLite2-ASN", nil)))), "", []string{"policy.maxmind", "asn.mmdb", "GeoLite2-ASN"}, "policy"},

		{"the KMIP port taken", top("kmip", taken.Addr().String()), "", []string{"kmip", taken.Addr().String()}, "kmip"},
		{"the REST port taken", top("https", taken.Addr().String()), "", []string{"https", taken.Addr().String()}, "https"},
		{"no such address", top("kmip", "192.0.2.1:5696"), "", []string{"kmip", "192.0.2.1"}, "kmip"},
		{"no port", top("kmip", "127.0.0.1"), "", []string{"kmip", "host:port"}, ""},
		{"no folder", top("dir", in("nowhere")), "", []string{"dir", "nowhere"}, "dir"},
		{"a file as folder", top("dir", text("file", "")), "", []string{"dir"}, "dir"},
		{"an unknown setting", put("hsm", "colour", "red"), "", []string{"line", "colour"}, ""},
		{"a number for a text", put("hsm", "sessions", "many"), "", []string{"line", "many"}, ""},
		{"nothing of what is needed", func(s settings) { clear(s) }, "", []string{"tls.certificate", "hsm.module", "store.url"}, ""},
	} {
		t.Run(c.what, func(t *testing.T) {
			t.Parallel()
			s := fresh(t)
			c.edit(s)
			file := write(t, filepath.Join(t.TempDir(), "config.yaml"), wholeConfig(t, s))
			env := []string{conf}
			if c.env != "" {
				env[0] = c.env
			}
			oneSentence(t, program(t, env, "serve", "--config", file), c.names...)
			r := program(t, env, "doctor", "--config", file)
			switch c.part {
			case "":
				oneSentence(t, r, c.names...)
				return
			case unseen:
				if r.status != 0 || !strings.Contains(r.out, "note: not logged in") {
					t.Errorf("doctor: %+v; want that it says what it did not check", r)
				}
				return
			}
			oneSentence(t, r)
			for _, n := range c.names {
				if said := problem(r.out, c.part); !strings.Contains(said, n) {
					t.Errorf("doctor says %q; want a problem of %s that names %q", r.out, c.part, n)
				}
			}
		})
	}
}

// problem is what doctor says of a part that needs mending.
func problem(out, part string) string {
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); len(f) > 1 && f[0] == "PROBLEM" && f[1] == part {
			return line
		}
	}
	return ""
}

func wholeConfig(t *testing.T, s settings) string {
	b, err := yaml.Dump(map[string]any(s))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// libm is a shared library that is there and no PKCS#11.
func libm(t *testing.T) string {
	t.Helper()
	found, _ := filepath.Glob("/lib/*/libm.so.6")
	if len(found) == 0 {
		t.Skip("no libm.so.6 is found to stand for a library of another kind")
	}
	return found[0]
}

// statement does one thing to a database that nobody has open.
func statement(t *testing.T, file, text string) {
	t.Helper()
	db := openDatabase(t, file, "")
	defer db.Close()
	if _, err := db.Exec(text); err != nil {
		t.Fatal(err)
	}
}

// The same for serve --dev, whose settings are options.
func TestWhatDevLacksIsNamed(t *testing.T) {
	tmp := t.TempDir()
	file := write(t, filepath.Join(tmp, "file"), "")
	dev := func(dir string, more ...string) []string {
		if dir == "" {
			dir = hsmtest.Dir(t)
		}
		return append([]string{"serve", "--dev", "--dir", dir, "--kmip", "127.0.0.1:0", "--http", "127.0.0.1:0"}, more...)
	}
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { taken.Close() })
	long := filepath.Join(hsmtest.Dir(t), strings.Repeat("l", 120))
	for what, c := range map[string]struct {
		args  []string
		names []string
	}{
		"another address":          {dev("", "--kmip", "0.0.0.0:0"), []string{"--kmip", "loopback", "--config"}},
		"another address of REST":  {dev("", "--http", "[::]:0"), []string{"--http", "loopback"}},
		"a name as address":        {dev("", "--http", "example.com:0"), []string{"--http", "loopback"}},
		"no port":                  {dev("", "--kmip", "localhost"), []string{"--kmip", "host:port"}},
		"the port taken":           {dev("", "--kmip", taken.Addr().String()), []string{"--kmip", taken.Addr().String()}},
		"the port of REST taken":   {dev("", "--http", taken.Addr().String()), []string{"--http", taken.Addr().String()}},
		"a file as folder":         {dev(file), []string{"--dir", file}},
		"a folder below a file":    {dev(filepath.Join(file, "x")), []string{"--dir"}},
		"a folder of no such file": {dev("/proc/keyreeve"), []string{"--dir"}},
		"a long path":              {dev(long), []string{"dir", "shorter"}},
		"an unknown option":        {[]string{"serve", "--colour", "red"}, []string{"--colour"}},
		"an unknown command":       {[]string{"sevre"}, []string{"sevre"}},
		"several members":          {dev("", "--members", "3"), []string{"--members"}},
		"two modes":                {dev("", "--config", file), []string{"--dev", "--config"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			oneSentence(t, program(t, nil, c.args...), c.names...)
		})
	}
	readOnly := t.TempDir()
	if err := syscall.Mount("none", readOnly, "tmpfs", syscall.MS_RDONLY, "size=64k"); err == nil {
		t.Cleanup(func() { syscall.Unmount(readOnly, syscall.MNT_DETACH) })
	} else if os.Chmod(readOnly, 0o500); os.Getuid() == 0 {
		t.Logf("a read-only folder cannot be had here: %v", err)
		return
	}
	for _, dir := range []string{readOnly, filepath.Join(readOnly, "below")} {
		oneSentence(t, program(t, nil, dev(dir)...), "--dir", dir)
	}
}

// saved writes settings into a file.
func saved(t *testing.T, s settings) string {
	t.Helper()
	return write(t, filepath.Join(t.TempDir(), "keyreeve.yaml"), wholeConfig(t, s))
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
	t.Parallel()
	dir, fresh := installed(t)
	env := []string{softHSMOf(dir)}
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
			if err := served.Stop(); err != nil {
				t.Error(err)
			}
		})
	}
}

// A database and a token that do not belong together are refused by serve, naming
// both, and so is a database whose rows about keys were written by somebody else.
func TestForeignDatabase(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	other, _ := installed(t)
	env := []string{softHSMOf(dir)}
	idOf := func(dir string) (id string) {
		db := openDatabase(t, filepath.Join(dir, "keyreeve.db"), "")
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
	if err := served.Stop(); err != nil {
		t.Error(err)
	}
}

// A development server makes an installation in an empty folder alone: when its
// database is lost it does not start again beside the keys of the old one. One that
// was killed at its first start is finished by the next.
func TestDevelopmentInstallation(t *testing.T) {
	t.Parallel()
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

// SIGTERM comes while clients have many requests on the way. What was done was
// answered, the answers arrive though the clients go on sending, and the exit status
// is 0; a second SIGTERM changes nothing.
func TestStopAnswersWhatItRead(t *testing.T) {
	t.Parallel()
	end := time.Now().Add(lasting(0))
	for round := 0; round < 3 || time.Now().Before(end); round++ {
		s := servertest.Start(t)
		var wg sync.WaitGroup
		var mu sync.Mutex
		answered := map[string]bool{}
		for w := range 6 {
			c := narrow(t, s)
			sent := make(chan bool)
			go func() { // sends as long as it can, whole batches of requests at once
				defer close(sent)
				for i := 0; i < 200; i++ {
					var all []byte
					for j := range 10 {
						msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, kmiptest.Item(&kmip.Create, kmiptest.AESKey(128, usesOfAES, kmiptest.Name(fmt.Sprintf("%d.%d.%d", w, i, j)))))
						if err != nil {
							t.Error(err)
							return
						}
						all = append(all, msg...)
					}
					if _, err := c.Conn.Write(all); err != nil {
						return
					}
				}
			}()
			wg.Go(func() {
				if w%2 == 1 {
					time.Sleep(500 * time.Millisecond) // and reads late
				}
				for {
					raw, err := c.Receive()
					if err != nil {
						// A client that says nothing for a second and then goes on may be reset: what
						// it was answered is there all the same, and lost answers are counted below.
						if !errors.Is(err, io.EOF) {
							t.Logf("round %d: the connection ends with %v", round, err)
						}
						break
					}
					r, err := kmip.ParseResponse(raw)
					if err != nil || len(r.Items) != 1 || r.Items[0].Status != core.StatusSuccess {
						t.Errorf("round %d: %+v, %v", round, r, err)
						break
					}
					var out operation.CreateOutput
					if err := kmip.Create.DecodeResponse(r.Items[0].Payload, core.V1_4, &out); err != nil {
						t.Error(err)
					}
					mu.Lock()
					answered[out.ID] = true
					mu.Unlock()
				}
				<-sent
			})
		}
		time.Sleep(time.Duration(50+50*(round%5)) * time.Millisecond)
		s.Signal(syscall.SIGTERM)
		if round%2 == 1 {
			s.Signal(syscall.SIGTERM)
		}
		if err := s.Wait(); err != nil {
			log, _ := os.ReadFile(s.Log)
			t.Errorf("round %d: after SIGTERM: %v\n%s", round, err, log)
		}
		wg.Wait()
		made := idsIn(t, filepath.Join(s.Dir, "keyreeve.db"))
		lost := 0
		for _, id := range made {
			if !answered[id] {
				lost++
			}
		}
		if lost > 0 || len(made) != len(answered) || len(made) == 0 {
			t.Errorf("round %d: %d were made, %d answered; %d were made without an answer", round, len(made), len(answered), lost)
		}
	}
}

// narrow is a client that has little room for answers, so that the server keeps
// what is not read.
func narrow(t *testing.T, s *servertest.Server) *kmiptest.Client {
	t.Helper()
	cfg := clientTLS(t, s, "dev")
	d := net.Dialer{Timeout: 5 * time.Second, Control: func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096) })
	}}
	raw, err := d.Dial("tcp", s.KMIP)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return &kmiptest.Client{Conn: tls.Client(raw, cfg), Version: core.V1_4}
}

func idsIn(t *testing.T, file string) (ids []string) {
	t.Helper()
	db := openDatabase(t, file, "")
	defer db.Close()
	rows, err := db.Query("SELECT id FROM object")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id string
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	return ids
}

// SIGTERM while the database is away, and while it stands still: requests are
// answered, and the server ends with status 0 within its time.
func TestStopWithoutDatabase(t *testing.T) {
	t.Parallel()
	for what, away := range map[string]func(*storetest.Server){"gone": (*storetest.Server).Crash, "standing still": (*storetest.Server).Pause} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			pg := storetest.StartPostgres(t)
			s := servertest.Start(t, "KEYREEVE_DEV_STORE="+pg.URL)
			c := dial(t, s, "dev", core.V1_4)
			id := aesKey(t, c)
			away(pg)
			told := make(chan error, 1)
			go func() {
				_, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)})
				told <- err
			}()
			time.Sleep(100 * time.Millisecond)
			began := time.Now()
			err := s.Stop()
			log, _ := os.ReadFile(s.Log)
			if took := time.Since(began); err != nil || took > 25*time.Second || strings.Contains(string(log), "panic") {
				t.Errorf("after SIGTERM: %v in %v\n%s", err, took, log)
			}
			if err := <-told; kmiptest.Reason(err) != core.ReasonGeneralFailure {
				t.Errorf("what was under way is answered %v", err)
			}
		})
	}
}
