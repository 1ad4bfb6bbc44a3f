package server_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// A client that TLS lets in and that is nobody gets Authentication Not
// Successful for its first message, in its version, whatever the message is, and
// then the end of the connection; a resumed session does not help.
func TestRefusedClientIsAnswered(t *testing.T) {
	s := servertest.Start(t)
	if err := certs.Issue(s.Dir, certs.Request{Name: "thief", Tenant: "default", Groups: []string{"dev"}}); err != nil {
		t.Fatal(err)
	}
	cfg, err := kmiptest.Config(s.Certs, "thief")
	if err != nil {
		t.Fatal(err)
	}
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	shake(t, s.KMIP, cfg)
	if out, err := s.Command("cert", "revoke", "--dir", s.Dir, "--name", "thief"); err != nil {
		t.Fatal(err, out)
	}
	time.Sleep(1100 * time.Millisecond)
	for _, maxTLS := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		cfg := cfg.Clone()
		cfg.MaxVersion = maxTLS
		for _, v := range core.Versions {
			if !kmip.Known(v) {
				continue
			}
			c, err := kmiptest.Dial(s.KMIP, cfg, v)
			if err != nil {
				t.Fatalf("%v: the handshake fails: %v", v, err)
			}
			if err := discover(c); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful || !strings.Contains(err.Error(), "revoked") {
				t.Errorf("%v: %v; want Authentication Not Successful, and why", v, err)
			}
			if err := discover(c); err == nil || kmiptest.Reason(err) != 0 {
				t.Errorf("%v: the connection stays open: %v", v, err)
			}
			c.Close()
		}
		// A large message, of which the server reads only the beginning.
		for range 10 {
			conn, err := tls.Dial("tcp", s.KMIP, cfg)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(20 * time.Second))
			large := make([]byte, 1<<20)
			copy(large, []byte{0x42, 0x00, 0x78, 0x01, 0x00, 0x0f, 0xff, 0xf8})
			conn.Write(large) // the answer may come before all is written
			answer, err := io.ReadAll(conn)
			if err != nil || !strings.Contains(string(answer), "revoked") {
				t.Errorf("a large message: %d bytes, %v; want the refusal and a clean end", len(answer), err)
			}
			conn.Close()
		}
	}
	if out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Login", "--limit", "0"); err != nil || !strings.Contains(out, "subject CN=thief") || !strings.Contains(out, "has been revoked") {
		t.Errorf("the record does not name the certificate: %v\n%s", err, out)
	}
}

// dialTLS connects to the KMIP door with the certificate of a client.
func dialTLS(t *testing.T, s *servertest.Server, name string) *tls.Conn {
	t.Helper()
	cfg, err := kmiptest.Config(s.Certs, name)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", s.KMIP, cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn
}

// An idle connection of a client that is nobody any more is ended.
func TestIdleConnectionEnds(t *testing.T) {
	s := servertest.Start(t)
	if err := certs.Issue(s.Dir, certs.Request{Name: "thief", Tenant: "default"}); err != nil {
		t.Fatal(err)
	}
	conn := dialTLS(t, s, "thief")
	keep := dial(t, s, "dev", core.V1_4)
	if out, err := s.Command("cert", "revoke", "--dir", s.Dir, "--name", "thief"); err != nil {
		t.Fatal(err, out)
	}
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("%v; want the end of the connection", err)
	}
	if err := discover(keep); err != nil {
		t.Errorf("another client's connection: %v", err)
	}
}

