package server

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/server/authn"
)

// doorTLS is what both doors shake hands with. Its files are read anew by
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

func (d *doorTLS) reload() error {
	t, err := d.cfg.serverTLS(d.auth)
	if err == nil {
		d.now.Store(t)
	}
	return err
}

// config is a door's own, with the protocols that it speaks. It lends its keys
// for session tickets to whatever is in force at a handshake, so that sessions
// are resumed across a reload.
func (d *doorTLS) config(protos ...string) *tls.Config {
	t := d.now.Load().Clone()
	t.NextProtos = protos
	t.GetConfigForClient = func(*tls.ClientHelloInfo) (*tls.Config, error) {
		now := d.now.Load()
		if len(protos) > 0 {
			now = now.Clone()
			now.NextProtos = protos
		}
		return now, nil
	}
	return t
}

// authenticator tells who clients are; loaded hears of revocation lists.
func (c *Config) authenticator(loaded func(int, error)) (*authn.Authenticator, error) {
	a, err := authn.New(authn.Options{Mappings: c.TLS.Principals, CRLFile: c.TLS.ClientCRL, CRLMayLack: c.dev != nil, RequireEKU: c.TLS.RequireEKU, Loaded: loaded})
	if err != nil {
		return nil, fmt.Errorf("the revocation list cannot be used; see tls.client_crl: %w", err)
	}
	return a, nil
}

// valid refuses a server certificate that no client would take: it would look
// as if every client were misconfigured.
func valid(c *x509.Certificate, now time.Time) error {
	if now.After(c.NotAfter) {
		return fmt.Errorf("the server's certificate has ended on %s; renew tls.certificate", c.NotAfter.Format(time.RFC3339))
	}
	if now.Before(c.NotBefore) {
		return fmt.Errorf("the server's certificate is not valid before %s; see tls.certificate and this machine's clock", c.NotBefore.Format(time.RFC3339))
	}
	return nil
}

// serverTLS demands a client certificate of the given authorities. No name or
// protocol extension is needed; tickets resume sessions with their certificates.
func (c *Config) serverTLS(auth *authn.Authenticator) (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(c.TLS.Certificate, c.TLS.Key)
	if err != nil {
		return nil, fmt.Errorf("the server's certificate cannot be used; see tls.certificate and tls.key: %w", err)
	}
	if err := valid(pair.Leaf, time.Now()); err != nil {
		return nil, err
	}
	pem, err := os.ReadFile(c.TLS.ClientCA)
	if err != nil {
		return nil, fmt.Errorf("the clients' authority cannot be read; see tls.client_ca: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("tls.client_ca: %s holds no certificate", c.TLS.ClientCA)
	}
	t := &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12, ClientCAs: pool, ClientAuth: tls.RequireAndVerifyClientCert}
	// A resumed session is not verified anew by TLS itself.
	t.VerifyConnection = func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) > 0 && auth.Revoked(state.PeerCertificates[0]) {
			return errors.New("the client certificate has been revoked")
		}
		return nil
	}
	if c.TLS.OldSuites {
		t.CipherSuites = oldSuites()
	}
	return t, nil
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
