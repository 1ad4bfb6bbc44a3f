package server_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	yaml "go.yaml.in/yaml/v4"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/servertest"
	serversettings "github.com/keyreeve/keyreeve/server/settings"
)

// The sample shows every setting with its default.
func TestSampleIsTheDefaults(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(servertest.Root(), "docs/config.sample.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var sample serversettings.Settings
	if err := yaml.Load(b, &sample, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	for _, empty := range []any{&sample.Keys.ForbidClasses, &sample.TLS.Principals, &sample.TLS.ClientOCSP, &sample.TLS.Authorities, &sample.Authentication.Issuers, &sample.Authentication.LDAP, &sample.Authentication.SpeaksFor, &sample.Keys.Tenants, &sample.Policy.Regions, &sample.Compat} {
		if v := reflect.ValueOf(empty).Elem(); v.Len() == 0 {
			v.SetZero() // nil, as in the defaults
		}
	}
	if want := serversettings.Defaults(); !reflect.DeepEqual(sample, want) {
		t.Errorf("the sample says\n%+v\nthe defaults are\n%+v", sample, want)
	}
	var all map[string]any
	if err := yaml.Load(b, &all); err != nil {
		t.Fatal(err)
	}
	typ := reflect.TypeOf(sample)
	for i := range typ.NumField() {
		name := typ.Field(i).Tag.Get("yaml")
		if name == "" {
			continue
		}
		if _, ok := all[name]; !ok {
			t.Errorf("the sample lacks %s", name)
		}
		if f := typ.Field(i).Type; f.Kind() == reflect.Struct {
			for j := range f.NumField() {
				if _, ok := all[name].(map[string]any)[f.Field(j).Tag.Get("yaml")]; !ok {
					t.Errorf("the sample lacks %s.%s", name, f.Field(j).Tag.Get("yaml"))
				}
			}
		}
	}
}

// All that is wrong with a file is said at once, and each by its name.
func TestBadConfigurations(t *testing.T) {
	for text, wants := range map[string][]string{
		"":                            {"dir must be set", "tls.certificate must be set", "hsm.module must be set", "hsm.pin_file", "store.url"},
		"kmpi: x":                     {"kmpi"},
		"hsm: {sesions: 3}":           {"sesions"},
		"kmip: nonsense":              {"kmip must be host:port"},
		"{kmip: a:1, https: a:1}":     {"kmip and https are both a:1"},
		"policy: {file: p}":           {"policy.tests"},
		"keys: {forbid_classes: [Q]}": {"forbid_classes"},
		"compat: {a: [Nonsense]}":     {"Nonsense"},
		"keys: {tenants: {a: {sensitive: true}}}":                       {"keys.tenants", "sensitive", "deactivated_may_process"},
		"keys: {tenants: {'': {}}}":                                     {"keys.tenants"},
		"keys: {tenants: {a: {compromised_may_process: maybe}}}":        {"line 1"},
		"authentication: {speaks_for: [{tenant: default, users: [a]}]}": {"authentication.speaks_for[0]"},
		"tls: {principals: [{name: a}]}":                                {"principals[0]"},
		"authentication: {token_lifetime: 2h, token_max_lifetime: 1h}":  {"authentication.token_lifetime", "authentication.token_max_lifetime"},
		"authentication: {token_max_lifetime: 13h}":                     {"authentication.token_max_lifetime"},
		"authentication: {issuers: [{issuer: 'https://a.example'}]}":    {"authentication.issuers[0].audience"},
		"authentication: {issuers: [{issuer: 'https://a.example', audience: k, tenant: t, name_prefix: s., algorithms: [HS256]}]}": {"authentication.issuers[0].algorithms", "HS256"},
		"tls: {crl_stale: maybe}":                        {"tls.crl_stale"},
		"authentication: {credentials: maybe}":           {"authentication.credentials"},
		"limits: {connections: 0, read: -1s}":            {"limits.connections", "limits.read"},
		"quotas: {objects: -1, tenant_requests: -5}":     {"quotas.objects", "quotas.tenant_requests"},
		"dir: a\ndir: b":                                 {"dir"},
		"dir: a\n---\ndir: b":                            {""},
		"hsm: [":                                         {""},
		"store: {url: 'postgres://u:secret@h/d'}":        {"store.url holds a password"},
		"store: {url: 'postgres://h/d?password=secret'}": {"store.url holds a password"},

		"policy: {regions: {a: [10.0.0.1/8]}}": {"policy.regions", "10.0.0.0/8"},
		"policy: {regions: {a: []}}":           {"policy.regions", "at least one range"},
		"policy: {regions: {'': [::/0]}}":      {"policy.regions", "name of a region"},
	} {
		path := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := server.LoadConfig(path)
		if err == nil {
			t.Errorf("%q was taken", text)
			continue
		}
		if strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: the error repeats the password: %v", text, err)
		}
		for _, w := range wants {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v; want it to say %q", text, err, w)
			}
		}
	}
}

