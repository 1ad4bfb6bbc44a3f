package hsm

import (
	"context"
	"os"
	"slices"
	"testing"

	p11 "github.com/miekg/pkcs11"
)

func devToken(t *testing.T) *Token {
	t.Helper()
	if _, err := SoftHSM(); err != nil {
		t.Skipf("%v (Debian: apt-get install softhsm2)", err)
	}
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "keyreeve-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	cfg, err := DevToken(dir)
	if err != nil {
		t.Fatal(err)
	}
	token, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { token.Close(context.Background()) })
	return token
}

// A KEK that lacks a line of its template is found out by the attempts that the
// line is there for. What SoftHSM2 refuses whatever the template is not listed.
func TestAttemptsFindWeakKEKs(t *testing.T) {
	token := devToken(t)
	any := map[uint]bool{p11.CKA_WRAP: true, p11.CKA_UNWRAP: true, p11.CKA_ENCRYPT: true, p11.CKA_DECRYPT: true, p11.CKA_SIGN: true, p11.CKA_DERIVE: true}
	wraps := map[uint]bool{p11.CKA_WRAP: true, p11.CKA_UNWRAP: true}
	size := p11.NewAttribute(p11.CKA_VALUE_LEN, 32)
	noUnwrapTemplate := []string{"unwraps a key extractable", "unwraps a key extractable when told both", "unwraps a key of no stated extractability",
		"unwraps a key of no stated sensitivity", "unwraps a key readable", "unwraps a key that is not sensitive", "unwraps a public object"}
	for name, c := range map[string]struct {
		tmpl []*p11.Attribute
		want []string
	}{
		"readable and extractable": {template(p11.CKO_SECRET_KEY, p11.CKK_AES, false, true, wraps, size),
			[]string{"lets the KEK be read", "wraps the KEK under another key", "wraps the KEK under itself", "copies the KEK with another CKA_SENSITIVE"}},
		"for every use": {template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, false, any, size),
			[]string{"lets the KEK encrypt by ECB", "lets the KEK decrypt by ECB", "lets the KEK encrypt by CBC", "lets the KEK decrypt by CBC", "lets the KEK encrypt by CTR",
				"lets the KEK decrypt by CTR", "lets the KEK encrypt by GCM", "lets the KEK decrypt by GCM", "lets the KEK make a CMAC", "derives a key from the KEK"}},
		"of every mechanism": {template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, false, wraps, size),
			[]string{"wraps under the KEK by 0x210A", "unwraps by 0x210A"}},
		"modifiable": {template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, false, wraps, size, mechanismList(ckmAESKeyWrap)),
			[]string{"lets CKA_DECRYPT of the KEK be changed", "lets CKA_LABEL of the KEK be changed", "lets CKA_ID of the KEK be changed",
				"copies the KEK with another CKA_DECRYPT", "copies the KEK with another CKA_MODIFIABLE"}},
		"without templates for what it wraps": {template(p11.CKO_SECRET_KEY, p11.CKK_AES, true, false, wraps, size, mechanismList(ckmAESKeyWrap)),
			append(noUnwrapTemplate, "wraps a readable key under the KEK")},
	} {
		err := token.do(context.Background(), "test", func(sh p11.SessionHandle) error {
			kek, err := token.lib.GenerateKey(sh, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_KEY_GEN, nil)}, c.tmpl)
			if err != nil {
				return err
			}
			got := token.attack(sh, "N", kek)
			for _, w := range c.want {
				if !slices.Contains(got, w) {
					t.Errorf("a KEK %s: that the token %q was not found; found %q", name, w, got)
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}

// With the templates that are used every attempt fails.
func TestTenantTemplatesHold(t *testing.T) {
	token := devToken(t)
	err := token.do(context.Background(), "test", func(sh p11.SessionHandle) error {
		for _, purpose := range []string{"N", "X"} {
			if got := token.tryBreaches(sh, purpose); len(got) > 0 {
				t.Errorf("class %s: the token %q", purpose, got)
			}
		}
		return nil
	})
	if err != nil || len(token.refusals) > 0 {
		t.Errorf("%v; refusals %q", err, token.refusals)
	}
}