// A client whose certificate TLS refuses reads the alert that says why, also if
// it has sent a lot behind its handshake, at both doors; the record names the
// certificate.
func TestAlertsArrive(t *testing.T) {
	s := servertest.Start(t)
	_, stranger := anotherAuthority(t, s)
	for door, addr := range map[string]string{"kmip": s.KMIP, "rest": s.HTTPS} {
		for i := range 20 {
			conn, err := tls.Dial("tcp", addr, stranger) // in TLS 1.3 the client is done before the server has looked
			if err == nil {
				conn.SetDeadline(time.Now().Add(20 * time.Second))
				conn.Write(make([]byte, 256<<10))
				_, err = io.ReadAll(conn)
				conn.Close()
			}
			if alert, ok := errors.AsType[tls.AlertError](err); !ok && (err == nil || !strings.Contains(err.Error(), "unknown certificate authority")) {
				t.Fatalf("%s, try %d: %v (%v); want the alert", door, i, err, alert)
			}
		}
	}
	leaf, err := x509.ParseCertificate(stranger.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Login", "--limit", "0")
	if want := "subject " + certificateNames(leaf, "issuer CN=keyreeve development CA"); err != nil || strings.Count(out, want) < 2 {
		t.Errorf("the records do not name the certificate (%s): %v\n%s", want, err, out)
	}
}

// Health without details is for everybody, with details and the figures for the
// roles that the policy names; a certificate that is sent must be good.
func TestWhoReadsHealth(t *testing.T) {
	s := servertest.Start(t)
	for name, roles := range map[string][]string{"nosy": nil, "prometheus": {"monitor"}, "auditor": {"auditor"}, "admin": {"admin"}} {
		if err := certs.Issue(s.Dir, certs.Request{Name: name, Tenant: "default", Roles: roles}); err != nil {
			t.Fatal(err)
		}
	}
	_, strange := anotherAuthority(t, s)
	client := func(cfg *tls.Config) *http.Client {
		return &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}, Timeout: 20 * time.Second}
	}
	get := func(c *http.Client, path string) (int, string) {
		t.Helper()
		res, err := c.Get("https://" + s.HTTPS + path)
		if err != nil {
			return 0, err.Error()
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	anyone, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	anyone.Certificates = nil
	nobody := client(anyone)
	for path, want := range map[string]int{"/v1/health/live": 200, "/v1/health/ready": 200, "/v1/health": 401, "/metrics": 401, "/v1/keys": 401, "/nothing": 401} {
		if got, body := get(nobody, path); got != want {
			t.Errorf("%s without a certificate: %d %s, want %d", path, got, body, want)
		}
	}
	if got, body := get(client(strange), "/v1/health/live"); got != 0 || !strings.Contains(body, "unknown certificate authority") {
		t.Errorf("a certificate that is no good: %d %s", got, body)
	}
	for name, want := range map[string]int{"nosy": 403, "prometheus": 200, "auditor": 200, "admin": 200, "dev": 200} {
		cfg, err := kmiptest.Config(s.Certs, name)
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range []string{"/v1/health", "/metrics"} {
			if got, body := get(client(cfg), path); got != want {
				t.Errorf("%s by %s: %d %s, want %d", path, name, got, body, want)
			}
		}
		if name == "prometheus" {
			if got, body := get(client(cfg), "/v1/keys"); got != 200 || strings.Contains(body, "\"keys\":[\"") {
				t.Errorf("role monitor lists %d %s", got, body)
			}
		}
	}
	var h struct {
		Ready bool
		Parts map[string]struct{ Ready bool }
	}
	cfg, _ := kmiptest.Config(s.Certs, "prometheus")
	if _, body := get(client(cfg), "/v1/health"); json.Unmarshal([]byte(body), &h) != nil || !h.Ready || !h.Parts["tls"].Ready {
		t.Errorf("%s", body)
	}

	// The token goes away: not ready, and live all the same.
	tokens := filepath.Join(s.Dir, "tokens")
	if err := os.Rename(tokens, tokens+".away"); err != nil {
		t.Fatal(err)
	}
	status := 200
	for end := time.Now().Add(30 * time.Second); status == 200 && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
		status, _ = get(nobody, "/v1/health/ready")
	}
	if live, _ := get(nobody, "/v1/health/live"); status != 503 || live != 200 {
		t.Errorf("without a token: ready %d, live %d; want 503 and 200", status, live)
	}
	if err := os.Rename(tokens+".away", tokens); err != nil {
		t.Fatal(err)
	}
}
