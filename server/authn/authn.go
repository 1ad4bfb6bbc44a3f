// Package authn tells who asks: it turns the client certificate of a TLS
// connection into a core.Principal, and keeps doing so while the connection is
// open.
//
// It relies on TLS only for the proof that the client holds the key. Chains,
// revocation lists and names are checked here, for new, resumed and open
// connections by the same function. What an authority may name is granted to it
// in tls.authorities; without a grant it names nobody. The common name alone
// names nobody. Credentials in a KMIP header give no rights here: see
// docs/KMIP.md. Safe for concurrent use. Start at [New] and
// [Authenticator.Identify].
package authn

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Settings are what a reload may change.
type Settings struct {
	ClientCA    string      // PEM file with the certificates of the client authorities
	Authorities []Authority // what each of them may name
	Mappings    []Mapping   // principals of certificates without a keyreeve URI
	RequireEKU  bool        // demand Extended Key Usage clientAuth, which some arrays' certificates lack

	CRLFile     string // PEM file with revocation lists of the client authorities; "": none
	CRLMayLack  bool   // the file need not be there; it counts when it comes
	RefuseStale bool   // refuse clients of an authority whose list is past its Next Update
}

// Authenticator turns certificates into principals.
type Authenticator struct {
	onListsLoaded func(revoked int, err error)
	mu            sync.Mutex // one change at a time
	trust         atomic.Pointer[trust]
	lastLook      atomic.Int64 // when the file of revocation lists was last looked at, in Unix milliseconds
}

// trust is everything that decides who a certificate is. It never changes; a
// reload replaces it.
type trust struct {
	Settings
	authorities *authorities
	mappings    []mapping
	revocations *revocations
}

// New makes one. Whatever is wrong with the settings or their files is an error:
// a revocation list that is looked for in the wrong place revokes nobody. loaded
// is told when the file of revocation lists has changed: how many certificates
// are revoked, or why the file cannot be used. Nil: nobody is.
func New(s Settings, loaded func(revoked int, err error)) (*Authenticator, error) {
	if loaded == nil {
		loaded = func(int, error) {}
	}
	a := &Authenticator{onListsLoaded: loaded}
	t, err := newTrust(s)
	if err != nil {
		return nil, err
	}
	t.revocations = readFile(t, &revocations{})
	a.lastLook.Store(time.Now().UnixMilli())
	if t.revocations.problem != nil {
		return nil, t.revocations.problem
	}
	a.trust.Store(t)
	if t.revocations.file != nil {
		loaded(len(t.revocations.revoked), nil)
	}
	return a, nil
}

func newTrust(s Settings) (*trust, error) {
	t := &trust{Settings: s}
	var err error
	if t.authorities, err = loadAuthorities(s.ClientCA, s.Authorities); err != nil {
		return nil, err
	}
	t.mappings, err = compileMappings(s.Mappings, t.authorities)
	return t, err
}

// Changes tells what a reload does to the authorities.
type Changes struct {
	Added, Removed []*x509.Certificate
	Grants         bool // tls.authorities or tls.principals changed
}

// Reload takes new settings and reads all files again. If the authorities,
// grants or mappings cannot be used, the old ones stay. If the revocation lists
// cannot be used, the old lists stay, of the authorities that are still there.
// announce is called before authorities change; its error leaves the old ones.
func (a *Authenticator) Reload(s Settings, announce func(Changes) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.trust.Load()
	t, err := newTrust(s)
	if err == nil {
		err = announceChanges(old, t, announce)
	}
	if err != nil {
		return errors.Join(err, a.readLists())
	}
	t.revocations = readFile(t, old.revocations.onlyOf(t.authorities))
	a.replace(t)
	return t.revocations.problem
}

func announceChanges(old, next *trust, announce func(Changes) error) error {
	c := Changes{Added: next.authorities.missingFrom(old.authorities), Removed: old.authorities.missingFrom(next.authorities),
		Grants: !reflect.DeepEqual(old.Authorities, next.Authorities) || !reflect.DeepEqual(old.Mappings, next.Mappings)}
	if announce == nil || (len(c.Added)+len(c.Removed) == 0 && !c.Grants) {
		return nil
	}
	return announce(c)
}

