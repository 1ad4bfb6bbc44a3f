package server_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

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
	reload(append(append([]byte{}, own...), added...), true)
	if got := records(t, s, "Trust Certificate"); len(got) != start+1 || !strings.Contains(got[0], "client authority") || !strings.Contains(got[0], "sha256 ") {
		t.Errorf("an authority that was added: %q", got)
	}
	reload(own, true)
	if got := records(t, s, "Distrust Certificate"); len(got) != 1 {
		t.Errorf("an authority that was taken away: %q", got)
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
	if len(got) != 1 || !strings.Contains(got[0], key) || !strings.Contains(got[0], "with "+wrapping) {
		t.Errorf("who wrapped with it: %q", got)
	}
}
