package server

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/authn/password/passwordtest"
)

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
