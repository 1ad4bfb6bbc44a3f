package server

import (
	"crypto/tls"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// A policy comes from a file of reasonable size, and from nothing else.
func TestPolicyFileIsBounded(t *testing.T) {
	dir := t.TempDir()
	good, large := filepath.Join(dir, "good"), filepath.Join(dir, "large")
	if err := os.WriteFile(good, []byte("package x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, make([]byte, maxPolicy+1), 0o600); err != nil {
		t.Fatal(err)
	}
	for path, ok := range map[string]bool{good: true, large: false, dir: false, "/dev/zero": false, filepath.Join(dir, "none"): false} {
		var c Config
		c.Policy.File, c.Policy.Tests = path, good
		if _, _, err := c.loadPolicy(); (err == nil) != ok {
			t.Errorf("policy.file %s: %v", path, err)
		}
		c.Policy.File, c.Policy.Tests = good, path
		if _, _, err := c.loadPolicy(); (err == nil) != ok {
			t.Errorf("policy.tests %s: %v", path, err)
		}
	}
}

// tls.old_suites offers what its comment says and nothing worse.
func TestOldSuites(t *testing.T) {
	ids := oldSuites()
	if !slices.Contains(ids, tls.TLS_RSA_WITH_AES_128_CBC_SHA) || !slices.Contains(ids, tls.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256) {
		t.Errorf("old suites are not offered: %v", ids)
	}
	for _, id := range ids {
		if strings.Contains(tls.CipherSuiteName(id), "RC4") {
			t.Errorf("%s is offered", tls.CipherSuiteName(id))
		}
	}
}
