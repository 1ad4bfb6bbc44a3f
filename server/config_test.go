package server_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	yaml "go.yaml.in/yaml/v4"

	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// The sample shows every setting with its default.
func TestSampleIsTheDefaults(t *testing.T) {
	b, err := os.ReadFile(filepath.Join(servertest.Root(), "docs/config.sample.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var sample server.Config
	if err := yaml.Load(b, &sample, yaml.WithKnownFields()); err != nil {
		t.Fatal(err)
	}
	for _, c := range []*server.Config{&sample} {
		if len(c.Keys.ForbidClasses) == 0 {
			c.Keys.ForbidClasses = nil
		}
		if len(c.TLS.Principals) == 0 {
			c.TLS.Principals = nil
		}
		if len(c.TLS.Authorities) == 0 {
			c.TLS.Authorities = nil
		}
		if len(c.Keys.Tenants) == 0 {
			c.Keys.Tenants = nil
		}
		if len(c.Compat) == 0 {
			c.Compat = nil
		}
	}
	if want := server.Defaults(); !reflect.DeepEqual(sample, want) {
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
		"keys: {tenants: {a: {sensitive: true}}}":                {"keys.tenants", "sensitive", "deactivated_may_process"},
		"keys: {tenants: {'': {}}}":                              {"keys.tenants"},
		"keys: {tenants: {a: {compromised_may_process: maybe}}}": {"line 1"},
		"tls: {principals: [{name: a}]}":                         {"principals[0]"},
		"tls: {crl_stale: maybe}":                                {"tls.crl_stale"},
		"limits: {connections: 0, read: -1s}":                    {"limits.connections", "limits.read"},
		"quotas: {objects: -1, tenant_requests: -5}":             {"quotas.objects", "quotas.tenant_requests"},
		"dir: a\ndir: b":                                         {"dir"},
		"dir: a\n---\ndir: b":                                    {""},
		"hsm: [":                                                 {""},
		"store: {url: 'postgres://u:secret@h/d'}":                {"store.url holds a password"},
		"store: {url: 'postgres://h/d?password=secret'}":         {"store.url holds a password"},
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
