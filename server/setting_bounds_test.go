package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/oidc"
	"github.com/keyreeve/keyreeve/server/kmipd"
)

// Every setting has bounds, and what lies beyond them is refused by its name.
func TestEverySettingHasBounds(t *testing.T) {
	c := Defaults()
	n := 0
	eachSetting(reflect.ValueOf(&c).Elem(), "", func(path, bound string, v reflect.Value) {
		n++
		for _, bad := range outOfBounds(v) {
			was := reflect.New(v.Type()).Elem()
			was.Set(v)
			v.Set(bad)
			if err := fmt.Sprint(checkBounds(&c)); !strings.Contains(err, path) || strings.Contains(err, "no bounds") {
				t.Errorf("%s = %.40q: %v; give its field the tag bound:\"...\" (see setting_bounds.go), so that this is refused by its name", path, fmt.Sprint(bad), err)
			}
			v.Set(was)
		}
	})
	if errs := checkBounds(&c); len(errs) > 0 {
		t.Errorf("the defaults: %v", errs)
	}
	if n < 30 {
		t.Errorf("%d settings were found", n)
	}
}

// outOfBounds makes values that no setting of a type may have.
func outOfBounds(v reflect.Value) []reflect.Value {
	to := func(x any) reflect.Value { return reflect.ValueOf(x).Convert(v.Type()) }
	switch v.Kind() {
	case reflect.Bool:
		return nil
	case reflect.Int, reflect.Int64, reflect.Int32:
		return []reflect.Value{to(-7), to(int64(1) << (v.Type().Bits() - 2)), to(int64(-1) << (v.Type().Bits() - 2))}
	case reflect.String:
		return []reflect.Value{to("a\x00b"), to("a\nb"), to("\xff"), to(strings.Repeat("x", 5000))}
	}
	switch v.Interface().(type) {
	case []string:
		return []reflect.Value{reflect.ValueOf([]string{"N", "X", "C"}), reflect.ValueOf([]string{"Q"})}
	case []authn.Mapping:
		return []reflect.Value{reflect.ValueOf([]authn.Mapping{{Tenant: "t", Name: "n"}}), reflect.ValueOf([]authn.Mapping{{Tenant: "t", Name: "n", Fingerprint: "9f86d0"}}),
			reflect.ValueOf([]authn.Mapping{{Tenant: "t", Name: "n\x00", SAN: "x"}})}
	case []authn.Authority:
		return []reflect.Value{reflect.ValueOf([]authn.Authority{{}}), reflect.ValueOf([]authn.Authority{{Fingerprint: "9f86d0"}}), reflect.ValueOf([]authn.Authority{{File: "a\x00"}}),
			reflect.ValueOf([]authn.Authority{{File: "x", Tenants: []string{"a b"}}})}
	case map[string]map[string]bool:
		return []reflect.Value{reflect.ValueOf(map[string]map[string]bool{"a": {"sensitive": true}}), reflect.ValueOf(map[string]map[string]bool{"a\x00": {}})}
	case map[string][]string:
		return []reflect.Value{reflect.ValueOf(map[string][]string{"a": {"Nonsense"}})}
	case []authn.SpeakerRule:
		return []reflect.Value{reflect.ValueOf([]authn.SpeakerRule{{}}), reflect.ValueOf([]authn.SpeakerRule{{Tenant: "t", Certificate: "a b", Users: []string{"*"}}})}
	case []ldap.Settings:
		return []reflect.Value{reflect.ValueOf([]ldap.Settings{{}}), reflect.ValueOf([]ldap.Settings{{URL: "ldap://example.com", BindDN: "cn=a", BindPasswordFile: "f", UserBase: "dc=b", Tenant: "t", NamePrefix: "l."}}), reflect.ValueOf(make([]ldap.Settings, 17))}
	case []oidc.Issuer:
		return []reflect.Value{reflect.ValueOf([]oidc.Issuer{{}}), reflect.ValueOf([]oidc.Issuer{{URL: "http://example.com", Audience: "keyreeve", Tenant: "t", NamePrefix: "i-"}}), reflect.ValueOf(make([]oidc.Issuer, 17))}
	}
	return []reflect.Value{reflect.New(v.Type()).Elem()} // a type that the test does not know: must say so
}