// replace puts t in force and tells about lists that have changed.
func (a *Authenticator) replace(t *trust) {
	old := a.trust.Load().revocations
	a.trust.Store(t)
	switch now := t.revocations; {
	case now.problem != nil && (old.problem == nil || old.problem.Error() != now.problem.Error()):
		a.onListsLoaded(len(now.revoked), now.problem)
	case now.problem == nil && now.file != nil && (old.problem != nil || old.file == nil || !sameContent(now.file, old.file)):
		a.onListsLoaded(len(now.revoked), nil)
	}
}

// readLists reads the revocation lists again if their file has changed. Lists
// that cannot be used leave the old ones in force and are an error.
func (a *Authenticator) readLists() error {
	old := a.trust.Load()
	lists := readFile(old, old.revocations)
	a.lastLook.Store(time.Now().UnixMilli())
	if lists != old.revocations {
		t := *old
		t.revocations = lists
		a.replace(&t)
	}
	return lists.problem
}

// Look reads the revocation lists again if their file has changed.
func (a *Authenticator) Look() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.readLists()
}

// lookInterval is how often the file of revocation lists is looked at, so that a
// revocation counts within a second.
const lookInterval = 400 * time.Millisecond

// Watch looks at the file of revocation lists until ctx ends.
func (a *Authenticator) Watch(ctx context.Context) {
	tick := time.NewTicker(lookInterval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			_ = a.Look() // loaded was told why
		}
	}
}

// Pool holds all certificates of the client authorities, for the TLS handshake.
func (a *Authenticator) Pool() *x509.CertPool { return a.trust.Load().authorities.all }

var _ core.Authenticator = (*Authenticator)(nil)

// Identify is part of core.Authenticator. Its function is cheap while nothing
// changes. It judges the certificate again when an authority, a grant, a mapping or
// a revocation list has changed, and when a certificate of the chain expires.
// Credentials and bearer tokens prove nothing yet.
func (a *Authenticator) Identify(e core.Evidence) func() (*core.Principal, error) {
	s := &connectionIdentity{auth: a, peer: e.Certificates}
	return s.principal
}

// Health tells what an operator must know about authorities and lists.
type Health struct {
	Problem string   // why the newest revocation lists are not in force
	Notes   []string // lists past their Next Update, authorities that expire
	Stale   int      // number of lists past their Next Update
}

// maxNotes bounds the notes of an answer about health.
const maxNotes = 16

// Health judges the state at a time; soon is how long before its end a
// certificate is pointed out.
func (a *Authenticator) Health(now time.Time, soon time.Duration) Health {
	t := a.trust.Load()
	var h Health
	if t.revocations.problem != nil {
		h.Problem = "the revocation lists were not loaded, the old ones stay in force: " + t.revocations.problem.Error()
	}
	if since := now.Sub(time.UnixMilli(a.lastLook.Load())); t.CRLFile != "" && since > 10*lookInterval {
		h.Notes = append(h.Notes, fmt.Sprintf("the file of tls.client_crl has not been looked at for %v; does its file system hang?", since.Round(time.Second)))
	}
	for _, l := range t.revocations.lists {
		if l.isStale(now) {
			h.Stale++
			h.Notes = append(h.Notes, fmt.Sprintf("the revocation list of %s is past its Next Update of %s; fetch a new one into tls.client_crl", l.issuer.name, l.next.Format(time.RFC3339)))
		}
	}
	for _, auth := range t.authorities.list {
		if end := auth.cert.NotAfter; now.After(end.Add(-soon)) {
			h.Notes = append(h.Notes, fmt.Sprintf("the client authority %s ends on %s; see tls.client_ca", auth.name, end.Format(time.DateOnly)))
		}
	}
	if more := len(h.Notes) - maxNotes; more > 0 {
		h.Notes = append(h.Notes[:maxNotes], fmt.Sprintf("and %d more", more))
	}
	return h
}

func refuse(format string, args ...any) error {
	return core.Errorf(core.AuthenticationNotSuccessful, format, args...)
}