// The examples of issuers and LDAP directories in the documents are settings.
func TestDocumentedIdentitySources(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(servertest.Root(), "docs/authentication.md"))
	if err != nil {
		t.Fatal(err)
	}
	issuers, directories := 0, 0
	for _, example := range regexp.MustCompile(`(?m)^    authentication:\n(?:     .*\n)+`).FindAllString(string(text), -1) {
		c, err := server.LoadConfig(write(t, filepath.Join(t.TempDir(), "c.yaml"), example))
		if err == nil || strings.Contains(err.Error(), "authentication.") {
			t.Errorf("%s\n%v; want no mistake in the example", example, err)
		}
		issuers, directories = issuers+len(c.Authentication.Issuers), directories+len(c.Authentication.LDAP)
	}
	if issuers != 2 || directories != 2 {
		t.Errorf("there are examples of %d issuers and %d directories; want two of each", issuers, directories)
	}
}

// A second document in the file could say something else; it is refused like
// any key that is not known.
func TestSecondDocument(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(servertest.Root(), "docs/config.sample.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "c.yaml")
	for _, more := range []string{"\n---\ndir: /elsewhere\n", "\n---\nnonsense: 1\n", "\n...\n---\n{}\n"} {
		if err := os.WriteFile(path, append(b, more...), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := server.LoadConfig(path); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%q behind the configuration: %v", more, err)
		}
	}
}

// Whatever becomes of the file by a slip, it is read or refused with a sentence.
func TestMutatedConfigurations(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile(filepath.Join(servertest.Root(), "docs/config.sample.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	b = append(b, "\ncompat: {dev: [State, Name]}\n"...)
	path := filepath.Join(t.TempDir(), "c.yaml")
	r := rand.New(rand.NewPCG(1, 2))
	bits := []string{"\t", ":", "- ", "{", "}", "[", "]", "&a ", "*a", "!!binary ", "!!int ", "\x00", "\xff", "|\n", "? ", "<<: ", "9223372036854775808", "-1", "null", "~", "1e400", "\n---\n", "%YAML 9\n", "'", "\""}
	for range 1500 {
		m := bytes.Clone(b)
		for range 1 + r.IntN(4) {
			at := r.IntN(len(m))
			switch r.IntN(4) {
			case 0:
				m = slices.Insert(m, at, []byte(bits[r.IntN(len(bits))])...)
			case 1:
				m = slices.Delete(m, at, min(len(m), at+1+r.IntN(30)))
			case 2:
				m[at] = byte(r.Uint32())
			default:
				end := min(len(m), at+1+r.IntN(80))
				m = slices.Insert(m, r.IntN(len(m)), bytes.Clone(m[at:end])...)
			}
		}
		if err := os.WriteFile(path, m, 0o600); err != nil {
			t.Fatal(err)
		}
		func() {
			defer func() {
				if p := recover(); p != nil {
					t.Fatalf("panic: %v\n%s", p, m)
				}
			}()
			if _, err := server.LoadConfig(path); err != nil && err.Error() == "" {
				t.Errorf("an error without a sentence for\n%s", m)
			}
		}()
	}
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i := range 9 {
		bomb += fmt.Sprintf("%c: &%c [%s]\n", 'b'+i, 'b'+i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*%c,", 'a'+i), 9), ","))
	}
	if err := os.WriteFile(path, []byte("tls:\n  principals: []\n"+bomb), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.LoadConfig(path); err == nil {
		t.Error("aliases of aliases are taken")
	}
}

// effect is how a setting shows from outside the part that it belongs to.
type effect struct {
	value any                                             // what the setting is set to
	probe func(t *testing.T, s *servertest.Server) string // what a client sees then
	want  string                                          // is in the answer with the value, and is not in it with the default
}

// settingEffects is tried on a server with the setting, and on one that has none of them.
var settingEffects = map[string]effect{
	"node":                         {"node77", auditJSON, `"node":"node77"`},
	"keys.sensitive":               {true, newKeyOf, "Sensitive:1"},
	"keys.not_extractable":         {true, newKeyOf, "Extractable:0"},
	"keys.forbid_classes":          {[]string{"C"}, creates(1), "refused"},
	"keys.unique_names":            {true, creates(2, kmiptest.Name("twice")), "refused"},
	"keys.retention":               {"48h", retentionOfDeleted, "48h0m0s"},
	"keys.deactivated_may_process": {false, decryptsAfter(core.RevocationReasonCodeCessationOfOperation), "deactivated_may_process"},
	"keys.compromised_may_process": {false, decryptsAfter(core.RevocationReasonCodeKeyCompromise), "compromised_may_process"},
	"keys.tenants":                 {map[string]any{"default": map[string]any{"compromised_may_process": false}}, decryptsAfter(core.RevocationReasonCodeKeyCompromise), "compromised_may_process"},
	"compat":                       {map[string]any{"dev": []string{"Object Type"}}, newKeyOf, "no Object Type"},
	"quotas.objects":               {1, creates(2), "refused"},
	"quotas.resident_keys":         {1, creates(2, resident), "refused"},
	"quotas.bytes":                 {1, creates(2), "refused"},
	"quotas.tenant_requests":       {1, creates(30), "refused"},
	"quotas.principal_requests":    {1, creates(30), "refused"},
	"limits.per_principal":         {2, connects(4), "refused"},
	"limits.per_tenant":            {2, connects(4), "refused"},
	"limits.handshake":             {"200ms", silent(false), "closed"},
	"limits.read":                  {"200ms", silent(true), "closed"},
	"limits.idle":                  {"200ms", idles, "closed"},
	"limits.write":                 {"300ms", readsNothing, "cut off"},
	"limits.memory_total_mib":      {64, logged, fmt.Sprintf("runtime_limit_mib=%d ", 256+password.CheckMemory()>>20)},

	"limits.memory_per_principal_mib": {16, figureAtRest("keyreeve_memory_principal_limit_bytes"), "keyreeve_memory_principal_limit_bytes 16777216"},
	"limits.search":                   {"10ms", searchesMuch, "the search did not end within 10ms"},

	"hsm.max_tenants": {1, createsForAnotherTenant, "refused"},
	"hsm.sessions":    {1, busySessions, "sessions: 1."},
	"hsm.handles":     {1, figureOf("keyreeve_hsm_cached_handles"), "keyreeve_hsm_cached_handles 1."},
	"hsm.copies":      {-1, figureOf("keyreeve_hsm_cached_copies"), "keyreeve_hsm_cached_copies 0."},
	"hsm.copy_ttl":    {"-1s", figureOf("keyreeve_hsm_cached_copies"), "keyreeve_hsm_cached_copies 0."},
}

// settingTests names, for every other setting, the test that shows its effect.
var settingTests = map[string]string{
	"dir": "TestCommandContract", "kmip": "TestWhatIsMissingIsNamed", "https": "TestWhatIsMissingIsNamed",
	"tls.certificate": "TestReloadCertificate", "tls.key": "TestWhatIsMissingIsNamed", "tls.client_ca": "TestAuthoritiesByReload", "tls.authorities": "TestGrantsByReload",
	"tls.client_crl": "TestRevocation", "tls.crl_stale": "TestStaleList", "tls.require_eku": "TestExtendedKeyUsage", "tls.old_suites": "TestSuites", "tls.principals": "TestMappings",
	"tls.expiry_warning": "TestExpiringCertificates", "tls.client_ocsp": "TestOCSP",
	"hsm.module": "TestWhatIsMissingIsNamed", "hsm.token": "TestWhatIsMissingIsNamed", "hsm.serial": "TestWhatIsMissingIsNamed", "hsm.pin_file": "TestWhatIsMissingIsNamed", "hsm.pin_env": "TestWhatIsMissingIsNamed",
	"hsm.allow_software": "TestAllowSoftware", "hsm.unwrap_pkcs1": "TestUnwrapPKCS1IsGuarded",
	"store.url": "TestInit", "store.url_file": "TestInit", "policy.file": "TestWhatIsMissingIsNamed", "policy.tests": "TestWhatIsMissingIsNamed", "policy.regions": "TestRegionsByReload", "policy.maxmind": "TestMaxMindByReload", "policy.approval_lifetime": "TestApprovalOverREST",
	"limits.connections": "TestConnectionBounds", "limits.per_peer": "TestConnectionBounds", "limits.waiting": "TestConnectionBounds", "limits.waiting_per_net": "TestConnectionBounds",
	"limits.operation": "TestHangingCallsAreAnswered", "tenants.delete_after": "TestDeletedTenant", "authentication.credentials": "TestCredentialsSetting",
	"authentication.token_lifetime": "TestBoundsOfTokens", "authentication.token_max_lifetime": "TestBoundsOfTokens", "authentication.tokens_per_principal": "TestBoundsOfTokens",
	"authentication.tokens_per_tenant": "TestBoundsOfTokens", "authentication.password_without_certificate": "TestTokenByPassword", "authentication.issuers": "TestTokensOfAnIssuer", "authentication.ldap": "TestPasswordsOfADirectory",
	"enrollment.certificate": "TestEnrollment", "enrollment.key": "TestAuthorityInHSM", "enrollment.lifetime": "TestEnrollment", "enrollment.invitation": "TestEnrollment", "enrollment.renewal": "TestRenewal",
	"authentication.speaks_for": "TestSpeaksForByTheDoors",
}

// Every setting has a row: a test that is named here and is there, or a value that
// shows from outside on a server that has it, and not on one with the default.
func TestEverySettingHasAnEffect(t *testing.T) {
	t.Parallel()
	there := testNames(t)
	for _, path := range settingPaths(reflect.TypeFor[serversettings.Settings](), "") {
		_, tried := settingEffects[path]
		if name := settingTests[path]; tried == (name != "") || !tried && !there[name] {
			t.Errorf("%s: give it a row in settingEffects, or the name of the test that shows its effect in settingTests (it has %q)", path, name)
		}
	}
	dir, fresh := installed(t)
	serve := func(s settings) *servertest.Server {
		s["hsm"].(map[string]any)["allow_software"] = true // as the development server that made the token
		return startInstalled(t, dir, s)
	}
	paths := slices.Sorted(maps.Keys(settingEffects))
	s := serve(fresh(t))
	for _, path := range paths {
		e := settingEffects[path]
		if got := e.probe(t, s); strings.Contains(got, e.want) {
			t.Errorf("%s: with the default the answer is %.300q, which is what the setting is to bring about", path, got)
		}
	}
	s.Kill()
	for _, path := range paths {
		e, set := settingEffects[path], fresh(t)
		section, name, nested := strings.Cut(path, ".")
		if !nested {
			set[section] = e.value
		} else {
			if set[section] == nil {
				set[section] = map[string]any{}
			}
			set.set(section, name, e.value)
		}
		s = serve(set)
		if got := e.probe(t, s); !strings.Contains(got, e.want) {
			t.Errorf("%s: %v: the answer is %.300q; want %q", path, e.value, got, e.want)
		}
		s.Kill()
	}
}

// settingPaths lists all settings by the names that they have in the file.
func settingPaths(typ reflect.Type, above string) (out []string) {
	for f := range typ.Fields() {
		name := f.Tag.Get("yaml")
		switch {
		case name == "":
		case f.Type.Kind() == reflect.Struct:
			out = append(out, settingPaths(f.Type, above+name+".")...)
		default:
			out = append(out, above+name)
		}
	}
	return out
}

// testNames are the names of all tests of the project.
func testNames(t *testing.T) map[string]bool {
	t.Helper()
	out := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	err := filepath.WalkDir(servertest.Root(), func(path string, _ os.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range declared.FindAllStringSubmatch(string(b), -1) {
			out[m[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func auditJSON(t *testing.T, s *servertest.Server) string {
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--limit", "0", "--json")
	if err != nil {
		t.Fatal(err, out)
	}
	return out[strings.LastIndex(strings.TrimSpace(out), "\n")+1:] + out[:strings.Index(out, "\n")] // the oldest and the newest
}

// newKeyOf tells what a new key has.
func newKeyOf(t *testing.T, s *servertest.Server) string {
	c := dial(t, s, "dev", core.V1_4)
	out, err := kmiptest.Do(c, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(aesKey(t, c))})
	if err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("Sensitive:%d Extractable:%d", out.Attributes.Num(core.TagSensitive), out.Attributes.Num(core.TagExtractable))
	if _, ok := out.Attributes.Get(core.TagObjectType); !ok {
		text += " no Object Type"
	}
	return text
}

// creates makes n keys at once and tells whether one was refused.
func creates(n int, more ...core.Attribute) func(*testing.T, *servertest.Server) string {
	return func(t *testing.T, s *servertest.Server) string {
		c := dial(t, s, "dev", core.V1_4)
		for range n {
			if _, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, more...)); err != nil {
				return "refused: " + err.Error()
			}
		}
		return "made"
	}
}

// decryptsAfter revokes a key and tells how Decrypt by it goes.
func decryptsAfter(why core.RevocationReasonCode) func(*testing.T, *servertest.Server) string {
	return func(t *testing.T, s *servertest.Server) string {
		c := dial(t, s, "dev", core.V2_1)
		id := core.ID(aesKey(t, c))
		if _, err := kmiptest.Do(c, &kmip.Activate, &operation.ActivateInput{ID: id}); err != nil {
			t.Fatal(err)
		}
		p := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC, PaddingMethod: core.PaddingMethodPKCS5}
		sealed, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: id, Parameters: p, Data: []byte("text"), IV: make([]byte, 16)})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := kmiptest.Do(c, &kmip.Revoke, &operation.RevokeInput{ID: id, Code: why}); err != nil {
			t.Fatal(err)
		}
		_, err = kmiptest.Do(c, &kmip.Decrypt, &operation.DecryptInput{ID: id, Parameters: p, Data: sealed.Data, IV: make([]byte, 16)})
		return fmt.Sprint(err)
	}
}

// connects opens connections of one client and tells whether all were served.
func connects(n int) func(*testing.T, *servertest.Server) string {
	return func(t *testing.T, s *servertest.Server) string {
		with := clientTLS(t, s, "dev")
		for range n {
			c, err := kmiptest.Dial(s.KMIP, with, core.V1_4)
			if err != nil {
				return "refused"
			}
			defer c.Close()
			if _, err := kmiptest.Do(c, &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}); err != nil {
				return "refused"
			}
		}
		return "served"
	}
}

// silent opens a connection, sends nothing or the begin of a message, and tells
// whether it is closed within two seconds.
func silent(begin bool) func(*testing.T, *servertest.Server) string {
	return func(t *testing.T, s *servertest.Server) string {
		raw, err := net.Dial("tcp", s.KMIP)
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		conn := raw
		if begin {
			with := clientTLS(t, s, "dev")
			shaken := tls.Client(raw, with)
			if _, err := shaken.Write([]byte{0x42, 0, 0x78, 1}); err != nil {
				t.Fatal(err)
			}
			conn = shaken
		}
		return endsWithin(conn, 2*time.Second)
	}
}

// endsWithin tells whether the server closes a connection in a time.
func endsWithin(c net.Conn, d time.Duration) string {
	c.SetReadDeadline(time.Now().Add(d))
	for b := make([]byte, 1024); ; {
		_, err := c.Read(b)
		if late, ok := err.(net.Error); ok && late.Timeout() {
			return "open"
		}
		if err != nil {
			return "closed"
		}
	}
}

// idles tells whether a connection that was used and is idle is closed.
func idles(t *testing.T, s *servertest.Server) string {
	c := dial(t, s, "dev", core.V1_4)
	if _, err := kmiptest.Do(c, &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}); err != nil {
		t.Fatal(err)
	}
	return endsWithin(c.Conn, 2*time.Second)
}

// figureOf uses three keys of class C and three of class N, and reads a figure of
// the server.
func figureOf(name string) func(*testing.T, *servertest.Server) string {
	return func(t *testing.T, s *servertest.Server) string {
		c := dial(t, s, "dev", core.V2_1)
		for i := range 6 {
			id := core.ID(aesKey(t, c, []core.Attribute{locked}[:i%2]...))
			if _, err := kmiptest.Do(c, &kmip.Activate, &operation.ActivateInput{ID: id}); err != nil {
				t.Fatal(err)
			}
			p := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCBC, PaddingMethod: core.PaddingMethodPKCS5}
			if _, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: id, Parameters: p, Data: []byte("text"), IV: make([]byte, 16)}); err != nil {
				t.Fatal(err)
			}
		}
		return fmt.Sprintf("%s %v.", name, figures(t, s)[name])
	}
}

