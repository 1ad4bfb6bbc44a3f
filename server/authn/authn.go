// Package authn turns the client certificate of a TLS connection into a
// [core.Principal], again and again while the connection is open.
//
// It relies on TLS only for the proof that the client has the key. One function checks
// chains, revocation lists and names, for new, resumed and open connections. The grants
// in tls.authorities say which principals an authority may name; without a grant, it
// may name none. A common name alone names no principal. Package password below it
// verifies the credentials in the header of a KMIP message. Safe for concurrent use. Start
// at [New] and [Authenticator.Identify].
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
	"github.com/keyreeve/keyreeve/core/proof"
)

// Settings are what a reload may change.
type Settings struct {
	ClientCA    string      // PEM file with the certificates of the client authorities
	Authorities []Authority // what each of them may name
	Mappings    []Mapping   // principals of certificates without a keyreeve URI
	RequireEKU  bool        // demand Extended Key Usage clientAuth; the certificates of some arrays lack it

	CRLFile     string // PEM file with revocation lists of the client authorities; "": none
	CRLMayLack  bool   // the file may be missing; it is used as soon as it exists
	RefuseStale bool   // refuse the clients of an authority if its list is past its Next Update

	OCSP []OCSPRule // certificates that are checked at responders

	EnrollmentCA string // PEM file with the certificate of the authority for enrolled clients; "": none

	ExpiryWarning time.Duration // how long before a client certificate expires a warning is due
}

// Authenticator turns certificates into principals.
type Authenticator struct {
	onListsLoaded func(revoked int, err error)
	mu            sync.Mutex // one change at a time
	trust         atomic.Pointer[trust]
	lastLook      atomic.Int64 // when the file of revocation lists was last checked, in Unix milliseconds
	inUse         certificatesInUse
	onExpiring    func(ExpiringCertificate)
	enrolled      EnrolledClients
	responders    *ocspChecker
}

// trust is everything that decides which principal a certificate names. It never
// changes; a reload replaces it.
type trust struct {
	Settings
	authorities *authorities
	mappings    []mapping
	revocations *revocations
	enrollment  *x509.Certificate // nil: no client is enrolled
	enrolled    EnrolledClients
	ocsp        []ocspSource
	responders  *ocspChecker
}

// New returns an Authenticator. It fails if anything is wrong with the settings or their
// files: a revocation list in the wrong place would revoke nothing. onListsLoaded is
// called when the file of revocation lists has changed, with the number of revoked
// certificates, or with the reason why the file cannot be used. It may be nil.
func New(s Settings, onListsLoaded func(revoked int, err error)) (*Authenticator, error) {
	if onListsLoaded == nil {
		onListsLoaded = func(int, error) {}
	}
	a := &Authenticator{onListsLoaded: onListsLoaded, onExpiring: func(ExpiringCertificate) {}, inUse: certificatesInUse{seen: map[string]*seenCertificate{}}}
	a.enrolled, a.responders = nobodyEnrolled{}, newOCSPChecker()
	t, err := a.newTrust(s)
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
		onListsLoaded(len(t.revocations.revoked), nil)
	}
	return a, nil
}

func (a *Authenticator) newTrust(s Settings) (*trust, error) {
	t := &trust{Settings: s, enrolled: a.enrolled, responders: a.responders}
	var err error
	if t.enrollment, err = loadEnrollment(s.EnrollmentCA); err != nil {
		return nil, err
	}
	if t.authorities, err = loadAuthorities(s.ClientCA, t.enrollment, s.Authorities); err != nil {
		return nil, err
	}
	if t.ocsp, err = compileOCSP(s.OCSP, t.authorities); err != nil {
		return nil, err
	}
	t.mappings, err = compileMappings(s.Mappings, t.authorities)
	return t, err
}

// ReportExpiring has report called for each client certificate that is used while it expires
// soon, once a day. It must be called before Identify.
func (a *Authenticator) ReportExpiring(report func(ExpiringCertificate)) { a.onExpiring = report }