// The examples that once were taken.
func TestSettingsOutOfBounds(t *testing.T) {
	dir := t.TempDir()
	open, tight := filepath.Join(dir, "open"), filepath.Join(dir, "tight")
	for path, mode := range map[string]os.FileMode{open: 0o644, tight: 0o600} {
		if err := os.WriteFile(path, []byte("1234"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string]struct {
		set func(*Config)
		bad string // "": taken
	}{
		"sessions -1":               {func(c *Config) { c.HSM.Sessions = -1 }, "hsm.sessions"},
		"no sessions":               {func(c *Config) { c.HSM.Sessions = 0 }, "hsm.sessions"},
		"handles -1":                {func(c *Config) { c.HSM.Handles = -1 }, "hsm.handles"},
		"copies -2":                 {func(c *Config) { c.HSM.Copies = -2 }, "hsm.copies"},
		"copies none":               {func(c *Config) { c.HSM.Copies = -1 }, ""},
		"copy_ttl -5s":              {func(c *Config) { c.HSM.CopyTTL = -5 * time.Second }, "hsm.copy_ttl"},
		"copy_ttl none":             {func(c *Config) { c.HSM.CopyTTL = -time.Second }, ""},
		"a PIN that all can read":   {func(c *Config) { c.HSM.PINFile = open }, "hsm.pin_file"},
		"a PIN of one's own":        {func(c *Config) { c.HSM.PINFile = tight }, ""},
		"a key that all can read":   {func(c *Config) { c.TLS.Key = open }, "tls.key"},
		"a password for all":        {func(c *Config) { c.Store.URLFile = open }, "store.url_file"},
		"a port that is none":       {func(c *Config) { c.KMIP = "127.0.0.1:70000" }, "kmip"},
		"a variable that is none":   {func(c *Config) { c.HSM.PINEnv = "a b" }, "hsm.pin_env"},
		"a label that no token has": {func(c *Config) { c.HSM.Token = strings.Repeat("x", 33) }, "hsm.token"},
		"all classes but one":       {func(c *Config) { c.Keys.ForbidClasses = []string{"N", "X"} }, ""},
		"an operation without end":  {func(c *Config) { c.Limits.Operation = 1 << 60 }, "limits.operation"},
		"a fingerprint with colons": {func(c *Config) {
			c.TLS.Principals = []authn.Mapping{{Tenant: "t", Name: "n", Fingerprint: strings.TrimSuffix(strings.Repeat("ab:", 32), ":")}}
		}, ""},
	} {
		x := Defaults()
		c.set(&x)
		if err := fmt.Sprint(checkBounds(&x)); (c.bad == "") != (err == "[]") || !strings.Contains(err, c.bad) {
			t.Errorf("%s: %s; want a refusal of %q", what, err, c.bad)
		}
	}
}

// parts is all that the parts of a server are made with.
type parts struct {
	token     hsmSettings
	pin       string
	pinErr    string
	limits    kmipd.Limits
	defaults  engine.Defaults
	auth      string
	tls       string
	search    time.Duration
	approvals time.Duration
	quota     core.Quota
	store     string
	policy    string
	compat    string
	memory    string
	rest      string
}

func partsOf(c *Config) string {
	p := parts{token: c.tokenSettings(), limits: c.limits(), defaults: c.defaults(), search: c.Limits.Search, approvals: c.Policy.ApprovalLifetime, quota: c.tenantQuota()}
	pin, err := p.token.PIN()
	p.pin, p.pinErr = pin, fmt.Sprint(err)
	p.token.PIN = nil
	url, err := c.storeURL()
	p.store = url + fmt.Sprint(err)
	policy, tests, err := c.loadPolicy()
	p.policy = policy + tests + fmt.Sprint(err)
	p.compat = fmt.Sprint(c.compat())
	_, err = authn.New(c.authnSettings(), nil)
	p.auth = fmt.Sprintf("%+v, %v", c.authnSettings(), err)
	t, err := c.serverTLS()
	p.tls = fmt.Sprint(err)
	if err == nil {
		p.tls = fmt.Sprint(t.CipherSuites)
	}
	p.memory = fmt.Sprint(c.memory().Bounds())
	p.rest = fmt.Sprint(c.AdminSocket(), c.nodeName(), c.KMIP, c.HTTPS, c.HSM.MaxTenants, c.Authentication, c.Policy.Regions)
	return fmt.Sprintf("%+v", p)
}

// Every setting changes what some part of the server is made with. For the ports
// and the node's name the parts take the setting itself.
func TestEverySettingIsRead(t *testing.T) {
	c := Defaults()
	dir := t.TempDir()
	if err := certs.Init(dir); err != nil {
		t.Fatal(err)
	}
	c.Dir = dir
	c.TLS.Certificate, c.TLS.Key, c.TLS.ClientCA = filepath.Join(dir, "certs", "server.pem"), filepath.Join(dir, "certs", "server-key.pem"), filepath.Join(dir, "certs", "ca.pem")
	eachSetting(reflect.ValueOf(&c).Elem(), "", func(path, bound string, v reflect.Value) {
		was := reflect.New(v.Type()).Elem()
		was.Set(v)
		undo := func() {}
		if path == "policy.tests" { // is read beside policy.file alone
			file := filepath.Join(t.TempDir(), "p")
			os.WriteFile(file, []byte("package x"), 0o600)
			c.Policy.File = file
			undo = func() { c.Policy.File = "" }
		}
		before := partsOf(&c)
		switch v.Kind() {
		case reflect.Bool:
			v.SetBool(!v.Bool())
		case reflect.Int, reflect.Int64, reflect.Int32:
			v.SetInt(v.Int() + 1_000_000)
		case reflect.String:
			v.SetString("/no/such/thing")
			if path == "tls.crl_stale" {
				v.SetString(staleRefuse)
			}
		default:
			switch v.Interface().(type) {
			case []string:
				v.Set(reflect.ValueOf([]string{"N"}))
			case []authn.Mapping:
				v.Set(reflect.ValueOf([]authn.Mapping{{Tenant: "t", Name: "n", SAN: "x"}}))
			case []authn.Authority:
				v.Set(reflect.ValueOf([]authn.Authority{{File: c.TLS.ClientCA}}))
			case map[string]map[string]bool:
				v.Set(reflect.ValueOf(map[string]map[string]bool{"a": {compromisedMayProcess: false}}))
			case map[string][]string:
				v.Set(reflect.ValueOf(map[string][]string{"a": {"State"}}))
			case []authn.SpeakerRule:
				v.Set(reflect.ValueOf([]authn.SpeakerRule{{Tenant: "t", Certificate: "c", Users: []string{"*"}}}))
			case []ldap.Settings:
				v.Set(reflect.ValueOf([]ldap.Settings{{URL: "ldaps://ldap.example", BindDN: "cn=a", BindPasswordFile: "f", UserBase: "dc=b", Tenant: "t", NamePrefix: "l."}}))
			case []oidc.Issuer:
				v.Set(reflect.ValueOf([]oidc.Issuer{{URL: "https://issuer.example", Audience: "keyreeve", Tenant: "t", NamePrefix: "i-"}}))
			default:
				t.Errorf("%s: the test has no value of type %v; add one", path, v.Type())
			}
		}
		if partsOf(&c) == before {
			t.Errorf("%s changes nothing that a part of the server is made with; hand it on, and show it in parts", path)
		}
		v.Set(was)
		undo()
	})
}

// What a part is made with, it uses: each field of its options is read somewhere
// in its package.
func TestPartsUseTheirOptions(t *testing.T) {
	for dir, options := range map[string]reflect.Type{
		"../hsm/member": reflect.TypeFor[member.Config](), "../hsm/custody": reflect.TypeFor[custody.Options](), "kmipd": reflect.TypeFor[kmipd.Limits](), "../engine": reflect.TypeFor[engine.Defaults](), "authn": reflect.TypeFor[authn.Settings](),
	} {
		used := map[string]bool{}
		files, err := filepath.Glob(filepath.Join(dir, "*.go"))
		if err != nil || len(files) == 0 {
			t.Fatal(dir, err)
		}
		below, err := filepath.Glob(filepath.Join(dir, "*", "*.go"))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, below...)
		files = slices.DeleteFunc(files, func(f string) bool { return strings.HasSuffix(f, "_test.go") })
		for _, f := range files {
			reads(t, f, used)
		}
		for i := range options.NumField() {
			if name := options.Field(i).Name; !used[name] {
				t.Errorf("%s is set and never read in %s: the setting has no effect", name, dir)
			}
		}
	}
}

// reads notes the fields that a file reads: those that it selects anywhere but on
// the left of an assignment.
func reads(t *testing.T, path string, used map[string]bool) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	written := map[ast.Node]bool{}
	ast.Inspect(f, func(n ast.Node) bool {
		if a, ok := n.(*ast.AssignStmt); ok {
			for _, l := range a.Lhs {
				written[l] = true
			}
		}
		if u, ok := n.(*ast.UnaryExpr); ok && u.Op == token.AND { // the address, for a default
			written[u.X] = true
		}
		if s, ok := n.(*ast.SelectorExpr); ok && !written[s] {
			used[s.Sel.Name] = true
		}
		return true
	})
}

