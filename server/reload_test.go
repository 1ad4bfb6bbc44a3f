package server_test

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// A new server certificate is served after SIGHUP, at both doors; sessions from
// before it are still resumed; one that cannot be used leaves the old in force.
func TestReloadCertificate(t *testing.T) {
	s := servertest.Start(t)
	cfg, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	old := shake(t, s.KMIP, cfg).PeerCertificates[0].SerialNumber

	fresh := renew(t, s.Certs)
	hangUp(t, s, "level=INFO msg=reload")
	if st := shake(t, s.KMIP, cfg); !st.DidResume {
		t.Error("the session from before the reload was not resumed")
	}
	cfg.ClientSessionCache = nil
	for _, door := range []string{s.KMIP, s.HTTPS} {
		if got := shake(t, door, cfg).PeerCertificates[0].SerialNumber; got.Cmp(fresh) != 0 || got.Cmp(old) == 0 {
			t.Errorf("%s serves certificate %v, want the new %v, not the old %v", door, got, fresh, old)
		}
	}

	if err := os.WriteFile(filepath.Join(s.Certs, "server.pem"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangUp(t, s, "tls.certificate")
	if got := shake(t, s.KMIP, cfg).PeerCertificates[0].SerialNumber; got.Cmp(fresh) != 0 {
		t.Errorf("after a certificate that cannot be used the server has %v, want %v", got, fresh)
	}
}

// shake connects, waits for the session ticket by a question, and hangs up.
func shake(t *testing.T, addr string, cfg *tls.Config) tls.ConnectionState {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	conn.Read(make([]byte, 1)) // takes the ticket in; nothing else comes
	return conn.ConnectionState()
}

// renew replaces the server's certificate and key by new ones of the same authority.
func renew(t *testing.T, dir string) *big.Int {
	t.Helper()
	der := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		return block.Bytes
	}
	ca, err := x509.ParseCertificate(der("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	caKey, err := x509.ParsePKCS8PrivateKey(der("ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der("server.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(caKey.(*ecdsa.PrivateKey).Curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf.SerialNumber = big.NewInt(4711)
	cert, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"server.pem": {Type: "CERTIFICATE", Bytes: cert}, "server-key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return leaf.SerialNumber
}

// hangUp sends SIGHUP and waits until the log says what came of it.
func hangUp(t *testing.T, s *servertest.Server, want string) {
	t.Helper()
	before, _ := os.ReadFile(s.Log)
	s.Signal(syscall.SIGHUP)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if log, _ := os.ReadFile(s.Log); strings.Contains(string(log[len(before):]), want) {
			return
		}
	}
	log, _ := os.ReadFile(s.Log)
	t.Fatalf("after SIGHUP the log does not say %q:\n%s", want, log)
}
