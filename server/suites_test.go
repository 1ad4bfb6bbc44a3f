package server

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// certify makes the files of a server certificate for a key.
func certify(t *testing.T, c *Config, public, key any) {
	t.Helper()
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, public, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	c.TLS.Certificate, c.TLS.Key = filepath.Join(dir, "server.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{c.TLS.Certificate: {Type: "CERTIFICATE", Bytes: der}, c.TLS.Key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// offers reports whether a server takes a suite, by a handshake that offers
// nothing else.
func offers(t *testing.T, c *tls.Config, suite uint16) bool {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	defer server.Close()
	for _, side := range []net.Conn{client, server} {
		side.SetDeadline(time.Now().Add(20 * time.Second))
	}
	done := make(chan error, 1)
	go func() { done <- tls.Server(server, c).Handshake() }()
	conn := tls.Client(client, &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS12, MaxVersion: tls.VersionTLS12, CipherSuites: []uint16{suite}})
	err := conn.Handshake()
	if err != nil {
		client.Close()
		<-done
		return false
	}
	return <-done == nil && conn.ConnectionState().CipherSuite == suite
}

// Every suite of TLS 1.2 that Go has is tried by a handshake with either kind of
// certificate: those with CBC or RSA key exchange only work with old_suites.
func TestSuites(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	worked := map[bool]int{}
	for _, old := range []bool{false, true} {
		for kind, key := range map[string]any{"ECDSA": ec, "RSA": rs} {
			var c Config
			c.TLS.OldSuites = old
			if kind == "RSA" {
				certify(t, &c, &rs.PublicKey, key)
			} else {
				certify(t, &c, &ec.PublicKey, key)
			}
			served, err := c.serverTLS()
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
				if !slices.Contains(s.SupportedVersions, tls.VersionTLS12) {
					continue
				}
				ephemeral, cbc := strings.Contains(s.Name, "ECDHE"), strings.Contains(s.Name, "_CBC_")
				fits := strings.Contains(s.Name, "ECDSA") == (kind == "ECDSA")
				want := fits && !strings.Contains(s.Name, "RC4") && (old || (ephemeral && !cbc))
				if got := offers(t, served, s.ID); got != want {
					t.Errorf("old_suites %v, %s certificate: %s works %v, want %v", old, kind, s.Name, got, want)
				} else if got {
					worked[old]++
				}
			}
		}
	}
	if worked[false] != 6 || worked[true] <= 6 {
		t.Errorf("%v suites worked; want 6 without old_suites and more with it", worked)
	}
}

// The server's own files are read whole or not at all.
func TestServerFilesAreWhole(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var c Config
	certify(t, &c, &ec.PublicKey, ec)
	if _, err := c.serverTLS(); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{c.TLS.Certificate, c.TLS.Key} {
		good, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for what, text := range map[string][]byte{"garbage behind": append(slices.Clone(good), "x"...), "half a block behind": append(slices.Clone(good), good[:60]...), "cut off": good[:len(good)-10],
			"another block behind": append(slices.Clone(good), "-----BEGIN X-----\nAAAA\n-----END X-----\n"...), "text before": append([]byte("subject=x\n"), good...)} {
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := c.serverTLS(); err == nil || !strings.Contains(err.Error(), file) || !strings.Contains(err.Error(), "line ") {
				t.Errorf("%s, %s: %v; want an error with file and line", filepath.Base(file), what, err)
			}
		}
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}