// A policy comes from a file of reasonable size, and from nothing else.
func TestPolicyFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	good, large := filepath.Join(dir, "good"), filepath.Join(dir, "large")
	if err := os.WriteFile(good, []byte("package x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, make([]byte, maxPolicy+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{good: true, large: false, dir: false, "/dev/zero": false, filepath.Join(dir, "none"): false} {
		var c Config
		c.Policy.File, c.Policy.Tests = path, good
		if _, _, err := c.loadPolicy(); (err == nil) != ok {
			t.Errorf("policy.file %s: %v", path, err)
		}
		c.Policy.File, c.Policy.Tests = good, path
		if _, _, err := c.loadPolicy(); (err == nil) != ok {
			t.Errorf("policy.tests %s: %v", path, err)
		}
	}
}

// tls.old_suites offers what its comment says and nothing worse.
func TestOldSuites(t *testing.T) {
	ids := oldSuites()
	if !slices.Contains(ids, tls.TLS_RSA_WITH_AES_128_CBC_SHA) || !slices.Contains(ids, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) {
		t.Errorf("old suites are not offered: %v", ids)
	}
	for _, id := range ids {
		if strings.Contains(tls.CipherSuiteName(id), "RC4") {
			t.Errorf("%s is offered", tls.CipherSuiteName(id))
		}
	}
}

