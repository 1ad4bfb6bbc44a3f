package server_test

import (
	"os"
	"path/filepath"
	"reflect"
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
		"":                               {"dir must be set", "tls.certificate must be set", "hsm.module must be set", "hsm.pin_file", "store.url"},
		"kmpi: x":                        {"kmpi"},
		"hsm: {sesions: 3}":              {"sesions"},
		"kmip: nonsense":                 {"kmip must be host:port"},
		"policy: {file: p}":              {"policy.tests"},
		"keys: {forbid_classes: [Q]}":    {"forbid_classes"},
		"compat: {a: [Nonsense]}":        {"Nonsense"},
		"tls: {principals: [{name: a}]}": {"principals[0]"},
		"hsm: [":                         {""},
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
		for _, w := range wants {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q: %v; want it to say %q", text, err, w)
			}
		}
	}
}
