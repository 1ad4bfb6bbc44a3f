package authn

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/certs/identity"
	"golang.org/x/crypto/ocsp"
)

// OCSPRule says that certificates which one authority has issued are checked at a responder
// (RFC 6960). Addresses in certificates are not used: the client chooses them. Answers that
// are stapled are not used either, because Go's TLS servers do not read those of clients.
type OCSPRule struct {
	Authority string `yaml:"authority"` // file or fingerprint of one in client_ca
	Mode      string `yaml:"mode"`      // prefer: a client is admitted while the responder says nothing; require: it is refused
	Responder string `yaml:"responder"` // its URL
}

// The values of OCSPRule.Mode.
const (
	ocspPrefer  = "prefer"
	ocspRequire = "require"
)

// Check fails if anything is wrong with a rule by itself, without the authorities.
func (r *OCSPRule) Check() error {
	u, err := url.Parse(r.Responder)
	switch {
	case r.Authority == "":
		return errors.New(" must have authority: the file or fingerprint of the one whose certificates are checked")
	case r.Mode != ocspPrefer && r.Mode != ocspRequire:
		return fmt.Errorf(".mode must be %s or %s, not %q", ocspPrefer, ocspRequire, r.Mode)
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.User != nil || u.Fragment != "":
		return fmt.Errorf(".responder: %q is not a URL with http or https", r.Responder)
	}
	return nil
}

// ocspSource is a rule with its authority.
type ocspSource struct {
	OCSPRule
	issuer *authority
}

func compileOCSP(rules []OCSPRule, as *authorities) (out []ocspSource, err error) {
	for i, r := range rules {
		if err := r.Check(); err != nil {
			return nil, fmt.Errorf("tls.client_ocsp[%d]%w", i, err)
		}
		a, err := as.findNamed(r.Authority)
		if err == nil && slices.ContainsFunc(out, func(o ocspSource) bool { return o.issuer == a }) {
			err = fmt.Errorf("%s has another entry", a.name)
		}
		if err != nil {
			return nil, fmt.Errorf("tls.client_ocsp[%d]: %w", i, err)
		}
		out = append(out, ocspSource{r, a})
	}
	return out, nil
}

// Bounds of questions to responders.
const (
	ocspTime      = 5 * time.Second  // of one question, with its wait for a place
	ocspAtOnce    = 4                // questions to one responder
	ocspBytes     = 64 << 10         // of an answer
	ocspKeep      = time.Hour        // an answer is used this long at most, and not beyond its Next Update
	ocspRetry     = 10 * time.Second // after a question without an answer
	ocspMaxKept   = 10_000           // answers
	ocspClockSkew = 5 * time.Minute
)

// ocspAnswer is what is known about a certificate.
type ocspAnswer struct {
	revoked bool
	problem error     // why it is not known
	until   time.Time // when the responder is asked again
}

// ocspChecker asks responders and remembers their answers. Safe for concurrent use.
type ocspChecker struct {
	client *http.Client
	mu     sync.Mutex
	known  map[string]ocspAnswer    // by issuer and serial number
	silent map[string]ocspAnswer    // by responder: the last question had no answer
	places map[string]chan struct{} // by responder
}

// newOCSPChecker follows no redirect, uses no proxy, and keeps no cookies.
func newOCSPChecker() *ocspChecker {
	return &ocspChecker{known: map[string]ocspAnswer{}, silent: map[string]ocspAnswer{}, places: map[string]chan struct{}{},
		client: &http.Client{Timeout: ocspTime, Transport: &http.Transport{MaxConnsPerHost: ocspAtOnce, IdleConnTimeout: time.Minute},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}}
}

// checkOCSP returns why a chain must not be used, and when it must be checked again; a zero
// time says never.
func (t *trust) checkOCSP(chain []*x509.Certificate, now time.Time) (again time.Time, err error) {
	for i, c := range chain[:len(chain)-1] {
		for _, source := range t.ocsp {
			if authorityKey(chain[i+1]) != source.issuer.key {
				continue
			}
			answer := t.responders.statusOf(&source, c, chain[i+1], now)
			if again.IsZero() || answer.until.Before(again) {
				again = answer.until
			}
			switch {
			case answer.revoked:
				return again, refuse("the certificate %s has been revoked, says the OCSP responder %s", identity.NameText(c.RawSubject), source.Responder)
			case answer.problem != nil && source.Mode == ocspRequire:
				return again, refuse("the OCSP responder %s does not confirm the certificate %s, and tls.client_ocsp requires it: %v", source.Responder, identity.NameText(c.RawSubject), answer.problem)
			}
		}
	}
	return again, nil
}