// certify makes the files of a server certificate for a key.
func certify(t *testing.T, c *Config, public, key any) {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c.TLS.Certificate, c.TLS.Key = filepath.Join(dir, "server.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{c.TLS.Certificate: {Type: "CERTIFICATE", Bytes: der}, c.TLS.Key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// offers reports whether a server takes a suite, by a handshake that offers
// nothing else.
func offers(t *testing.T, c *tls.Config, suite uint16) bool {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	for _, side := range []net.Conn{client, server} {
		side.SetDeadline(time.Now().Add(20 * time.Second))
	}
	done := make(chan error, 1)
	go func() { done <- tls.Server(server, c).Handshake() }()
	conn := tls.Client(client, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
	err := conn.Handshake()
	if err != nil {
		client.Close()
		<-done
		return false
	}
	return <-done == nil && conn.ConnectionState().CipherSuite == suite
}

// Every suite of TLS 1.2 that Go has is tried by a handshake with either kind of
// certificate: those with CBC or RSA key exchange only work with old_suites.
func TestSuites(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	worked := map[bool]int{}
	for _, old := range []bool{false, true} {
		for kind, key := range map[string]any{"ECDSA": ec, "RSA": rs} {
			var c Config
			c.TLS.OldSuites = old
			if kind == "RSA" {
				certify(t, &c, &rs.PublicKey, key)
			} else {
				certify(t, &c, &ec.PublicKey, key)
			}
			served, err := c.serverTLS()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
				if !slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
					continue
				}
				ephemeral, cbc := strings.Contains(s.Name, "ECDHE"), strings.Contains(s.Name, "_CBC_")
				fits := strings.Contains(s.Name, "ECDSA") == (kind == "ECDSA")
				want := fits && !strings.Contains(s.Name, "RC4") && (old || (ephemeral && !cbc))
				if got := offers(t, served, s.ID); got != want {
					t.Errorf("old_suites %v, %s certificate: %s works %v, want %v", old, kind, s.Name, got, want)
				} else if got {
					worked[old]++
				}
			}
		}
	}
	if worked[false] != 6 || worked[true] <= 6 {
		t.Errorf("%v suites worked; want 6 without old_suites and more with it", worked)
	}
}

// The server's own files are read whole or not at all.
func TestServerFilesAreWhole(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	certify(t, &c, &ec.PublicKey, ec)
	if _, err := c.serverTLS(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{c.TLS.Certificate, c.TLS.Key} {
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string][]byte{"garbage behind": append(slices.Clone(good), "x"...), "half a block behind": append(slices.Clone(good), good[:60]...), "cut off": good[:len(good)-10],
			"another block behind": append(slices.Clone(good), "-----BEGIN X-----\nAAAA\n-----END X-----\n"...), "text before": append([]byte("subject=x\n"), good...)} {
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := c.serverTLS(); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "line ") {
				t.Errorf("%s, %s: %v; want an error with file and line", filepath.Base(file), what, err)
			}
		}
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
