package settings

import (
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/oidc"
)

// Every setting has bounds, and what lies beyond them is refused by its name.
func TestEverySettingHasBounds(t *testing.T) {
	c := Defaults()
	n := 0
	Each(reflect.ValueOf(&c).Elem(), "", func(path, bound string, v reflect.Value) {
		n++
		for _, bad := range outOfBounds(v) {
			was := reflect.New(v.Type()).Elem()
			was.Set(v)
			v.Set(bad)
			if err := fmt.Sprint(Check(&c)); !strings.Contains(err, path) || strings.Contains(err, "no bounds") {
				t.Errorf("%s = %.40q: %v; give its field the tag bound:\"...\" (see bounds.go), so that this is refused by its name", path, fmt.Sprint(bad), err)
			}
			v.Set(was)
		}
	})
	if errs := Check(&c); len(errs) > 0 {
		t.Errorf("the defaults: %v", errs)
	}
	if n < 30 {
		t.Errorf("%d settings were found", n)
	}
}

// outOfBounds makes values that no setting of a type may have.
func outOfBounds(v reflect.Value) []reflect.Value {
	to := func(x any) reflect.Value { return reflect.ValueOf(x).Convert(v.Type()) }
	switch v.Kind() {
	case reflect.Bool:
		return nil
	case reflect.Int, reflect.Int64, reflect.Int32:
		return []reflect.Value{to(-7), to(int64(1) << (v.Type().Bits() - 2)), to(int64(-1) << (v.Type().Bits() - 2))}
	case reflect.String:
		return []reflect.Value{to("a\x00b"), to("a\nb"), to("\xff"), to(strings.Repeat("x", 5000))}
	}
	switch v.Interface().(type) {
	case []string:
		return []reflect.Value{reflect.ValueOf([]string{"N", "X", "C"}), reflect.ValueOf([]string{"Q"})}
	case []authn.Mapping:
		return []reflect.Value{reflect.ValueOf([]authn.Mapping{{Tenant: "t", Name: "n"}}), reflect.ValueOf([]authn.Mapping{{Tenant: "t", Name: "n", Fingerprint: "9f86d0"}}),
			reflect.ValueOf([]authn.Mapping{{Tenant: "t", Name: "n\x00", SAN: "x"}})}
	case []authn.Authority:
		return []reflect.Value{reflect.ValueOf([]authn.Authority{{}}), reflect.ValueOf([]authn.Authority{{Fingerprint: "9f86d0"}}), reflect.ValueOf([]authn.Authority{{File: "a\x00"}}),
			reflect.ValueOf([]authn.Authority{{File: "x", Tenants: []string{"a b"}}})}
	case map[string]map[string]bool:
		return []reflect.Value{reflect.ValueOf(map[string]map[string]bool{"a": {"sensitive": true}}), reflect.ValueOf(map[string]map[string]bool{"a\x00": {}})}
	case map[string][]string:
		return []reflect.Value{reflect.ValueOf(map[string][]string{"a": {"Nonsense"}})}
	case []authn.SpeakerRule:
		return []reflect.Value{reflect.ValueOf([]authn.SpeakerRule{{}}), reflect.ValueOf([]authn.SpeakerRule{{Tenant: "t", Certificate: "a b", Users: []string{"*"}}})}
	case []authn.OCSPRule:
		return []reflect.Value{reflect.ValueOf([]authn.OCSPRule{{}}), reflect.ValueOf([]authn.OCSPRule{{Authority: "a", Responder: "http://ocsp.example", Mode: "sometimes"}})}
	case []ldap.Settings:
		return []reflect.Value{reflect.ValueOf([]ldap.Settings{{}}), reflect.ValueOf([]ldap.Settings{{URL: "ldap://example.com", BindDN: "cn=a", BindPasswordFile: "f", UserBase: "dc=b", Tenant: "t", NamePrefix: "l."}}), reflect.ValueOf(make([]ldap.Settings, 17))}
	case []oidc.Issuer:
		return []reflect.Value{reflect.ValueOf([]oidc.Issuer{{}}), reflect.ValueOf([]oidc.Issuer{{URL: "http://example.com", Audience: "keyreeve", Tenant: "t", NamePrefix: "i-"}}), reflect.ValueOf(make([]oidc.Issuer, 17))}
	}
	return []reflect.Value{reflect.New(v.Type()).Elem()} // a type that the test does not know: must say so
}

// The examples that once were taken.
func TestSettingsOutOfBounds(t *testing.T) {
	dir := t.TempDir()
	open, tight := filepath.Join(dir, "open"), filepath.Join(dir, "tight")
	for path, mode := range map[string]os.FileMode{open: 0o644, tight: 0o600} {
		if err := os.WriteFile(path, []byte("1234"), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
	}
	for what, c := range map[string]struct {
		set func(*Settings)
		bad string // "": taken
	}{
		"sessions -1":               {func(c *Settings) { c.HSM.Sessions = -1 }, "hsm.sessions"},
		"no sessions":               {func(c *Settings) { c.HSM.Sessions = 0 }, "hsm.sessions"},
		"handles -1":                {func(c *Settings) { c.HSM.Handles = -1 }, "hsm.handles"},
		"copies -2":                 {func(c *Settings) { c.HSM.Copies = -2 }, "hsm.copies"},
		"copies none":               {func(c *Settings) { c.HSM.Copies = -1 }, ""},
		"copy_ttl -5s":              {func(c *Settings) { c.HSM.CopyTTL = -5 * time.Second }, "hsm.copy_ttl"},
		"copy_ttl none":             {func(c *Settings) { c.HSM.CopyTTL = -time.Second }, ""},
		"a PIN that all can read":   {func(c *Settings) { c.HSM.PINFile = open }, "hsm.pin_file"},
		"a PIN of one's own":        {func(c *Settings) { c.HSM.PINFile = tight }, ""},
		"a key that all can read":   {func(c *Settings) { c.TLS.Key = open }, "tls.key"},
		"a password for all":        {func(c *Settings) { c.Store.URLFile = open }, "store.url_file"},
		"a port that is none":       {func(c *Settings) { c.KMIP = "127.0.0.1:70000" }, "kmip"},
		"a variable that is none":   {func(c *Settings) { c.HSM.PINEnv = "a b" }, "hsm.pin_env"},
		"a label that no token has": {func(c *Settings) { c.HSM.Token = strings.Repeat("x", 33) }, "hsm.token"},
		"all classes but one":       {func(c *Settings) { c.Keys.ForbidClasses = []string{"N", "X"} }, ""},
		"an operation without end":  {func(c *Settings) { c.Limits.Operation = 1 << 60 }, "limits.operation"},
		"a fingerprint with colons": {func(c *Settings) {
			c.TLS.Principals = []authn.Mapping{{Tenant: "t", Name: "n", Fingerprint: strings.TrimSuffix(strings.Repeat("ab:", 32), ":")}}
		}, ""},
	} {
		x := Defaults()
		c.set(&x)
		if err := fmt.Sprint(Check(&x)); (c.bad == "") != (err == "[]") || !strings.Contains(err, c.bad) {
			t.Errorf("%s: %s; want a refusal of %q", what, err, c.bad)
		}
	}
}
