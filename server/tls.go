package server

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/settings"
)

// doorTLS is what both doors shake hands with. Its files are read again by
// reload, for the connections that come after. Safe for concurrent use.
type doorTLS struct {
	cfg  *Config
	auth *authn.Authenticator
	now  atomic.Pointer[tls.Config]
}

func newDoorTLS(cfg *Config, auth *authn.Authenticator) (*doorTLS, error) {
	d := &doorTLS{cfg: cfg, auth: auth}
	return d, d.reload()
}

// reload takes the client authorities of auth, and the server's certificate if
// it can be used.
func (d *doorTLS) reload() error {
	t, err := d.cfg.serverTLS()
	if err != nil {
		now := d.now.Load()
		if now == nil {
			return err
		}
		t = now.Clone()
	}
	t.ClientCAs = d.auth.Pool()
	d.now.Store(t)
	return err
}

// certificate is the server's.
func (d *doorTLS) certificate() *x509.Certificate { return d.now.Load().Certificates[0].Leaf }

// config is a door's own, with the protocols that it speaks and what it demands
// of clients. It lends its keys for session tickets to whatever is in force at a
// handshake, so that sessions are resumed across a reload. Who a client is, is
// decided after the handshake, for a resumed session as for a new one.
func (d *doorTLS) config(clients tls.ClientAuthType, protos ...string) *tls.Config {
	t := d.now.Load().Clone()
	t.NextProtos, t.ClientAuth = protos, clients
	var last atomic.Pointer[doorConfig]
	t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := d.now.Load()
		if l := last.Load(); l != nil && l.madeFrom == now {
			return l.config, nil
		}
		own := now.Clone()
		own.NextProtos, own.ClientAuth = protos, clients
		last.Store(&doorConfig{madeFrom: now, config: own})
		return own, nil
	}
	return t
}

// doorConfig is a door's own configuration and the common one that it was made
// from. Each connection keeps the one that it shook hands with, so they share it.
type doorConfig struct{ madeFrom, config *tls.Config }

// authnSettings are the settings that decide which principal a certificate names.
func (c *Config) authnSettings() authn.Settings {
	return authn.Settings{ClientCA: c.TLS.ClientCA, Authorities: c.TLS.Authorities, Mappings: c.TLS.Principals, RequireEKU: c.TLS.RequireEKU,
		CRLFile: c.TLS.ClientCRL, CRLMayLack: c.dev != nil, RefuseStale: c.TLS.CRLStale == settings.StaleRefuse, ExpiryWarning: c.TLS.ExpiryWarning, OCSP: c.TLS.ClientOCSP, EnrollmentCA: c.Enrollment.Certificate}
}

// checkPeriod refuses a server certificate that no client would take: it would look
// as if every client were misconfigured.
func checkPeriod(c *x509.Certificate, now time.Time) error {
	if now.After(c.NotAfter) {
		return fmt.Errorf("the server's certificate %s has ended on %s; renew tls.certificate", identity.NameText(c.RawSubject), c.NotAfter.Format(time.RFC3339))
	}
	if now.Before(c.NotBefore) {
		return fmt.Errorf("the server's certificate %s is not valid before %s; see tls.certificate and this machine's clock", identity.NameText(c.RawSubject), c.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// keyPair reads the server's certificate with its chain, and its key. Each file
// is read whole or not at all.
func (c *Config) keyPair() (tls.Certificate, error) {
	chain, err := pemfile.Certificates(c.TLS.Certificate)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.certificate cannot be used: %w", err)
	}
	var text []byte
	for _, cert := range chain {
		if err := checkPeriod(cert, time.Now()); err != nil {
			return tls.Certificate{}, err
		}
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})...)
	}
	key, err := readKey(c.TLS.Key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("tls.key cannot be used: %w", err)
	}
	defer clear(key)
	pair, err := tls.X509KeyPair(text, key)
	if err != nil {
		return pair, fmt.Errorf("the server's certificate cannot be used; see tls.certificate and tls.key: %w", err)
	}
	return pair, nil
}

// readKey reads a file with one private key. OpenSSL writes the curve's name
// before it.
func readKey(path string) ([]byte, error) {
	blocks, err := pemfile.Read(path, "PRIVATE KEY", "EC PRIVATE KEY", "RSA PRIVATE KEY", "EC PARAMETERS")
	if err != nil {
		return nil, err
	}
	var key *pem.Block
	for _, b := range blocks {
		defer clear(b.Bytes)
		if b.Type == "EC PARAMETERS" {
			continue
		}
		if key != nil {
			return nil, fmt.Errorf("%s: line %d: a second private key", path, b.Line)
		}
		key = &pem.Block{Type: b.Type, Bytes: b.Bytes}
	}
	if key == nil {
		return nil, fmt.Errorf("%s holds no private key", path)
	}
	return pem.EncodeToMemory(key), nil
}

// serverTLS is a configuration without client authorities. No name or protocol
// extension is needed; tickets resume sessions with their certificates.
func (c *Config) serverTLS() (*tls.Config, error) {
	pair, err := c.keyPair()
	if err != nil {
		return nil, err
	}
	t := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, CipherSuites: modernSuites}
	if c.TLS.OldSuites {
		t.CipherSuites = oldSuites()
	}
	return t, nil
}

// modernSuites are those of TLS 1.2 with forward secrecy and authenticated
// encryption. The suites of TLS 1.3 are not a choice in Go.
var modernSuites = []uint16{
	tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256,
	tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384, tls.TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
	tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256, tls.TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
}

// oldSuites are those of TLS 1.2 that Go has, with CBC and RSA key exchange, but
// not RC4, which RFC 7465 forbids.
func oldSuites() (ids []uint16) {
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		if !strings.Contains(s.Name, "RC4") {
			ids = append(ids, s.ID)
		}
	}
	return ids
}
