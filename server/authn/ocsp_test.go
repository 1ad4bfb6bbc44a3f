package authn

import (
	"crypto/ecdsa"
	"crypto/x509"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/crypto/ocsp"
)

// responder answers OCSP questions as a test says.
type responder struct {
	url    string
	asked  atomic.Int64
	answer func(question []byte) (status int, body []byte)
}

func newResponder(t *testing.T) *responder {
	t.Helper()
	r := &responder{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		r.asked.Add(1)
		question, _ := io.ReadAll(req.Body)
		status, body := r.answer(question)
		w.Header().Set("Location", r.url)
		w.WriteHeader(status)
		w.Write(body)
	}))
	t.Cleanup(s.Close)
	r.url = s.URL
	return r
}

// says returns an answer about each question, signed by an authority or a responder of it.
func (c *ca) says(status int, change func(*ocsp.Response), signer *x509.Certificate, key *ecdsa.PrivateKey) func([]byte) (int, []byte) {
	return func(question []byte) (int, []byte) {
		asked, err := ocsp.ParseRequest(question)
		if err != nil {
			return http.StatusBadRequest, nil
		}
		r := ocsp.Response{Status: status, SerialNumber: asked.SerialNumber, ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour), RevokedAt: time.Now()}
		if !signer.Equal(c.cert) {
			r.Certificate = signer
		}
		if change != nil {
			change(&r)
		}
		body, err := ocsp.CreateResponse(c.cert, signer, r, key)
		if err != nil {
			panic(err)
		}
		return http.StatusOK, body
	}
}

// A client of an authority with a rule is admitted by a good answer, and refused if it was
// revoked. Any other answer is none: require refuses, prefer admits and health says so.
func TestOCSP(t *testing.T) {
	c, other := newCA(t, "ca", nil), newCA(t, "other", nil)
	leaf, r := c.leaf(uri("keyreeve://acme/dev")), newResponder(t)
	signing := func(by *ca, usage x509.ExtKeyUsage, end time.Duration) *x509.Certificate {
		return by.leaf(func(l *x509.Certificate) {
			l.ExtKeyUsage, l.NotAfter = []x509.ExtKeyUsage{usage}, time.Now().Add(end)
		})
	}
	always := func(status int, body []byte) func([]byte) (int, []byte) {
		return func([]byte) (int, []byte) { return status, body }
	}
	for what, w := range map[string]struct {
		answer            func([]byte) (int, []byte)
		preferred, needed bool // whether the client is admitted
	}{
		"good":                              {c.says(ocsp.Good, nil, c.cert, c.key), true, true},
		"good, by its responder":            {c.says(ocsp.Good, nil, signing(c, x509.ExtKeyUsageOCSPSigning, time.Hour), c.key), true, true},
		"revoked":                           {c.says(ocsp.Revoked, nil, c.cert, c.key), false, false},
		"revoked, by its responder":         {c.says(ocsp.Revoked, nil, signing(c, x509.ExtKeyUsageOCSPSigning, time.Hour), c.key), false, false},
		"unknown":                           {c.says(ocsp.Unknown, nil, c.cert, c.key), true, false},
		"good, by a client":                 {c.says(ocsp.Good, nil, signing(c, x509.ExtKeyUsageClientAuth, time.Hour), c.key), true, false},
		"good, by an old responder":         {c.says(ocsp.Good, nil, signing(c, x509.ExtKeyUsageOCSPSigning, -time.Minute), c.key), true, false},
		"good, by another authority":        {c.says(ocsp.Good, nil, other.cert, other.key), true, false},
		"good, of another serial number":    {c.says(ocsp.Good, func(o *ocsp.Response) { o.SerialNumber = big.NewInt(7) }, c.cert, c.key), true, false},
		"good, past its Next Update":        {c.says(ocsp.Good, func(o *ocsp.Response) { o.NextUpdate = time.Now().Add(-time.Second) }, c.cert, c.key), true, false},
		"good, without a Next Update":       {c.says(ocsp.Good, func(o *ocsp.Response) { o.NextUpdate = time.Time{} }, c.cert, c.key), true, false},
		"good, of the future":               {c.says(ocsp.Good, func(o *ocsp.Response) { o.ThisUpdate = time.Now().Add(30 * time.Minute) }, c.cert, c.key), true, false},
		"no answer of OCSP":                 {always(http.StatusOK, []byte("hello")), true, false},
		"try later":                         {always(http.StatusOK, ocsp.TryLaterErrorResponse), true, false},
		"an error of HTTP":                  {always(http.StatusInternalServerError, nil), true, false},
		"a redirect":                        {always(http.StatusFound, nil), true, false},
		"an answer that is too long":        {always(http.StatusOK, make([]byte, ocspBytes+1)), true, false},
		"good for an authority of the name": {newCA(t, "ca", nil).says(ocsp.Good, nil, c.cert, c.key), true, false},
	} {
		for mode, want := range map[string]bool{ocspPrefer: w.preferred, ocspRequire: w.needed} {
			s := trusting(t, c, other)
			s.OCSP = []OCSPRule{{Authority: fingerprint(c.cert), Mode: mode, Responder: r.url}}
			a := authenticator(t, s)
			r.answer = w.answer
			r.asked.Store(0)
			ask := a.Identify(evidenceOf(state(leaf)))
			p, err := ask()
			if (err == nil) != want || (p != nil) != want {
				t.Errorf("%s, %s: %+v, %v; want admitted %v", what, mode, p, err, want)
			}
			again, err := ask()
			if again != p || (err == nil) != want {
				t.Errorf("%s, %s: the next message is answered %v", what, mode, err)
			}
			if n := r.asked.Load(); n != 1 {
				t.Errorf("%s, %s: two messages made %d questions", what, mode, n)
			}
			if notes := strings.Join(a.Health(time.Now(), 0).Notes, "\n"); strings.Contains(notes, r.url) != (w.preferred != w.needed) {
				t.Errorf("%s, %s: health says %q", what, mode, notes)
			}
			if _, err := who(a, state(other.leaf(uri("keyreeve://acme/free")))); err != nil || r.asked.Load() != 1 {
				t.Errorf("%s, %s: a client of an authority without a rule: %v, %d questions", what, mode, err, r.asked.Load())
			}
		}
	}
}

