package bearer_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/core/tokentext"
	"github.com/keyreeve/keyreeve/server/authn/bearer"
)

// world is everything that a Verifier relies on.
type world struct {
	tokens   map[string]*core.AccessToken // of tenant t, by ID
	version  int64
	users    map[string]*core.User
	owner    *core.Principal // that each certificate names; nil: it was revoked
	noLDAP   bool            // the tenant has no LDAP directory
	failures int
	away     error // of the directory
	slow     error
}

func (w *world) Find(id string) (string, int64, error) {
	if w.away != nil {
		return "", 0, w.away
	}
	if w.tokens[id] == nil {
		return "", 0, core.Errorf(core.ItemNotFound, "absent")
	}
	return "t", w.version, nil
}

func (w *world) Token(_, id string) (*core.AccessToken, error) { return w.tokens[id], nil }

func (w *world) User(_, name string) (*core.User, error) { return w.users[name], w.away }

func (w *world) Identify(proof.Evidence) func() (*core.Principal, error) {
	return func() (*core.Principal, error) {
		if w.owner == nil {
			return nil, core.Errorf(core.AuthenticationNotSuccessful, "the client certificate has been revoked")
		}
		return w.owner, nil
	}
}

func (w *world) NoteFailureFrom(string) error {
	w.failures++
	return w.slow
}

func (w *world) verifier() *bearer.Verifier {
	return bearer.NewVerifier(bearer.Ports{HasDirectory: func(string) bool { return !w.noLDAP }, Tokens: w, Users: w, Certificates: w, Guessing: w, RequireTenant: func(context.Context, string) error { return nil }})
}

func userOf(password string) *core.User {
	return &core.User{Tenant: "t", Name: "alice", Version: 1, Password: core.PasswordHash(password), Groups: []string{"g"}, Roles: []string{"r"}, Attributes: map[string]string{"a": "1"}}
}

// newWorld has a token of the user alice, which her password has bought.
func newWorld() (w *world, token string, stored *core.AccessToken) {
	text, id, hash := tokentext.New()
	sum := sha256.Sum256([]byte("hash"))
	now := time.Now().Unix()
	stored = &core.AccessToken{SecretHash: hash, Principal: "alice", PasswordHash: sum[:], Issued: now, Expires: now + 900, Actions: []string{"encrypt"}, Keys: []string{"k"}}
	return &world{tokens: map[string]*core.AccessToken{id: stored}, version: 1, users: map[string]*core.User{"alice": userOf("hash")},
		owner: &core.Principal{Tenant: "t", ID: "alice", Roles: []string{"s"}}}, string(text), stored
}

// The principal of a token has what its user has now, and what the token narrows it to. It
// stays the same pointer while nothing changes.
func TestPrincipalOfAToken(t *testing.T) {
	w, token, stored := newWorld()
	identify := w.verifier().ForConnection("192.0.2.1")
	array := &core.Principal{Tenant: "t", ID: "array7", Fingerprint: "f", Expires: stored.Expires + 1}
	p, err := identify(t.Context(), array, token)
	if err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(p.Tenant, p.ID, p.Groups, p.Roles, p.Attributes, p.Method, p.Strength, p.Actions, p.Keys, p.Certificate == array, p.Fingerprint, p.Expires == stored.Expires, p.TokenID != "")
	if want := "talice [g] [r] map[a:1]tokentoken[encrypt] [k] true f true true"; strings.ReplaceAll(got, " ", "") != strings.ReplaceAll(want, " ", "") {
		t.Errorf("the principal is %s; want %s", got, want)
	}
	if again, err := identify(t.Context(), array, token); err != nil || again != p {
		t.Errorf("the next request: %p, %v; want the same principal %p", again, err, p)
	}
	changed := userOf("hash")
	changed.Version, changed.Roles, changed.Expires = 2, []string{"other"}, stored.Expires-5
	w.users["alice"] = changed
	if now, err := identify(t.Context(), array, token); err != nil || now.Roles[0] != "other" || now.Expires != changed.Expires {
		t.Errorf("after the user was changed: %+v, %v; want the new roles and expiry", now, err)
	}
}