// figureAtRest reads a figure of a server that has done nothing yet.
func figureAtRest(name string) func(*testing.T, *servertest.Server) string {
	return func(t *testing.T, s *servertest.Server) string {
		return fmt.Sprintf("%s %.0f", name, figures(t, s)[name])
	}
}

// searchesMuch searches 300 objects with 60 KB of attributes each by an attribute
// that no index has, and returns how that ended.
func searchesMuch(t *testing.T, s *servertest.Server) string {
	c := dial(t, s, "dev", core.V1_4)
	for range 300 {
		aesKey(t, c, largeAttributes()...)
	}
	_, err := kmiptest.Do(c, &kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskCRLSign)}}})
	return fmt.Sprint(err)
}

// largeAttributes are 60 KB of vendor attributes.
func largeAttributes() (large core.Attributes) {
	for i := range 15 {
		large = append(large, core.Attribute{Vendor: "x", Name: fmt.Sprint("large", i), Value: core.Text(strings.Repeat("a", 4<<10))})
	}
	return large
}

// busySessions lets clients make key pairs at once, each of which takes a session for long,
// and tells how many sessions the server has opened for it.
func busySessions(t *testing.T, s *servertest.Server) string {
	var clients [4]*kmiptest.Client
	for i := range clients {
		clients[i] = dial(t, s, "dev", core.V1_4)
	}
	coretest.AtOnce(len(clients), func(i int) {
		if _, err := kmiptest.Do(clients[i], &kmip.CreateKeyPair, pairOf(2048)); err != nil {
			t.Error(err)
		}
	})
	return fmt.Sprintf("sessions: %v.", figures(t, s)["keyreeve_hsm_sessions"])
}

