package server

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/oidc"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/authn/password/passwordtest"
	"github.com/keyreeve/keyreeve/server/kmipd"
	"github.com/keyreeve/keyreeve/server/settings"
)

// Parts are stopped in reverse, each within its bound, also if another fails or hangs,
// and an error names the part.
func TestPartsStopInReverse(t *testing.T) {
	var stopped []string
	stops := func(name string, err error) startedPart {
		return startedPart{part{name: name, within: time.Minute}, func(context.Context) error {
			stopped = append(stopped, name)
			return err
		}}
	}
	hangs := inBackground(func(ctx context.Context) { <-ctx.Done(); time.Sleep(time.Second) })
	s := &Server{started: []startedPart{stops("first", nil), stops("second", errors.New("broken")), {part{name: "third", within: time.Millisecond}, hangs}, stops("fourth", nil)}}
	err := s.Stop(context.Background())
	if !slices.Equal(stopped, []string{"fourth", "second", "first"}) {
		t.Errorf("stopped were %v", stopped)
	}
	if err == nil || !strings.Contains(err.Error(), "second: broken") || !strings.Contains(err.Error(), "third: it did not end") {
		t.Errorf("the errors are %v", err)
	}
}

// Every part has a name of its own, and one that must be stopped has a bound.
func TestPartsAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range new(Server).parts() {
		if p.name == "" || seen[p.name] || p.start == nil {
			t.Errorf("part %q", p.name)
		}
		seen[p.name] = true
	}
}

type declaredTenants struct {
	asked   int
	row     *core.Tenant
	unknown error
}

func (d *declaredTenants) RequireDeclared(context.Context, string) error { d.asked++; return nil }

func (d *declaredTenants) Tenant(string) (*core.Tenant, error) { return d.row, d.unknown }

// Who a client is costs next to nothing to ask for each message: the tenant is
// looked up once, and nothing is allocated. A principal is refused from the second
// in which its proof ends, also if its authenticator does not notice.
func TestAdmission(t *testing.T) {
	p := &core.Principal{Tenant: "acme", ID: "dev", Expires: time.Now().Add(time.Hour).Unix()}
	tenants := &declaredTenants{row: core.TenantWithoutRow}
	identify := admission{coretest.Always(p), tenants, tenants}.Identify(proof.Evidence{})
	if n := testing.AllocsPerRun(100, func() {
		if got, err := identify(); err != nil || got != p {
			t.Fatalf("%+v, %v", got, err)
		}
	}); n != 0 || tenants.asked != 1 {
		t.Errorf("%v allocations, %d looks at the tenant", n, tenants.asked)
	}
	for _, state := range []core.TenantState{core.TenantDisabled, core.TenantDeleting, core.TenantDeleted} {
		tenants.row = &core.Tenant{State: state}
		if _, err := identify(); core.CodeOf(err) != core.AuthenticationNotSuccessful || !strings.Contains(err.Error(), string(state)) {
			t.Errorf("a tenant that is %s: %v; its clients must be refused", state, err)
		}
	}
	tenants.unknown = core.Errorf(core.StoreUnavailable, "not read")
	if _, err := identify(); err != nil {
		t.Errorf("a row that cannot be read ends the connection, not the request: %v", err)
	}
	tenants.row, tenants.unknown = core.TenantWithoutRow, nil
	p.Expires = time.Now().Unix() - 1
	if _, err := identify(); core.CodeOf(err) != core.AuthenticationNotSuccessful {
		t.Errorf("a proof that has expired: %v", err)
	}
}

