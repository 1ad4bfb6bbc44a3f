package authz_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// A denial of a parameter holds whether the request names the parameter, names it in
// another way, or leaves it to the default.
func TestDefaultsDoNotEscapeADenial(t *testing.T) {
	a, _ := withKeyPolicies(t, map[string]string{
		"noPKCS1":  `{"statements": [{"principal": "*", "actions": ["sign", "decrypt"], "effect": "deny", "conditions": {"parameters": {"padding": "PKCS1 v1.5"}}}]}`,
		"noOAEP":   `{"statements": [{"principal": "*", "actions": ["decrypt"], "effect": "deny", "conditions": {"parameters": {"padding": "OAEP"}}}]}`,
		"noSHA1":   `{"statements": [{"principal": "*", "actions": ["sign", "mac"], "effect": "deny", "conditions": {"parameters": {"hash": "SHA-1"}}}]}`,
		"noSHA256": `{"statements": [{"principal": "*", "actions": ["sign"], "effect": "deny", "conditions": {"parameters": {"hash": "SHA-256"}}}]}`,
		"noHMAC1":  `{"statements": [{"principal": "*", "actions": ["mac"], "effect": "deny", "conditions": {"parameters": {"algorithm": "HMAC-SHA1"}}}]}`,
	})
	type given = core.CryptographicParameters
	for _, c := range []struct {
		policy string
		action core.Action
		key    core.CryptographicAlgorithm
		asked  *given
		allow  bool
	}{
		{"noPKCS1", core.ActionSign, core.AlgorithmRSA, &given{PaddingMethod: core.PaddingMethodPKCS1V1_5}, false},
		{"noPKCS1", core.ActionSign, core.AlgorithmRSA, nil, false},
		{"noPKCS1", core.ActionSign, core.AlgorithmRSA, &given{HashingAlgorithm: core.HashSHA512}, false},
		{"noPKCS1", core.ActionSign, core.AlgorithmRSA, &given{DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmSHA256WithRSAEncryption}, false},
		{"noPKCS1", core.ActionSign, core.AlgorithmRSA, &given{PaddingMethod: core.PaddingMethodPSS}, true},
		{"noPKCS1", core.ActionSign, core.AlgorithmRSA, &given{DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmRSASSAPSS}, true},
		{"noPKCS1", core.ActionSign, core.AlgorithmEC, nil, true},
		{"noPKCS1", core.ActionDecrypt, core.AlgorithmRSA, &given{PaddingMethod: core.PaddingMethodPKCS1V1_5}, false},
		{"noPKCS1", core.ActionDecrypt, core.AlgorithmRSA, nil, true},
		{"noOAEP", core.ActionDecrypt, core.AlgorithmRSA, nil, false},
		{"noOAEP", core.ActionDecrypt, core.AlgorithmRSA, &given{PaddingMethod: core.PaddingMethodPKCS1V1_5}, true},
		{"noSHA1", core.ActionSign, core.AlgorithmRSA, &given{DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmSHA1WithRSAEncryption}, false},
		{"noSHA1", core.ActionSign, core.AlgorithmEC, &given{DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmECDSAWithSHA1}, false},
		{"noSHA1", core.ActionSign, core.AlgorithmRSA, nil, true},
		{"noSHA1", core.ActionMAC, core.AlgorithmHMACSHA1, nil, false},
		{"noSHA1", core.ActionMAC, core.AlgorithmHMACSHA256, nil, true},
		{"noSHA256", core.ActionSign, core.AlgorithmRSA, nil, false},
		{"noSHA256", core.ActionSign, core.AlgorithmEC, nil, false},
		{"noHMAC1", core.ActionMAC, core.AlgorithmHMACSHA256, &given{HashingAlgorithm: core.HashSHA1}, false},
		{"noHMAC1", core.ActionMAC, core.AlgorithmHMACSHA256, nil, true},
	} {
		o := object("alice", "")
		o.Type = core.ObjectTypePrivateKey
		o.Attributes = core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(c.key)}}
		r := askUnder(someone("t", "alice", ""), c.action, o, 1, c.policy)
		r.Asked.Parameters = c.asked
		if d, err := a.Decide(ctx, r); err != nil || d.Allow != c.allow {
			t.Errorf("%s: %v by %v with %+v: %+v, %v; want allow %v", c.policy, c.action, c.key, c.asked, d, err, c.allow)
		}
	}
}