// A token that a password of the LDAP directory has bought is that person as the directory described
// it then, until a user of the server has the name, or the tenant has no directory.
func TestTokenOfAPersonOfADirectory(t *testing.T) {
	w, token, stored := newWorld()
	replace(w, stored, func(n *core.AccessToken) {
		n.Principal, n.PasswordHash, n.Person = "ldap.carol", nil, &core.DirectoryPerson{Groups: []string{"g"}, Roles: []string{"r"}, Attributes: map[string]string{"directory": "ldaps://d"}}
	})
	identify := w.verifier().ForConnection("192.0.2.1")
	p, err := identify(t.Context(), nil, token)
	if err != nil {
		t.Fatal(err)
	}
	if got := fmt.Sprintln(p.ID, p.Groups, p.Roles, p.Attributes, p.Method, p.NamedBy, p.Actions); got != "ldap.carol [g] [r] map[directory:ldaps://d] token authentication.ldap [encrypt]\n" {
		t.Errorf("the principal is %s", got)
	}
	if again, err := identify(t.Context(), nil, token); err != nil || again != p {
		t.Errorf("the next request: %p, %v; want the same principal %p", again, err, p)
	}
	refusedBecause := func(what, cause string) {
		t.Helper()
		for _, identify := range []proof.IdentifyBearer{identify, w.verifier().ForConnection("192.0.2.2")} {
			if p, err := identify(t.Context(), nil, token); p != nil || core.CodeOf(err) != core.AuthenticationNotSuccessful || !strings.Contains(err.Error(), cause) {
				t.Errorf("%s: %+v, %v; want a refusal because of %q", what, p, err, cause)
			}
		}
	}
	w.users["ldap.carol"] = userOf("hash")
	refusedBecause("a user has the name", "has the name")
	delete(w.users, "ldap.carol")
	w.noLDAP = true
	refusedBecause("without a directory", "no LDAP directory")
}

// Each reason for which a token is refused, on a connection that has used it and on a new one.
// The client is told one sentence.
func TestRefusedTokens(t *testing.T) {
	mtls := &core.Principal{Tenant: "t", ID: "array7", Fingerprint: "f"}
	for what, c := range map[string]struct {
		change      func(w *world, stored *core.AccessToken)
		certificate *core.Principal
		cause       string
	}{
		"was revoked": {func(w *world, _ *core.AccessToken) { clear(w.tokens) }, nil, "revoked"},
		"has another secret now": {func(w *world, s *core.AccessToken) {
			replace(w, s, func(n *core.AccessToken) { n.SecretHash = make([]byte, 32) })
		}, nil, "secret"},
		"has expired": {func(w *world, s *core.AccessToken) {
			replace(w, s, func(n *core.AccessToken) { n.Expires = time.Now().Unix() })
		}, nil, "expired"},
		"is of a user who expired":                   {func(w *world, _ *core.AccessToken) { u := userOf("hash"); u.Expires = 1; w.users["alice"] = u }, nil, "expired"},
		"is of a disabled user":                      {func(w *world, _ *core.AccessToken) { u := userOf("hash"); u.Disabled = true; w.users["alice"] = u }, nil, "disabled"},
		"is of a user who was removed":               {func(w *world, _ *core.AccessToken) { clear(w.users) }, nil, "no such user"},
		"was bought by another password":             {func(w *world, _ *core.AccessToken) { w.users["alice"] = userOf("other") }, nil, "password"},
		"is bound and comes without a certificate":   {func(w *world, s *core.AccessToken) { replace(w, s, func(n *core.AccessToken) { n.BoundTo = "f" }) }, nil, "bound"},
		"is bound to another certificate":            {func(w *world, s *core.AccessToken) { replace(w, s, func(n *core.AccessToken) { n.BoundTo = "e" }) }, mtls, "bound"},
		"comes with a certificate of another tenant": {func(*world, *core.AccessToken) {}, &core.Principal{Tenant: "u", ID: "alice"}, "another tenant"},
		"was bought by a revoked certificate": {func(w *world, s *core.AccessToken) {
			replace(w, s, byCertificate)
			w.owner = nil
		}, nil, "revoked"},
		"was bought by a certificate that names someone else": {func(w *world, s *core.AccessToken) {
			replace(w, s, byCertificate)
			w.owner = &core.Principal{Tenant: "t", ID: "bob"}
		}, nil, "another principal"},
		"is of a user who was removed, and the name was given again": {func(w *world, s *core.AccessToken) {
			again := userOf("hash")
			again.Version, again.Begun = 3, 3
			w.users["alice"] = again
		}, nil, "another one has the name now"},
		"was bought before the user had a key of codes": {func(w *world, s *core.AccessToken) {
			next := userOf("hash")
			next.CodeKey = make(core.SecretBytes, core.CodeKeyBytes)
			w.users["alice"] = next
		}, nil, "the key of the one-time codes"},
		"was bought by a certificate that cannot be read": {func(w *world, s *core.AccessToken) {
			replace(w, s, func(n *core.AccessToken) { n.PasswordHash, n.Certificates = nil, [][]byte{{1}} })
		}, nil, "malformed"},
	} {
		w, token, stored := newWorld()
		used := w.verifier().ForConnection("192.0.2.1")
		if _, err := used(t.Context(), nil, token); err != nil {
			t.Fatalf("a good token: %v", err)
		}
		c.change(w, stored)
		for where, identify := range map[string]proof.IdentifyBearer{"used": used, "new": w.verifier().ForConnection("192.0.2.1")} {
			p, err := identify(t.Context(), c.certificate, token)
			if p != nil || core.CodeOf(err) != core.AuthenticationNotSuccessful || !strings.Contains(err.Error(), c.cause) || !strings.HasPrefix(err.Error(), "the access token is not right or no longer valid") {
				t.Errorf("a token that %s, on a %s connection: %+v, %v; want a refusal because of %q", what, where, p, err, c.cause)
			}
			if strings.Contains(fmt.Sprint(err), token) {
				t.Errorf("a token that %s: the error tells it", what)
			}
		}
	}
}

