package server_test

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// What decides who may do what leaves a record when it changes: the settings at
// start, an authority that is added or taken away, and a file that was refused.
func TestTrustIsRecorded(t *testing.T) {
	s := servertest.Start(t)
	if got := records(t, s, "Start"); len(got) != 1 || !strings.Contains(got[0], "settings sha256 ") {
		t.Errorf("the start: %q", got)
	}
	start := len(records(t, s, "Trust Certificate"))
	if start < 2 { // the authority and the server's own
		t.Errorf("%d certificates were recorded at start", start)
	}
	other := t.TempDir()
	if err := certs.Init(other); err != nil {
		t.Fatal(err)
	}
	ca := filepath.Join(s.Certs, "ca.pem")
	own, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	added, err := os.ReadFile(filepath.Join(other, "certs", "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	reload := func(content []byte, works bool) {
		t.Helper()
		if err := os.WriteFile(ca, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := s.Command("policy", "reload", "--dir", s.Dir); (err == nil) != works {
			t.Errorf("reload: %v %s", err, out)
		}
	}
	names := "client authority " + certificateNames(pemCertificate(t, added))
	reload(append(append([]byte{}, own...), added...), true)
	if got := records(t, s, "Trust Certificate"); len(got) != start+1 || !strings.Contains(got[0], names) {
		t.Errorf("an authority that was added: %q; want %q", got, names)
	}
	reload(own, true)
	if got := records(t, s, "Distrust Certificate"); len(got) != 1 || !strings.Contains(got[0], names) {
		t.Errorf("an authority that was taken away: %q; want %q", got, names)
	}
	reload([]byte("nonsense"), false)
	if got := records(t, s, "Load Certificates"); len(got) != 1 || !strings.Contains(got[0], "failed") {
		t.Errorf("a file that was refused: %q", got)
	}
	reload(own, true)
	if got := records(t, s, "Trust Certificate"); len(got) != start+1 {
		t.Errorf("a reload that changed nothing: %d records", len(got)-start-1)
	}
}

// A record is found by every object that was involved: who wrapped with a key,
// and what a key was replaced by.
func TestRecordsAreFoundByEveryObject(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	key := aesKey(t, c)
	kek, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskWrapKey, activeNow))
	if err != nil {
		t.Fatal(err)
	}
	wrapping := kek.ID
	if _, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(key), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt,
		Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{ID: wrapping}}}); err != nil {
		t.Fatal(err)
	}
	next, err := kmiptest.Do(c, &kmip.ReKey, &core.RekeyInput{ID: core.ID(key)})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{key, next.ID} {
		if got := records(t, s, "Re-key", "--object", id); len(got) != 1 {
			t.Errorf("the Re-key by %s: %q", id, got)
		}
	}
	got := records(t, s, "Get", "--object", wrapping)
	if len(got) != 1 || !strings.Contains(got[0], key) || !strings.Contains(got[0], "with wrapping key "+wrapping) {
		t.Errorf("who wrapped with it: %q", got)
	}
	pair, err := kmiptest.Do(c, &kmip.CreateKeyPair, &core.CreateKeyPairInput{
		Common:  core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmEC)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}},
		Private: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}}, Public: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}})
	if err != nil {
		t.Fatal(err)
	}
	private, public := pairByREST(t, s)
	for _, id := range []string{pair.PrivateID, pair.PublicID, private, public} {
		if got := records(t, s, "Create Key Pair", "--object", id); len(got) != 1 {
			t.Errorf("the Create Key Pair by %s: %q", id, got)
		}
	}
}

// A running server records by itself that a date of a key was reached.
func TestARunningServerRecordsReachedDates(t *testing.T) {
	t.Parallel() // it waits for the loop, which comes round once a minute
	s := servertest.Start(t)
	ends := core.Attribute{Tag: core.TagDeactivationDate, Value: core.Date(time.Now().Add(2 * time.Second).Unix())}
	made, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, activeNow, ends))
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(time.Second) {
		got := records(t, s, "Date Reached", "--object", made.ID)
		if slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "Deactivation Date ") }) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the records are %q", got)
		}
	}
}

// pairByREST makes a key pair at the REST door and returns its two halves.
func pairByREST(t *testing.T, s *servertest.Server) (private, public string) {
	t.Helper()
	cfg, err := kmiptest.Config(s.Certs, "dev")
	if err != nil {
		t.Fatal(err)
	}
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, Timeout: 20 * time.Second}
	res, err := rest.Post("https://"+s.HTTPS+"/v1/keys", "application/json", strings.NewReader(`{"type":"pair","algorithm":"EC","length":256,"usage":["sign","verify"]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var made struct {
		ID       string `json:"id"`
		PublicID string `json:"public_id"`
	}
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil || made.ID == "" || made.PublicID == "" {
		t.Fatal(res.Status, err, made)
	}
	return made.ID, made.PublicID
}

// pemCertificate reads the certificate in a PEM file.
func pemCertificate(t *testing.T, file []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(file)
	if block == nil {
		t.Fatal("no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// certificateNames is how a record names a certificate: subject, serial, what else it
// says, and fingerprint.
func certificateNames(cert *x509.Certificate, more ...string) string {
	names := append([]string{"CN=" + cert.Subject.CommonName, "serial " + cert.SerialNumber.Text(16)}, more...)
	return strings.Join(append(names, fmt.Sprintf("sha256 %x", sha256.Sum256(cert.Raw))), ", ")
}