// A switch that a tenant sets is the tenant's, one that it leaves out is the
// server's: every combination.
func TestTenantSwitches(t *testing.T) {
	for n := range 4 * 9 {
		var c Config
		c.Keys.DeactivatedMayProcess, c.Keys.CompromisedMayProcess = n&1 == 0, n&2 == 0
		own := map[string]bool{}
		want := engine.RevokedKeys{DeactivatedRefused: n&1 != 0, CompromisedRefused: n&2 != 0}
		if of := n / 4 % 3; of > 0 {
			own["deactivated_may_process"], want.DeactivatedRefused = of == 1, of != 1
		}
		if of := n / 12; of > 0 {
			own["compromised_may_process"], want.CompromisedRefused = of == 1, of != 1
		}
		c.Keys.Tenants = map[string]map[string]bool{"t": own}
		if got := c.defaults().RevokedKeysOf; len(got) != 1 || got["t"] != want {
			t.Errorf("server %v, tenant %s: %+v, want %+v", c.Keys, fmt.Sprint(own), got, want)
		}
	}
}

// The doctor of another user does not load the library of the token.
func TestDoctorIsTheServersUser(t *testing.T) {
	dir := t.TempDir()
	var c Config
	c.Dir, c.Store.URL = dir, "sqlite:"+filepath.Join(dir, "db")
	if err := os.WriteFile(filepath.Join(dir, "db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	own := os.Geteuid()
	if err := c.anothersFiles(own); err != nil {
		t.Errorf("the server's user: %v", err)
	}
	for _, dir := range []string{dir, "/none"} { // by the folder, and by the database alone
		c.Dir = dir
		if err := c.anothersFiles(own + 1); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("as user %d", own)) {
			t.Errorf("another user: %v; want a refusal that says whose they are", err)
		}
	}
}

// A filter of records that is not understood is refused, never passed over.
func TestAuditFilterNeverWidens(t *testing.T) {
	for query, ok := range map[string]bool{
		"limit=5":                            true,
		"limit=5&since=1&until=2&before=3":   true,
		"limit=5&tenant=a&object=b&outcome=": true,
		"limit=5&principal=p&operation=Get":  true,
		"":                                   false,
		"limit=0":                            false,
		"limit=many":                         false,
		"limit=5&since=yesterday":            false,
		"limit=5&before=1e3":                 false,
		"limit=5&principle=p":                false,
		"limit=5&tenant=a&tenant=b":          false,
		"limit=5&until=99999999999999999999": false,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := auditQuery(q); (err == nil) != ok {
			t.Errorf("%q: %v; want accepted %v", query, err, ok)
		}
	}
}

const secretOfAlice = "correct horse"

// usersWorld is a server in this process with the user alice in tenant default.
type usersWorld struct {
	t      testing.TB
	server *Server
	people *passwordtest.People
	client *tls.Config // of dev
	log    coretest.LogLines
}

func newUsersWorld(t testing.TB, change func(*Config)) *usersWorld {
	t.Helper()
	if _, err := member.SoftHSM(); err != nil {
		t.Skipf("%v (Debian: apt-get install softhsm2)", err)
	}
	w := &usersWorld{t: t, people: passwordtest.New()}
	hash, err := password.Hash([]byte(secretOfAlice))
	if err != nil {
		t.Fatal(err)
	}
	w.people.Put("default", "alice", func(u *core.User) bool { u.Password, u.Groups = hash, []string{"storage"}; return true })
	dir := hsmtest.Dir(t)
	cfg, err := Dev(dir, "127.0.0.1:0", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	cfg.users = w.people
	change(&cfg)
	ctx := context.Background()
	if w.server, err = Start(ctx, cfg, slog.New(slog.NewTextHandler(&w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.server.Stop(ctx) })
	if w.client, err = kmiptest.Config(filepath.Join(dir, "certs"), "dev"); err != nil {
		t.Fatal(err)
	}
	return w
}

// dial opens a connection with dev's certificate, whose messages have credentials.
func (w *usersWorld) dial(v core.Version, credentials ...proof.Credential) *kmiptest.Client {
	w.t.Helper()
	c, err := kmiptest.Dial(w.server.KMIPAddr, w.client, v)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	c.Options.Credentials = credentials
	return c
}

// records returns the newest audit records as text.
func (w *usersWorld) records(n int) []string {
	w.t.Helper()
	all, err := w.server.store.Records(context.Background(), core.RecordQuery{Limit: n})
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, r := range all {
		out = append(out, string(r.Body))
	}
	return out
}

func usernameAndPassword(name, password string) proof.Credential {
	return proof.Credential{Type: core.CredentialTypeUsernameAndPassword, Username: name, Password: []byte(password)}
}

// query is an operation that everybody may ask for.
func query(c *kmiptest.Client) error {
	_, err := kmiptest.Do(c, &kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
	return err
}

// A client with a certificate and a password is the user, over TLS and in the record. The
// certificate alone is not. A wrong password is no one, and a disabled user is refused with the next
// message of an open connection.
func TestPasswordsOverKMIP(t *testing.T) {
	w := newUsersWorld(t, func(*Config) {})
	for _, v := range []core.Version{core.V1_0, core.V1_4, core.V2_1} {
		alice := w.dial(v, usernameAndPassword("alice", secretOfAlice))
		made, err := kmiptest.Do(alice, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
		if err != nil {
			t.Fatal(err)
		}
		if r := w.records(1)[0]; !strings.Contains(r, `"alice"`) || !strings.Contains(r, `"Create"`) {
			t.Errorf("%v: the record of alice's Create is %s", v, r)
		}
		get := func(c *kmiptest.Client) error {
			_, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(made.ID)})
			return err
		}
		if err := get(alice); err != nil {
			t.Errorf("%v: alice gets her key: %v", v, err)
		}
		for what, c := range map[string]*kmiptest.Client{"no credential": w.dial(v), "an empty credential": w.dial(v, usernameAndPassword("", ""))} {
			if err := get(c); kmiptest.Reason(err) != core.ReasonPermissionDenied {
				t.Errorf("%v: %s: %v; want Permission Denied, as for dev", v, what, err)
			}
			if err := query(c); err != nil {
				t.Errorf("%v: %s: Query: %v", v, what, err)
			}
		}
		for what, c := range map[string]proof.Credential{"a wrong password": usernameAndPassword("alice", "guess"), "a device": {Type: core.CredentialTypeDevice, Value: []core.Field{{Tag: core.TagDeviceSerialNumber, Value: core.Text("7")}}}} {
			if err := query(w.dial(v, c)); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
				t.Errorf("%v: %s: %v; want Authentication Not Successful", v, what, err)
			}
		}
	}
	open := w.dial(core.V1_4, usernameAndPassword("alice", secretOfAlice))
	if err := query(open); err != nil {
		t.Fatal(err)
	}
	w.people.Put("default", "alice", func(u *core.User) bool { u.Disabled = true; return true })
	if err := query(open); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
		t.Errorf("a user who was disabled: %v; want Authentication Not Successful", err)
	}
	if r := w.records(1)[0]; !strings.Contains(r, `"Login"`) || !strings.Contains(r, "the user is disabled") {
		t.Errorf("the record of it is %s", r)
	}
	open.Options.Credentials = nil
	if err := query(open); err != nil {
		t.Errorf("the certificate alone afterwards: %v", err)
	}
	for _, word := range []string{"guess", "horse", "argon2"} {
		if strings.Contains(strings.Join(w.records(1000), "\n"), word) || w.log.Count(word) > 0 {
			t.Errorf("%q, of a password or its hash, is in a record or in the log", word)
		}
	}
}

// With authentication.credentials ignore, credentials change nothing, as before there were users.
func TestCredentialsSetting(t *testing.T) {
	for setting, refused := range map[string]bool{settings.IgnoreCredentials: false, settings.VerifyCredentials: true} {
		t.Run(setting, func(t *testing.T) {
			w := newUsersWorld(t, func(c *Config) { c.Authentication.Credentials = setting })
			err := query(w.dial(core.V1_4, usernameAndPassword("array7", "whatever")))
			if (kmiptest.Reason(err) == core.ReasonAuthenticationNotSuccessful) != refused || !refused && err != nil {
				t.Errorf("the answer is %v; want a refusal: %v", err, refused)
			}
			if r := w.records(1)[0]; strings.Contains(r, "not verified") == refused {
				t.Errorf("the record is %s", r)
			}
		})
	}
}

// In a tenant with a rule, dev's certificate speaks for the users that a rule names, over KMIP
// and when a token is bought over REST. The record names the setting.
func TestSpeaksForByTheDoors(t *testing.T) {
	for user, permitted := range map[string]bool{"alice": true, "bob": false} {
		t.Run(user, func(t *testing.T) {
			w := newUsersWorld(t, func(c *Config) {
				c.Authentication.SpeaksFor = []authn.SpeakerRule{{Tenant: "default", Certificate: "dev", Users: []string{user}}}
			})
			err := query(w.dial(core.V1_4, usernameAndPassword("alice", secretOfAlice)))
			if (kmiptest.Reason(err) == core.ReasonAuthenticationNotSuccessful) == permitted || permitted && err != nil {
				t.Errorf("alice's password beside dev's certificate: %v; permitted %v", err, permitted)
			}
			if r := w.records(1)[0]; strings.Contains(r, "authentication.speaks_for") == permitted {
				t.Errorf("the record is %s", r)
			}
			_, p, err := w.server.logIn(t.Context(), password.Login{Tenant: "default", Name: "alice", Password: []byte(secretOfAlice), Certificate: &core.Principal{Tenant: "default", ID: "dev"}})
			if (core.CodeOf(err) == core.AuthenticationNotSuccessful && p == nil) == permitted {
				t.Errorf("alice's password for a token: %+v, %v; permitted %v", p, err, permitted)
			}
			if err := query(w.dial(core.V1_4)); err != nil {
				t.Errorf("dev without a credential: %v", err)
			}
		})
	}
}

// Ten thousand wrong logins leave the memory of the server flat. Meanwhile honest clients, by
// certificate and by password, are served.
func TestWrongLoginsOverKMIP(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; run without -short")
	}
	w := newUsersWorld(t, func(*Config) {})
	honest := []*kmiptest.Client{w.dial(core.V1_4), w.dial(core.V1_4, usernameAndPassword("alice", secretOfAlice))}
	guesser := w.dial(core.V1_4)
	wrong := func(from, to int) {
		for i := from; i < to; i++ {
			guesser.Options.Credentials = []proof.Credential{usernameAndPassword(fmt.Sprint("user", i), "guess")}
			if err := query(guesser); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
				t.Fatalf("login %d: %v", i, err)
			}
			for _, c := range honest {
				if i%50 > 0 {
					continue
				}
				if err := query(c); err != nil {
					t.Fatalf("an honest client after %d wrong logins: %v", i, err)
				}
			}
		}
	}
	wrong(0, 2000)
	before := coretest.HeapBytes()
	wrong(2000, 10_000)
	const most = 4 << 20 // of bytes; the log of the test is in it
	if grown := coretest.HeapBytes() - before; grown > most {
		t.Errorf("8,000 more wrong logins left %d bytes, at most %d", grown, most)
	}
	if err := query(w.dial(core.V1_4, usernameAndPassword("alice", secretOfAlice))); err != nil {
		t.Errorf("alice on a new connection from the guesser's address: %v", err)
	}
}

