package member

import (
	"slices"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/hsm/custody"
)

// A KEK that lacks a line of its template is found out by the attempts that the
// line is there for. What SoftHSM2 refuses whatever the template is not listed.
func TestAttemptsFindWeakKEKs(t *testing.T) {
	site := newSite(t)
	const wraps = hsm.Wrap | hsm.Unwrap
	kek := func(sensitive, extractable bool, uses hsm.Uses, more ...*p11.Attribute) []*p11.Attribute {
		return append(attributesOf(hsm.Template{Type: hsm.AES, Sensitive: sensitive, Extractable: extractable, Uses: uses, Bytes: 32}), more...)
	}
	noUnwrapTemplate := []string{"unwraps a key extractable", "unwraps a key extractable when told both", "unwraps a key of no stated extractability",
		"unwraps a key of no stated sensitivity", "unwraps a key readable", "unwraps a key that is not sensitive", "unwraps a public object"}
	for name, c := range map[string]struct {
		tmpl []*p11.Attribute
		want []string
	}{
		"readable and extractable": {kek(false, true, wraps),
			[]string{"lets the KEK be read", "wraps the KEK under another key", "wraps the KEK under itself", "copies the KEK with another CKA_SENSITIVE"}},
		"for every use": {kek(true, false, wraps|hsm.Encrypt|hsm.Decrypt|hsm.Sign|hsm.Derive),
			[]string{"lets the KEK encrypt by ECB", "lets the KEK decrypt by ECB", "lets the KEK encrypt by CBC", "lets the KEK decrypt by CBC", "lets the KEK encrypt by CTR",
				"lets the KEK decrypt by CTR", "lets the KEK encrypt by GCM", "lets the KEK decrypt by GCM", "lets the KEK make a CMAC", "derives a key from the KEK"}},
		"of every mechanism": {kek(true, false, wraps),
			[]string{"wraps under the KEK by 0x210A", "unwraps by 0x210A"}},
		"modifiable": {kek(true, false, wraps, mechanismList(uint64(ckmAESKeyWrap))),
			[]string{"lets CKA_DECRYPT of the KEK be changed", "lets CKA_LABEL of the KEK be changed", "lets CKA_ID of the KEK be changed",
				"copies the KEK with another CKA_DECRYPT", "copies the KEK with another CKA_MODIFIABLE"}},
		"without templates for what it wraps": {kek(true, false, wraps, mechanismList(uint64(ckmAESKeyWrap))),
			append(noUnwrapTemplate, "wraps a readable key under the KEK")},
	} {
		site.inSession(t, func(sh p11.SessionHandle) error {
			kek, err := site.module.conn.ctx.GenerateKey(sh, generatorOf(hsm.AES), c.tmpl)
			if err != nil {
				return err
			}
			got := attackKEK(site.module.conn, sh, custody.SetTemplate("N"), kek)
			for _, w := range c.want {
				if !slices.Contains(got, w) {
					t.Errorf("a KEK %s: that the token %q was not found; found %q", name, w, got)
				}
			}
			return nil
		})
	}
}