// UseEnrolled sets where enrolled clients are looked up. Without it each of them is refused. It
// must be called before Identify.
func (a *Authenticator) UseEnrolled(c EnrolledClients) {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := *a.trust.Load()
	a.enrolled, t.enrolled = c, c
	a.trust.Store(&t)
}

// Changes is what a reload changes in the authorities.
type Changes struct {
	Added, Removed []*x509.Certificate
	Grants         bool // tls.authorities or tls.principals changed
}

// Reload applies new settings and reads all files again. If the authorities, grants or
// mappings cannot be used, the old ones stay. If the revocation lists cannot be used,
// the old lists stay, except those of removed authorities. announce is called before
// authorities change; if it fails, the old ones stay.
func (a *Authenticator) Reload(s Settings, announce func(Changes) error) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.trust.Load()
	t, err := a.newTrust(s)
	if err == nil {
		err = announceChanges(old, t, announce)
	}
	if err != nil {
		return errors.Join(err, a.rereadLists())
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

// replace puts t into force, and calls onListsLoaded if the lists have changed.
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

// rereadLists reads the revocation lists again if their file has changed. If they cannot
// be used, it fails, and the old lists stay in force.
func (a *Authenticator) rereadLists() error {
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

// checkLists reads the revocation lists again if their file has changed.
func (a *Authenticator) checkLists() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.rereadLists()
}

// lookInterval is how often the file of revocation lists is checked, so that a
// revocation takes effect within a second.
const lookInterval = 400 * time.Millisecond

// Watch calls checkLists again and again until ctx ends.
func (a *Authenticator) Watch(ctx context.Context) {
	core.Every(ctx, lookInterval, func() { _ = a.checkLists() }) // onListsLoaded gets the error
}

// Pool returns the certificates of the client authorities, for the TLS handshake.
func (a *Authenticator) Pool() *x509.CertPool { return a.trust.Load().authorities.all }

var _ proof.Authenticator = (*Authenticator)(nil)

// Identify implements [proof.Authenticator]. The function that it returns is cheap while
// nothing changes. It checks the certificate again when an authority, a grant, a mapping
// or a revocation list has changed, and when a certificate of the chain has expired.
func (a *Authenticator) Identify(e proof.Evidence) func() (*core.Principal, error) {
	s := &connectionIdentity{auth: a, peer: e.Certificates}
	return s.principal
}

// Health is what an operator must know about authorities and revocation lists.
type Health struct {
	Problem string   // why the newest revocation lists are not in force
	Notes   []string // lists past their Next Update, authorities that expire
	Stale   int      // number of lists past their Next Update
}

// maxNotes bounds Health.Notes.
const maxNotes = 16

// Health returns the state at a time. It has a note about each authority whose
// certificate expires within soon.
func (a *Authenticator) Health(now time.Time, soon time.Duration) Health {
	t := a.trust.Load()
	var h Health
	if t.revocations.problem != nil {
		h.Problem = "the revocation lists were not loaded, the old ones stay in force: " + t.revocations.problem.Error()
	}
	if since := now.Sub(time.UnixMilli(a.lastLook.Load())); t.CRLFile != "" && since > 10*lookInterval {
		h.Notes = append(h.Notes, fmt.Sprintf("the file of tls.client_crl has not been checked for %v; check whether its file system hangs", since.Round(time.Second)))
	}
	for _, l := range t.revocations.lists {
		if l.isStale(now) {
			h.Stale++
			h.Notes = append(h.Notes, fmt.Sprintf("the revocation list of %s is past its Next Update of %s; fetch a new one into tls.client_crl", l.issuer.name, l.next.Format(time.RFC3339)))
		}
	}
	h.Notes = append(h.Notes, t.ocspNotes()...)
	for _, auth := range t.authorities.list {
		if end := auth.cert.NotAfter; now.After(end.Add(-soon)) {
			h.Notes = append(h.Notes, fmt.Sprintf("the certificate of the client authority %s expires on %s; see tls.client_ca", auth.name, end.Format(time.DateOnly)))
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