// statusOf returns what is known about a certificate, or asks the responder. If that has just
// failed to answer another question, it is not asked.
func (k *ocspChecker) statusOf(source *ocspSource, c, issuer *x509.Certificate, now time.Time) ocspAnswer {
	key := string(source.issuer.key[:]) + c.SerialNumber.Text(16)
	k.mu.Lock()
	answer, known := k.known[key]
	silent := k.silent[source.Responder]
	if k.places[source.Responder] == nil {
		k.places[source.Responder] = make(chan struct{}, ocspAtOnce)
	}
	place := k.places[source.Responder]
	k.mu.Unlock()
	if known && now.Before(answer.until) {
		return answer
	}
	next := silent
	if !now.Before(silent.until) {
		next = k.askInPlace(place, source.Responder, key, c, issuer, now)
	}
	if next.problem != nil && answer.revoked { // what was revoked stays so until the responder says otherwise
		return ocspAnswer{revoked: true, until: next.until}
	}
	return next
}

// askInPlace asks about a certificate when one of the places for questions is free, and
// remembers the answer.
func (k *ocspChecker) askInPlace(place chan struct{}, responder, key string, c, issuer *x509.Certificate, now time.Time) ocspAnswer {
	select {
	case place <- struct{}{}:
		defer func() { <-place }()
		answer := k.askResponder(responder, c, issuer, now)
		k.remember(responder, key, answer)
		return answer
	case <-time.After(ocspTime):
		return ocspAnswer{problem: errors.New("too many questions wait for it"), until: now.Add(ocspRetry)}
	}
}

func (k *ocspChecker) remember(responder, key string, answer ocspAnswer) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if answer.problem != nil {
		k.silent[responder] = answer
		return
	}
	delete(k.silent, responder)
	if len(k.known) >= ocspMaxKept {
		clear(k.known)
	}
	k.known[key] = answer
}

// askResponder asks about one certificate.
func (k *ocspChecker) askResponder(responder string, c, issuer *x509.Certificate, now time.Time) ocspAnswer {
	failed := func(err error) ocspAnswer { return ocspAnswer{problem: err, until: now.Add(ocspRetry)} }
	question, err := ocsp.CreateRequest(c, issuer, nil)
	if err != nil {
		return failed(err)
	}
	res, err := k.client.Post(responder, "application/ocsp-request", bytes.NewReader(question))
	if err != nil {
		return failed(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, ocspBytes+1))
	switch {
	case err != nil:
		return failed(err)
	case res.StatusCode != http.StatusOK || len(body) > ocspBytes:
		return failed(fmt.Errorf("it answers %s with %d bytes", res.Status, len(body)))
	}
	answer, err := readOCSP(body, question, c, issuer, now)
	if err != nil {
		return failed(err)
	}
	return answer
}

// readOCSP reads an answer that the issuer has signed, or a responder whose certificate it has
// issued for that (RFC 6960 §4.2.2.2). Package ocsp checks signatures and serial number, but
// not whether the certificate in the answer may sign answers, nor the issuer in the answer.
func readOCSP(body, question []byte, c, issuer *x509.Certificate, now time.Time) (ocspAnswer, error) {
	asked, err := ocsp.ParseRequest(question)
	if err != nil {
		return ocspAnswer{}, err
	}
	r, err := ocsp.ParseResponseForCert(body, c, issuer)
	if err != nil {
		return ocspAnswer{}, err
	}
	until := now.Add(ocspKeep)
	if r.NextUpdate.Before(until) {
		until = r.NextUpdate
	}
	switch signer := r.Certificate; {
	case signer != nil && !signer.Equal(issuer) && (!slices.Contains(signer.ExtKeyUsage, x509.ExtKeyUsageOCSPSigning) || now.Before(signer.NotBefore) || now.After(signer.NotAfter)):
		return ocspAnswer{}, errors.New("its certificate may not sign answers, or is not valid now")
	case !bytes.Contains(r.TBSResponseData, asked.IssuerKeyHash):
		return ocspAnswer{}, errors.New("its answer is about a certificate of another authority")
	case r.ThisUpdate.After(now.Add(ocspClockSkew)) || !now.Before(r.NextUpdate):
		return ocspAnswer{}, fmt.Errorf("its answer is of %s and good until %s", r.ThisUpdate.Format(time.RFC3339), r.NextUpdate.Format(time.RFC3339))
	case r.Status == ocsp.Revoked:
		return ocspAnswer{revoked: true, until: until}, nil
	case r.Status != ocsp.Good:
		return ocspAnswer{}, errors.New("it does not know the certificate")
	}
	return ocspAnswer{until: until}, nil
}

// ocspNotes returns what health says about responders that have not answered.
func (t *trust) ocspNotes() (notes []string) {
	consequence := map[string]string{ocspPrefer: "admitted without that check", ocspRequire: "refused"}
	t.responders.mu.Lock()
	defer t.responders.mu.Unlock()
	for _, source := range t.ocsp {
		if silent := t.responders.silent[source.Responder]; silent.problem != nil {
			notes = append(notes, fmt.Sprintf("the OCSP responder %s has not answered its last question, so clients of %s are %s: %v", source.Responder, source.issuer.name, consequence[source.Mode], silent.problem))
		}
	}
	return notes
}