// Each verdict ends in time for the next question, also a refusal: a responder that comes back
// lets clients in again.
func TestOCSPIsAskedAgain(t *testing.T) {
	c, r := newCA(t, "ca", nil), newResponder(t)
	s := trusting(t, c)
	s.OCSP = []OCSPRule{{Authority: bundle(t, c), Mode: ocspRequire, Responder: r.url}}
	tr := authenticator(t, s).trust.Load()
	peer, now := []*x509.Certificate{c.leaf(uri("keyreeve://acme/dev"))}, time.Now()
	r.answer = func([]byte) (int, []byte) { return http.StatusServiceUnavailable, nil }
	if v := tr.judgeChain(peer, now); v.err == nil || !v.validUntil.Equal(now.Add(ocspRetry)) {
		t.Errorf("without an answer: %v until %v", v.err, v.validUntil)
	}
	r.answer = c.says(ocsp.Good, nil, c.cert, c.key)
	if v := tr.judgeChain(peer, now.Add(ocspRetry-time.Second)); v.err == nil || r.asked.Load() != 1 {
		t.Errorf("a responder that has just failed is asked again: %v", v.err)
	}
	if v := tr.judgeChain(peer, now.Add(ocspRetry)); v.err != nil || v.validUntil.After(now.Add(time.Hour)) {
		t.Errorf("a responder that is back: %v until %v", v.err, v.validUntil)
	}
	r.answer = c.says(ocsp.Revoked, nil, c.cert, c.key)
	if v := tr.judgeChain(peer, now.Add(30*time.Minute)); v.err != nil || r.asked.Load() != 2 {
		t.Errorf("an answer that is still good was not used: %v, %d questions", v.err, r.asked.Load())
	}
}

// A certificate that was revoked stays so when the responder falls silent, also where the rule
// prefers an answer and does not require one.
func TestOCSPRevokedStaysRevoked(t *testing.T) {
	c, r := newCA(t, "ca", nil), newResponder(t)
	s := trusting(t, c)
	s.OCSP = []OCSPRule{{Authority: bundle(t, c), Mode: ocspPrefer, Responder: r.url}}
	tr := authenticator(t, s).trust.Load()
	peer, now := []*x509.Certificate{c.leaf(uri("keyreeve://acme/dev"))}, time.Now()
	r.answer = c.says(ocsp.Revoked, func(o *ocsp.Response) { o.NextUpdate = now.Add(time.Minute) }, c.cert, c.key)
	if v := tr.judgeChain(peer, now); v.err == nil {
		t.Fatal("a revoked certificate is admitted")
	}
	r.answer = func([]byte) (int, []byte) { return http.StatusServiceUnavailable, nil }
	for _, later := range []time.Duration{10 * time.Minute, 10*time.Minute + time.Second} { // the responder is asked, and then known to be silent
		if v := tr.judgeChain(peer, now.Add(later)); v.err == nil {
			t.Errorf("after %v, while the responder is silent, the revoked certificate is admitted", later)
		}
	}
	if r.asked.Load() != 2 {
		t.Errorf("the responder was asked %d times; want 2", r.asked.Load())
	}
}

// A rule that could never be used is an error that names it.
func TestOCSPRulesThatAreRefused(t *testing.T) {
	c := newCA(t, "ca", nil)
	good := OCSPRule{Authority: fingerprint(c.cert), Mode: ocspRequire, Responder: "http://ocsp.example"}
	for what, rules := range map[string][]OCSPRule{
		"no authority":         {{Mode: ocspRequire, Responder: good.Responder}},
		"an unknown authority": {{Authority: strings.Repeat("0", 64), Mode: ocspRequire, Responder: good.Responder}},
		"an unknown mode":      {{Authority: good.Authority, Mode: "off", Responder: good.Responder}},
		"no responder":         {{Authority: good.Authority, Mode: ocspRequire}},
		"a file":               {{Authority: good.Authority, Mode: ocspRequire, Responder: "file:///etc/passwd"}},
		"a user":               {{Authority: good.Authority, Mode: ocspRequire, Responder: "http://user:secret@ocsp.example"}},
		"two of one authority": {good, good},
	} {
		if _, err := New(Settings{ClientCA: bundle(t, c), OCSP: rules}, nil); err == nil || !strings.Contains(err.Error(), "tls.client_ocsp[") {
			t.Errorf("%s: %v", what, err)
		}
	}
}