// replace stores the next version of a token.
func replace(w *world, old *core.AccessToken, change func(*core.AccessToken)) {
	for id := range w.tokens {
		next := *old
		change(&next)
		w.tokens[id] = &next
		w.version++
	}
}

func byCertificate(n *core.AccessToken) { n.PasswordHash, n.Certificates = nil, [][]byte{leaf} }

// If the directory may have missed changes, no token is good, and none is called wrong.
func TestNoTokenIsGoodWithoutTheDirectory(t *testing.T) {
	w, token, _ := newWorld()
	identify := w.verifier().ForConnection("192.0.2.1")
	if _, err := identify(t.Context(), nil, token); err != nil {
		t.Fatal(err)
	}
	w.away = core.Errorf(core.StoreUnavailable, "the directory is stale")
	if p, err := identify(t.Context(), nil, token); p != nil || core.CodeOf(err) != core.StoreUnavailable || w.failures != 0 {
		t.Errorf("with a stale directory: %+v, %v, %d failures; want StoreUnavailable and no failure", p, err, w.failures)
	}
}

// Wrong tokens are counted, and wait when the counts say so. A right one never waits, and
// 10,000 wrong ones leave nothing behind.
func TestGuessing(t *testing.T) {
	w, token, _ := newWorld()
	identify := w.verifier().ForConnection("192.0.2.1")
	w.slow = core.Errorf(core.AuthenticationNotSuccessful, "too many failed logins, try again in 60 s")
	before := heapInUse()
	const guesses = 10_000
	for i := range guesses {
		wrong, _, _ := tokentext.New()
		text := string(wrong)
		if i%2 == 0 {
			text = token[:31] + text[31:] // the right ID
		}
		if p, err := identify(t.Context(), nil, text); p != nil || !strings.Contains(fmt.Sprint(err), "too many failed logins") {
			t.Fatalf("wrong token %d: %+v, %v; want that it must wait", i, p, err)
		}
	}
	if w.failures != guesses {
		t.Errorf("%d of %d failures were counted", w.failures, guesses)
	}
	if grown := heapInUse() - before; grown > 1<<20 {
		t.Errorf("%d wrong tokens left %d bytes behind", guesses, grown)
	}
	if _, err := identify(t.Context(), nil, token); err != nil {
		t.Errorf("the right token while guessing goes on: %v", err)
	}
	for _, form := range []string{"", "kr1_", "Bearer " + token, token + "x", strings.ToUpper(token)} {
		if p, err := identify(t.Context(), nil, form); p != nil || core.CodeOf(err) != core.AuthenticationNotSuccessful {
			t.Errorf("%q: %+v, %v; want a refusal", form, p, err)
		}
		if w.verifier().Recognizes(form) {
			t.Errorf("%q is recognized as a token of this server", form)
		}
	}
	if !w.verifier().Recognizes(token) {
		t.Error("a token of this server is not recognized")
	}
}

func heapInUse() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// A request with the token of the last one allocates at most what its text needs.
func TestNextRequestIsCheap(t *testing.T) {
	w, token, _ := newWorld()
	identify := w.verifier().ForConnection("192.0.2.1")
	ctx := context.Background()
	if n := testing.AllocsPerRun(100, func() {
		if _, err := identify(ctx, nil, token); err != nil {
			t.Fatal(err)
		}
	}); n > 6 {
		t.Errorf("a request with the same token costs %v allocations; want at most 6", n)
	}
}
