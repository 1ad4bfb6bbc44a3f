package rules_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
)

// The members that are given replace settings whole, null takes one away, and all others stay.
func TestSettingsAreMergedByMember(t *testing.T) {
	for _, c := range []struct{ have, patch, want string }{
		{`{}`, `{"objects":5}`, `{"objects":5}`},
		{`{"objects":5,"requests":7}`, `{"objects":null}`, `{"requests":7}`},
		{`{"keyGroup":"ops"}`, `{"keyGroup":null,"sensitive":true}`, `{"sensitive":true}`},
		{`{"algorithms":{"AES":[128,256],"RSA":[]}}`, `{"algorithms":{"AES":[256]}}`, `{"algorithms":{"AES":[256]}}`},
		{`{"classes":["N","X"]}`, `{"classes":["C"]}`, `{"classes":["C"]}`},
		{`{"custody":["resident"],"compromisedMayProcess":false}`, `{"custody":null,"compromisedMayProcess":null}`, `{}`},
		{`{"connections":3}`, `{}`, `{"connections":3}`},
		{`{"software":false,"weakKeys":true,"bytes":9}`, `{"weakKeys":null}`, `{"software":false,"bytes":9}`},
	} {
		var have core.TenantSettings
		if err := json.Unmarshal([]byte(c.have), &have); err != nil {
			t.Fatal(err)
		}
		got, err := rules.MergeTenantSettings(have, []byte(c.patch))
		text, _ := json.Marshal(got)
		if err != nil || string(text) != c.want {
			t.Errorf("%s with %s is %s, %v; want %s", c.have, c.patch, text, err, c.want)
		}
	}
}

// Whatever could be read in two ways, or is out of bounds, is refused with the name of the
// setting.
func TestSettingsAreReadStrictly(t *testing.T) {
	for patch, names := range map[string]string{
		`{"classes":"C"}`: "classes must be a list", `{"algorithms":"AES"}`: "algorithms must be an object", `{"sensitive":"yes"}`: "sensitive must be true or false", `{"objects":"many"}`: "objects must be a whole number", `{"keyGroup":7}`: "keyGroup must be a text",
		``: "settings", `null`: "settings", `[]`: "settings", `7`: "settings", `{"objects":1`: "settings", `{"objects":1}{}`: "settings", `{"objects":1}x`: "settings",
		`{"object":1}`: "object", `{"Objects":1}`: "Objects", `{"objects":1,"objects":2}`: "settings", `{"algorithms":{"AES":[128],"AES":[256]}}`: "settings",
		`{"retentionDays":-1}`: "retentionDays", `{"retentionDays":3651}`: "retentionDays", `{"objects":"1"}`: "settings", `{"objects":1.5}`: "settings", `{"objects":-1}`: "objects", `{"bytes":-1}`: "bytes", `{"weakKeys":"yes"}`: "settings", `{"software":0}`: "settings", `{"requests":1e30}`: "settings", `{"connections":1000000000000001}`: "connections",
		`{"classes":["Z"]}`: "classes", `{"classes":["N","N"]}`: "classes", `{"classes":"N"}`: "settings", `{"custody":["data"]}`: "custody",
		`{"algorithms":{"aes":[256]}}`: "algorithms", `{"algorithms":{"Rot13":[]}}`: "algorithms", `{"algorithms":{"AES":[0]}}`: "algorithms.AES", `{"algorithms":{"AES":[256,256]}}`: "algorithms.AES",
		`{"keyGroup":"a b"}`: "keyGroup", `{"sensitive":1}`: "settings", `{"algorithms":{"AES":[[[[[1]]]]]}}`: "settings",
	} {
		if got, err := rules.MergeTenantSettings(core.TenantSettings{}, []byte(patch)); core.CodeOf(err) != core.InvalidField || !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %+v, %v; want Invalid Field that names %s", patch, got, err, names)
		}
	}
}

// RSA keys under 2048 bits are made only where they are allowed, and none under 1024 bits.
func TestWeakPairs(t *testing.T) {
	for bits := int32(512); bits <= 4352; bits += 256 {
		o := &core.ManagedObject{Type: core.ObjectTypePrivateKey, Attributes: core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmRSA)}, {Tag: core.TagCryptographicLength, Value: core.Int(bits)}}}
		for allowed, least := range map[bool]int32{false: 2048, true: 1024} {
			_, err := rules.PairSpec(o, allowed)
			if want := bits >= least && bits <= 4096; want != (err == nil) || err != nil && core.CodeOf(err) != core.InvalidField {
				t.Errorf("RSA of %d bits, weak keys allowed %v: %v; want that it is made: %v", bits, allowed, err, want)
			}
		}
	}
}

// Each allow-list refuses what it does not have, and only that.
func TestTenantAllows(t *testing.T) {
	aes := &core.ManagedObject{Type: core.ObjectTypeSymmetricKey, Attributes: core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)}}}
	secret := &core.ManagedObject{Type: core.ObjectTypeSecretData}
	wrapped := func(bits int) *core.KeySpec { return &core.KeySpec{Mode: core.ModeWrapped, Bits: bits} }
	for _, c := range []struct {
		settings string
		object   *core.ManagedObject
		spec     *core.KeySpec
		allowed  bool
	}{
		{`{}`, aes, wrapped(128), true},
		{`{"algorithms":{"AES":[]}}`, aes, wrapped(128), true},
		{`{"algorithms":{"AES":[256]}}`, aes, wrapped(256), true},
		{`{"algorithms":{"AES":[256]}}`, aes, wrapped(128), false},
		{`{"algorithms":{"AES":[256]}}`, aes, wrapped(0), false},
		{`{"algorithms":{"RSA":[]}}`, aes, wrapped(256), false},
		{`{"algorithms":{"RSA":[]}}`, secret, wrapped(256), true},
		{`{"custody":["wrapped"]}`, aes, wrapped(256), true},
		{`{"custody":["resident"]}`, aes, wrapped(256), false},
		{`{"custody":["resident"]}`, secret, &core.KeySpec{Mode: core.ModeData}, true},
	} {
		var row core.Tenant
		if err := json.Unmarshal([]byte(c.settings), &row); err != nil {
			t.Fatal(err)
		}
		err := rules.CheckTenantKey(&row, c.object, c.spec)
		if c.allowed != (err == nil) || err != nil && core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("%s, a %v of %d bits kept as %s: %v; allowed should be %v", c.settings, c.object.Type, c.spec.Bits, c.spec.Mode, err, c.allowed)
		}
	}
	for _, class := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
		row := &core.Tenant{TenantSettings: core.TenantSettings{Classes: []core.Class{core.ClassX}}}
		if err := rules.CheckTenantClass(row, class); (err == nil) != (class == core.ClassX) {
			t.Errorf("only class X is allowed, and class %s gets %v", class, err)
		}
		if err := rules.CheckTenantClass(core.TenantWithoutRow, class); err != nil {
			t.Errorf("a tenant without a row refuses class %s: %v", class, err)
		}
	}
}
