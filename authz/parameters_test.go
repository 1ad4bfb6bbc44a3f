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