// Statements about a new key judge its algorithm, length and uses. A permission names all the
// uses that the key may have, a denial any of them. A replacement has what the request leaves
// open from the old key. A request that names nothing is not permitted.
func TestParametersOfNewKeys(t *testing.T) {
	a, _ := withKeyPolicies(t, map[string]string{
		"strong": `{"exclusive": true, "statements": [{"principal": "*", "actions": ["create", "register", "rotate", "derive"], "effect": "allow", "conditions": {"parameters": {"algorithm": "AES", "length": [192, 256], "usage": ["Encrypt", "Decrypt"]}}}]}`,
		"noSign": `{"statements": [{"principal": "*", "actions": ["create", "register", "rotate", "derive"], "effect": "deny", "conditions": {"parameters": {"usage": ["Sign", "Export"]}}}]}`,
	})
	both := core.MaskEncrypt | core.MaskDecrypt
	type asked struct {
		alg    core.CryptographicAlgorithm
		length int32
		mask   core.UsageMask
	}
	for _, c := range []struct {
		policy string
		asked  asked
		allow  bool
	}{
		{"strong", asked{core.AlgorithmAES, 256, both}, true}, {"strong", asked{core.AlgorithmAES, 192, core.MaskDecrypt}, true},
		{"strong", asked{core.AlgorithmAES, 128, both}, false}, {"strong", asked{core.AlgorithmDES3, 192, both}, false},
		{"strong", asked{core.AlgorithmAES, 256, both | core.MaskExport}, false}, {"strong", asked{core.AlgorithmAES, 256, both | 1<<30}, false},
		{"strong", asked{core.AlgorithmAES, 256, 0}, false}, {"strong", asked{core.AlgorithmAES, 0, both}, false}, {"strong", asked{0, 256, both}, false},
		{"noSign", asked{core.AlgorithmAES, 256, both}, true}, {"noSign", asked{core.AlgorithmAES, 256, both | core.MaskSign}, false}, {"noSign", asked{core.AlgorithmAES, 256, 0}, true},
	} {
		for _, action := range []core.Action{core.ActionCreate, core.ActionRegister, core.ActionReKey, core.ActionDeriveKey} {
			var o *core.ManagedObject
			if action == core.ActionReKey || action == core.ActionDeriveKey {
				o = object("alice", "")
			}
			if action == core.ActionDeriveKey { // what the base is does not count
				o.Attributes = core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}, {Tag: core.TagCryptographicUsageMask, Value: core.Mask(both)}}
			}
			r := askUnder(someone("t", "alice", ""), action, o, 1, c.policy)
			r.Asked = core.Asked{Parameters: &core.CryptographicParameters{CryptographicAlgorithm: c.asked.alg}, Length: c.asked.length, UsageMask: c.asked.mask}
			if action == core.ActionReKey { // the same, of the old key
				r.Asked = core.Asked{}
				o.Attributes = core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(c.asked.alg)}, {Tag: core.TagCryptographicLength, Value: core.Int(c.asked.length)}, {Tag: core.TagCryptographicUsageMask, Value: core.Mask(c.asked.mask)}}
			}
			if d, err := a.Decide(ctx, r); err != nil || d.Allow != c.allow {
				t.Errorf("%s: %v of %+v: %+v, %v; want allow %v", c.policy, action, c.asked, d, err, c.allow)
			}
		}
	}
}