// readsNothing asks for more than the sockets hold, reads nothing, and tells whether
// the server ends the connection within eight seconds, which is less than the default. On a
// busy machine the answers that fill the sockets take seconds themselves.
func readsNothing(t *testing.T, s *servertest.Server) string {
	c := dial(t, s, "dev", core.V1_4)
	id := core.ID(aesKey(t, c, largeAttributes()...))
	with := clientTLS(t, s, "dev")
	raw, err := unread(with, s.KMIP, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer raw.Close()
	msg := batchOf(t, 16, kmiptest.Item(&kmip.GetAttributes, &operation.GetAttributesInput{ID: id}))
	raw.SetWriteDeadline(time.Now().Add(10 * time.Second))
	for began := time.Now(); time.Since(began) < 8*time.Second; time.Sleep(50 * time.Millisecond) {
		if _, err := raw.Write(msg); err != nil {
			return "cut off"
		}
	}
	return "open"
}

// logged is what the server has said so far.
func logged(t *testing.T, s *servertest.Server) string {
	log, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	return string(log)
}

// createsForAnotherTenant declares a second tenant and makes a key for it.
func createsForAnotherTenant(t *testing.T, s *servertest.Server) string {
	const name = "another"
	if _, err := os.Stat(filepath.Join(s.Certs, name+".pem")); err != nil {
		s.Certify(certs.Request{Name: name, Tenant: name})
	}
	if out, err := s.Command("tenant", "create", name, "--dir", s.Dir); err != nil {
		return "refused: " + out
	}
	if _, err := kmiptest.Do(dial(t, s, name, core.V1_4), &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt)); err != nil {
		return "refused: " + err.Error()
	}
	return "made"
}
