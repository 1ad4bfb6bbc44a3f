package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"reflect"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of the settings of a tenant.
const (
	maxAlgorithms = 64
	maxLengths    = 32
	maxKeyBits    = 1 << 16
	maxQuota      = 1_000_000_000_000_000

	maxRetentionDays = 3650
)

// checkSettings returns an error if a setting is out of its bounds.
func checkSettings(s *core.TenantSettings) error {
	if s.KeyGroup != "" && !core.ValidName(s.KeyGroup) {
		return core.Errorf(core.InvalidField, "keyGroup: %q is no name of a group", core.ClientText(s.KeyGroup))
	}
	for _, q := range []struct {
		name  string
		value int64
	}{{"objects", s.Objects}, {"residentKeys", s.ResidentKeys}, {"bytes", s.Bytes}, {"requests", s.Requests}, {"connections", s.Connections}} {
		if q.value < 0 || q.value > maxQuota {
			return core.Errorf(core.InvalidField, "%s: a quota is 1 to %d, or 0 for the server's, not %d", q.name, int64(maxQuota), q.value)
		}
	}
	if s.RetentionDays < 0 || s.RetentionDays > maxRetentionDays {
		return core.Errorf(core.InvalidField, "retentionDays: a deleted key can be restored for 1 to %d days, or 0 for the server's, not %d", maxRetentionDays, s.RetentionDays)
	}
	if err := checkAllowed("classes", s.Classes, core.ClassN, core.ClassX, core.ClassC); err != nil {
		return err
	}
	if err := checkAllowed("custody", s.Custody, core.ModeWrapped, core.ModeResident); err != nil {
		return err
	}
	return checkAlgorithms(s.Algorithms)
}

// MergeTenantSettings returns settings with the members of a JSON object in place of theirs. null
// takes a setting away. An unknown or repeated member, another case of a name, or anything
// behind the object is an error of code InvalidField.
func MergeTenantSettings(s core.TenantSettings, patch []byte) (core.TenantSettings, error) {
	if err := checkNamesOnce(patch); err != nil {
		return s, err
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(patch, &members); err != nil || members == nil {
		return s, errNoSettings
	}
	fields := reflect.ValueOf(&s).Elem()
	for name := range members {
		i := slices.Index(settingNames, name)
		if i < 0 {
			return s, core.Errorf(core.InvalidField, "settings: a tenant has no setting %q; it has %s", core.ClientText(name), strings.Join(settingNames, ", "))
		}
		fields.Field(i).SetZero() // otherwise null would keep a number, and a map would be merged
	}
	if err := json.Unmarshal(patch, &s); err != nil {
		return s, wrongForm(err)
	}
	return s, checkSettings(&s)
}

// wrongForm names the setting whose value has another form than it should have.
func wrongForm(err error) error {
	e, ok := errors.AsType[*json.UnmarshalTypeError](err)
	if !ok || e.Field == "" {
		return errNoSettings
	}
	forms := map[reflect.Kind]string{reflect.Slice: `a list, such as ["N","X"]`, reflect.Map: `an object, such as {"AES": [128, 256]}`, reflect.Bool: "true or false", reflect.String: "a text"}
	form, ok := forms[e.Type.Kind()]
	if !ok {
		form = "a whole number"
	}
	return core.Errorf(core.InvalidField, "settings: %s must be %s; see docs/TENANTS.md", core.ClientText(e.Field), form)
}

// settingNames has the name of each field of core.TenantSettings, in order.
var settingNames = namesOfSettings()

func namesOfSettings() (names []string) {
	t := reflect.TypeFor[core.TenantSettings]()
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
}

var errNoSettings = core.Errorf(core.InvalidField, "settings: this is no JSON object of the settings of a tenant; see docs/TENANTS.md")

// checkNamesOnce fails if text is not exactly one JSON object whose names, at every depth,
// differ.
func checkNamesOnce(text []byte) error {
	d := json.NewDecoder(bytes.NewReader(text))
	if err := scanValue(d, 0); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return errNoSettings
	}
	return nil
}

// maxSettingsDepth bounds how deep the settings are nested.
const maxSettingsDepth = 4