// BenchmarkConnections compares a connection with a password with one that has a certificate alone.
// Both Get the same key, one request each in turns. The ratio is that of the medians, because other
// work on the machine stretches single requests.
func BenchmarkConnections(b *testing.B) {
	w := newUsersWorld(b, func(*Config) {})
	w.people.Put("default", "alice", func(u *core.User) bool { u.Groups = []string{"dev"}; return true })
	clients := []*kmiptest.Client{w.dial(core.V1_4), w.dial(core.V1_4, usernameAndPassword("alice", secretOfAlice))}
	made, err := kmiptest.Do(clients[0], &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
	if err != nil {
		b.Fatal(err)
	}
	spent := make([][]time.Duration, len(clients))
	for n := 0; b.Loop(); n++ {
		for i := range clients {
			i = (i + n) % len(clients)
			began := time.Now()
			if _, err := kmiptest.Do(clients[i], &kmip.Get, &operation.GetInput{ID: core.ID(made.ID)}); err != nil {
				b.Fatal(err)
			}
			spent[i] = append(spent[i], time.Since(began))
		}
	}
	median := func(all []time.Duration) float64 {
		slices.Sort(all)
		return float64(all[len(all)/2])
	}
	b.ReportMetric(median(spent[0])/1000, "certificate-us")
	b.ReportMetric(median(spent[0])/median(spent[1]), "of-certificate")
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
	p := parts{token: c.tokenSettings(), limits: c.limits(), defaults: c.defaults(), search: c.Limits.Search, approvals: c.Policy.ApprovalLifetime, quota: c.TenantQuota()}
	pin, err := p.token.PIN()
	p.pin, p.pinErr = pin, fmt.Sprint(err)
	p.token.PIN = nil
	url, err := c.storeURL()
	p.store = url + fmt.Sprint(err)
	offer, err := c.loadPolicy()
	p.policy = fmt.Sprint(offer, err)
	p.compat = fmt.Sprint(c.compat())
	_, err = authn.New(c.authnSettings(), nil)
	p.auth = fmt.Sprintf("%+v, %v", c.authnSettings(), err)
	t, err := c.serverTLS()
	p.tls = fmt.Sprint(err)
	if err == nil {
		p.tls = fmt.Sprint(t.CipherSuites)
	}
	p.memory = fmt.Sprint(c.memory().Bounds())
	p.rest = fmt.Sprint(c.AdminSocket(), c.nodeName(), c.KMIP, c.HTTPS, c.HSM.MaxTenants, c.Authentication, c.Policy.Regions, c.Policy.MaxMind, c.Enrollment, c.Tenants)
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
	settings.Each(reflect.ValueOf(&c.Settings).Elem(), "", func(path, bound string, v reflect.Value) {
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
				v.SetString(settings.StaleRefuse)
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
				v.Set(reflect.ValueOf(map[string]map[string]bool{"a": {settings.CompromisedMayProcess: false}}))
			case map[string][]string:
				v.Set(reflect.ValueOf(map[string][]string{"a": {"State"}}))
			case []authn.SpeakerRule:
				v.Set(reflect.ValueOf([]authn.SpeakerRule{{Tenant: "t", Certificate: "c", Users: []string{"*"}}}))
			case []authn.OCSPRule:
				v.Set(reflect.ValueOf([]authn.OCSPRule{{Authority: "a", Responder: "http://ocsp.example", Mode: "prefer"}}))
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

// The limit of memory counts the MaxMind DB file twice, because a reload holds the old and the
// new one. A file that is not there counts nothing.
func TestRuntimeMemoryCountsTheMaxMindFile(t *testing.T) {
	c := Defaults()
	without, file := c.RuntimeMemory(), filepath.Join(t.TempDir(), "places.mmdb")
	for size, want := range map[int64]int64{-1: 0, 0: 0, 5000: 10_000, 256 << 20: 512 << 20, 1 << 40: 512 << 20} {
		c.Policy.MaxMind = file
		if size < 0 {
			c.Policy.MaxMind += ".none"
		} else if err := errors.Join(os.WriteFile(file, nil, 0o600), os.Truncate(file, size)); err != nil {
			t.Fatal(err)
		}
		if got := c.RuntimeMemory() - without; got != want {
			t.Errorf("a file of %d bytes counts %d; want %d", size, got, want)
		}
	}
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
		if _, err := c.loadPolicy(); (err == nil) != ok {
			t.Errorf("policy.file %s: %v", path, err)
		}
		c.Policy.File, c.Policy.Tests = good, path
		if _, err := c.loadPolicy(); (err == nil) != ok {
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
