package server

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/authn/password/passwordtest"
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
	identify := admission{coretest.Always(p), tenants, tenants}.Identify(core.Evidence{})
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

// A thousand lines of one kind become a few and their number; other kinds are
// written meanwhile, and the number of kinds is bounded too.
func TestLogLinesAreBounded(t *testing.T) {
	var out bytes.Buffer
	h := BoundLog(slog.NewTextHandler(&out, nil)).(*boundedLog)
	h.counts.after = func(time.Duration, func()) {}
	now := time.Unix(1_700_000_000, 0)
	h.counts.now = func() time.Time { return now }
	log := slog.New(h).With("node", "n").WithGroup("g")
	for i := range 1000 {
		log.Info("rest", "probe", i)
	}
	log.Error("reload", "error", "x")
	if n := strings.Count(out.String(), "msg=rest"); n != linesEach {
		t.Errorf("%d lines of 1000 were written, want %d", n, linesEach)
	}
	if !strings.Contains(out.String(), "msg=reload") {
		t.Error("a line of another kind was left out")
	}
	now = now.Add(2 * linesPeriod)
	log.Info("rest")
	if want := fmt.Sprintf("more_lines_not_written=%d", 1000-linesEach); !strings.Contains(out.String(), want) {
		t.Errorf("nothing says %s", want)
	}
	out.Reset()
	for i := range 100_000 {
		log.Info(fmt.Sprint("kind ", i))
	}
	if n := strings.Count(out.String(), "\n"); n > lineKinds+linesEach+1 || len(h.counts.seen) > lineKinds+1 {
		t.Errorf("%d lines of 100000 kinds were written, %d are counted", n, len(h.counts.seen))
	}
}

// logLines keeps what is logged. Safe for concurrent use.
type logLines struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(b)
}

func (l *logLines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.lines.String(), text)
}

// If nothing else is logged, a line still tells how many were left out, once, when
// the period is over.
func TestLeftOutLinesAreToldByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logLines
		told := func() int { return out.count("more_lines_not_written=7") }
		log := slog.New(BoundLog(slog.NewTextHandler(&out, nil)))
		for period := range 2 {
			for range linesEach + 7 {
				log.Info("rest")
			}
			time.Sleep(linesPeriod / 2)
			if n := told(); n != period {
				t.Errorf("before the end of period %d it was told %d times", period, n)
			}
			time.Sleep(linesPeriod * 3 / 4)
			synctest.Wait()
			if n := told(); n != period+1 {
				t.Errorf("after the end of period %d it was told %d times", period, n)
			}
		}
	})
}

const secretOfAlice = "correct horse"

// usersWorld is a server in this process with the user alice in tenant default.
type usersWorld struct {
	t      testing.TB
	server *Server
	people *passwordtest.People
	client *tls.Config // of dev
	log    logLines
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
func (w *usersWorld) dial(v core.Version, credentials ...core.Credential) *kmiptest.Client {
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

func usernameAndPassword(name, password string) core.Credential {
	return core.Credential{Type: core.CredentialTypeUsernameAndPassword, Username: name, Password: []byte(password)}
}

// query is an operation that everybody may ask for.
func query(c *kmiptest.Client) error {
	_, err := kmiptest.Do(c, &kmip.Query, &core.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
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
			_, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(made.ID)})
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
		for what, c := range map[string]core.Credential{"a wrong password": usernameAndPassword("alice", "guess"), "a device": {Type: core.CredentialTypeDevice, Value: []core.Field{{Tag: core.TagDeviceSerialNumber, Value: core.Text("7")}}}} {
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
		if strings.Contains(strings.Join(w.records(1000), "\n"), word) || w.log.count(word) > 0 {
			t.Errorf("%q, of a password or its hash, is in a record or in the log", word)
		}
	}
}

// With authentication.credentials ignore, credentials change nothing, as before there were users.
func TestCredentialsSetting(t *testing.T) {
	for setting, refused := range map[string]bool{ignoreCredentials: false, verifyCredentials: true} {
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
			guesser.Options.Credentials = []core.Credential{usernameAndPassword(fmt.Sprint("user", i), "guess")}
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
			if _, err := kmiptest.Do(clients[i], &kmip.Get, &core.GetInput{ID: core.ID(made.ID)}); err != nil {
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
