package server_test

import (
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/json"
	"math/big"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/cmd/keyreeve/bundle"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/keys/keystest"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// diagnosis is what client doctor says of a client, as JSON and for people.
func diagnosis(t *testing.T, s *servertest.Server, name string, more ...string) (d server.ClientDiagnosis, text string) {
	t.Helper()
	args := append([]string{"doctor", name}, more...)
	if err := json.Unmarshal([]byte(ofClient(t, s, append(args, "--json")...)), &d); err != nil {
		t.Fatal(err)
	}
	return d, ofClient(t, s, args...)
}

// client doctor shows what a client sent that was refused, why, and what can be done, and no
// secret of it. What other clients and tenants sent is not shown.
func TestClientDoctor(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.DeclareTenant("acme")
	folder := filepath.Join(s.Dir, "array7")
	ofClient(t, s, "add", "array7", "--for", "generic", "--out", folder)
	config := bundleTLS(t, folder, "array7", bundle.FormPEM)
	if d, text := diagnosis(t, s, "array7"); !d.Enrolled || len(d.Requests)+len(d.Connections)+len(d.Hints) != 0 || !strings.Contains(text, "refused nothing") {
		t.Errorf("before anything was sent: %+v\n%s", d, text)
	}

	c := dialWith(t, s, config, core.V2_1)
	if err := discover(c); err != nil {
		t.Fatal(err)
	}
	const secret = "hunter2-SECRET-of-16"
	get := func() {
		if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID("no-such-key")}); kmiptest.Reason(err) != core.ReasonObjectNotFound {
			t.Fatalf("Get: %v", err)
		}
	}
	get()
	in := operation.EncryptInput{ID: core.ID("no-such-key"), Data: []byte(secret), IV: []byte(secret[:16]), AAD: []byte(secret)}
	if _, err := kmiptest.Do(c, &kmip.Encrypt, &in); err == nil {
		t.Fatal("Encrypt was done")
	}
	dev := dialWith(t, s, clientTLS(t, s, "dev"), core.V2_1)
	made, err := kmiptest.Do(dev, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(made.ID)}); err == nil {
		t.Fatal("another's key was read")
	}
	userCommand(t, s, "a long enough password", "add", "carla")
	c.Options.Credentials = []proof.Credential{{Type: core.CredentialTypeUsernameAndPassword, Username: "carla", Password: []byte(secret)}}
	if _, err := kmiptest.Do(c, &kmip.Encrypt, &in); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
		t.Fatalf("a wrong password: %v", err)
	}
	c.Options.Credentials = nil
	for range 20 {
		get()
	}
	other := dialWith(t, s, config, core.V1_4)
	if _, err := other.Send([]byte("GET / HTTP/1.1\r\nAuthorization: Bearer " + secret + "\r\n\r\n")); err != nil {
		t.Fatal(err)
	}

	d, text := diagnosis(t, s, "array7")
	if len(d.Requests) != 6 || d.LastSuccess == nil || d.LastSuccess.Operation != "Discover Versions" {
		t.Fatalf("%d requests, last success %+v:\n%s", len(d.Requests), d.LastSuccess, text)
	}
	for _, want := range []string{
		"Get: Object Not Found", `Unique Identifier: "no-such-key"`, "Data: (hidden, Byte String of 20 bytes)", "IV/Counter/Nonce: (hidden", "Credential Value: (hidden)",
		"it failed in this way 20 times", "the whole message, Encrypt: Authentication Not Successful", "the message is not TTLV", "KMIP 2.1", "127.0.0.1",
		"keyreeve client change array7 --group GROUP --key-group GROUP", "make a user with that name and password", "take KMIP over TLS (TTLV)", `Unique Identifier: "` + made.ID + `"`, "the policy on Get: denied: ",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in:\n%s", want, text)
		}
	}
	all, err := json.Marshal(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, leak := range []string{secret, secret[:8], hex.EncodeToString([]byte(secret))} {
		if strings.Contains(text+string(all), leak) {
			t.Errorf("%q is shown", leak)
		}
	}
	if n := recordsOf(t, s, "Diagnose Client", "socket", "allowed"); n < 4 {
		t.Errorf("%d records of it", n)
	}
	if d, text := diagnosis(t, s, "dev"); len(d.Requests) != 0 {
		t.Errorf("another client sent: %s", text)
	}
	if d, text := diagnosis(t, s, "array7", "--tenant", "acme"); len(d.Requests) != 0 || d.Enrolled {
		t.Errorf("another tenant's client sent: %s", text)
	}
	if out := ofClientCommand(t, s, false, "doctor", "array7", "--tenant", "nobody"); !strings.Contains(out, "there is no tenant") {
		t.Errorf("no tenant: %s", out)
	}
}

// A client whose certificate is refused is found by its name: one that was made elsewhere, and
// one that was revoked.
func TestClientDoctorOfRefusedCertificates(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	folder := filepath.Join(s.Dir, "array7")
	ofClient(t, s, "add", "array7", "--for", "generic", "--out", folder)
	good := bundleTLS(t, folder, "array7", bundle.FormPEM)

	foreign := good.Clone()
	made := selfSigned(t, "keyreeve://default/array7")
	foreign.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &made, nil } // whatever the server asks for
	try(t, s, foreign)
	d, text := diagnosis(t, s, "array7")
	if len(d.Connections) != 1 || d.Connections[0].Verified || !strings.Contains(text, "anyone can have made it") || !strings.Contains(text, "from an authority that tls.client_ca does not have") {
		t.Errorf("a foreign certificate: %s", text)
	}

	open := dialWith(t, s, good, core.V1_4)
	if err := discover(open); err != nil {
		t.Fatal(err)
	}
	ofClient(t, s, "revoke", "array7")
	if err := discover(open); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
		t.Errorf("a revoked client: %v", err)
	}
	try(t, s, good)
	d, text = diagnosis(t, s, "array7")
	if len(d.Connections) != 2 || !d.Connections[0].Verified || len(d.Requests) != 1 || !slices.ContainsFunc(d.Hints, func(h string) bool { return strings.Contains(h, "was revoked") }) {
		t.Errorf("a revoked client: %s", text)
	}
	if !strings.Contains(text, "Operation: Discover Versions") {
		t.Errorf("what a revoked client sent: %s", text)
	}
}

// try connects and sends a request, which may fail in any way.
func try(t *testing.T, s *servertest.Server, config *tls.Config) {
	t.Helper()
	c, err := kmiptest.Dial(s.KMIP, config, core.V1_4)
	if err != nil {
		return
	}
	defer c.Close()
	c.Conn.SetDeadline(time.Now().Add(10 * time.Second))
	discover(c)
}

// selfSigned returns a certificate that claims to be of a principal.
func selfSigned(t *testing.T, uri string) tls.Certificate {
	t.Helper()
	key := keystest.ECKey(t, elliptic.P256())
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "array7"}, URIs: []*url.URL{u}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