// scanValue reads one value and fails if an object in it has a name twice.
func scanValue(d *json.Decoder, depth int) error {
	token, err := d.Token()
	if err != nil || depth > maxSettingsDepth {
		return errNoSettings
	}
	open, nested := token.(json.Delim)
	if !nested {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if open == '{' {
			key, err := d.Token()
			name, ok := key.(string)
			if err != nil || !ok || seen[name] {
				return errNoSettings
			}
			seen[name] = true
		}
		if err := scanValue(d, depth+1); err != nil {
			return err
		}
	}
	if _, err := d.Token(); err != nil {
		return errNoSettings
	}
	return nil
}

// checkAllowed checks that a list has known values, each once.
func checkAllowed[T ~string](name string, given []T, known ...T) error {
	for i, v := range given {
		if !slices.Contains(known, v) || slices.Contains(given[:i], v) {
			return core.Errorf(core.InvalidField, "%s: %q is unknown or is there twice; known are %v", name, core.ClientText(string(v)), known)
		}
	}
	return nil
}

// checkAlgorithms checks the algorithms that a tenant allows.
func checkAlgorithms(allowed map[string][]int) error {
	if len(allowed) > maxAlgorithms {
		return core.Errorf(core.InvalidField, "algorithms: at most %d can be listed, not %d", maxAlgorithms, len(allowed))
	}
	for name, lengths := range allowed {
		alg, ok := core.TagCryptographicAlgorithm.Info().Enum.ByName(name)
		if !ok || core.CryptographicAlgorithm(alg).String() != name {
			return core.Errorf(core.InvalidField, "algorithms: %q is no Cryptographic Algorithm as the standard writes it; AES, RSA, EC and \"HMAC-SHA256\" are some", core.ClientText(name))
		}
		if len(lengths) > maxLengths {
			return core.Errorf(core.InvalidField, "algorithms.%s: at most %d lengths can be listed, not %d", name, maxLengths, len(lengths))
		}
		for i, bits := range lengths {
			if bits < 1 || bits > maxKeyBits || slices.Contains(lengths[:i], bits) {
				return core.Errorf(core.InvalidField, "algorithms.%s: %d is no length in bits from 1 to %d, or is there twice", name, bits, maxKeyBits)
			}
		}
	}
	return nil
}

// CheckTenantKey fails with PermissionDenied if the settings of a tenant do not allow a new
// key: its algorithm, its length or its mode. Certificates, Secret Data and Opaque Objects
// are no keys; only their mode counts. An algorithm with a list of lengths allows no key
// whose length is unknown.
func CheckTenantKey(t *core.Tenant, o *core.ManagedObject, s *core.KeySpec) error {
	if s.Mode != core.ModeData && len(t.Custody) > 0 && !slices.Contains(t.Custody, s.Mode) {
		return core.Errorf(core.PermissionDenied, "this tenant allows keys with x-keyreeve-custody %v, not %s (custody in the settings of the tenant)", t.Custody, s.Mode)
	}
	if len(t.Algorithms) == 0 || !isKey(o.Type) {
		return nil
	}
	lengths, ok := t.Algorithms[o.Algorithm().String()]
	if !ok {
		return core.Errorf(core.PermissionDenied, "this tenant allows no keys of algorithm %v (algorithms in the settings of the tenant)", o.Algorithm())
	}
	bits := s.Bits
	if bits == 0 {
		bits = int(o.Attributes.Num(core.TagCryptographicLength))
	}
	if len(lengths) > 0 && !slices.Contains(lengths, bits) {
		return core.Errorf(core.PermissionDenied, "this tenant allows keys of algorithm %v with %v bits, not %d (algorithms in the settings of the tenant)", o.Algorithm(), lengths, bits)
	}
	return nil
}

// isKey reports whether an object of a type is a key.
func isKey(t core.ObjectType) bool {
	switch t {
	case core.ObjectTypeSymmetricKey, core.ObjectTypePublicKey, core.ObjectTypePrivateKey, core.ObjectTypeSplitKey, core.ObjectTypePGPKey:
		return true
	}
	return false
}

// CheckTenantClass fails with PermissionDenied if the settings of a tenant do not allow new
// objects of a class.
func CheckTenantClass(t *core.Tenant, class core.Class) error {
	if len(t.Classes) > 0 && !slices.Contains(t.Classes, class) {
		return core.Errorf(core.PermissionDenied, "this tenant allows objects of the classes %v, not %s: ask for other values of Sensitive and Extractable (classes in the settings of the tenant)", t.Classes, class)
	}
	return nil
}
