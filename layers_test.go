package keyreeve_test

import (
	"fmt"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/keyreeve/keyreeve"

// layers says, for every package, which of our own it may import. It is the
// whole of the architecture: a new edge is a change to this table.
var layers = map[string][]string{
	".":                  {},
	"api":                {},
	"api/generate":       {},
	"core":               {},
	"core/cache":         {},
	"core/fair":          {"core"},
	"core/secretfile":    {},
	"core/jsontext":      {},
	"core/tables":        {"core/csvtable"},
	"core/csvtable":      {},
	"core/coretest":      {"core", "core/csvtable", "core/proof"},
	"core/proof":         {"core"},
	"core/rules":         {"core", "core/schedule"},
	"core/schedule":      {},
	"core/operation":     {"core"},
	"core/envelope":      {"core"},
	"engine":             {"core", "engine/canonical", "engine/ratewindow"},
	"engine/canonical":   {},
	"engine/ratewindow":  {},
	"core/tokentext":     {},
	"server/origin":      {"core", "core/proof"},
	"engine/objects":     {"core", "core/operation", "core/rules", "core/schedule", "engine", "engine/families"},
	"engine/uses":        {"core", "core/cache", "core/envelope", "core/fair", "core/operation", "core/rules", "engine"},
	"engine/attributes":  {"core", "core/fair", "core/operation", "core/rules", "engine"},
	"engine/about":       {"core", "core/operation", "core/rules", "engine"},
	"engine/admin":       {"core", "core/rules", "core/tokentext", "engine", "engine/canary", "engine/directory", "engine/families", "engine/replay"},
	"engine/jobs":        {"core", "engine", "engine/directory"},
	"engine/keyjobs":     {"core", "core/operation", "core/rules", "engine", "engine/jobs", "engine/objects"},
	"engine/upkeep":      {"core", "core/rules", "engine"},
	"engine/directory":   {"core", "core/tokentext"},
	"kmip":               {"core", "core/operation", "core/proof"},
	"kmip/kmiptest":      {"core", "core/operation", "kmip"},
	"kmip/redacted":      {"core"},
	"hsm":                {"core"},
	"hsm/member":         {"core", "core/cache", "core/fair", "core/secretfile", "hsm", "hsm/devtoken"},
	"hsm/devtoken":       {"core"},
	"hsm/custody":        {"core", "core/cache", "hsm", "keys/format", "keys/soft"},
	"keys/format":        {"core"},
	"keys/soft":          {"core"},
	"hsm/hsmtest":        {"core", "core/coretest", "hsm", "hsm/custody", "hsm/member"},
	"authz":              {"authz/fence", "authz/keypolicy", "authz/keypolicy/format", "authz/location", "core", "core/cache", "core/rules"},
	"authz/fence":        {},
	"authz/location":     {"core"},
	"store":              {"core", "core/fair", "store/dberror", "store/document", "store/migrations", "store/sqlitefile"},
	"store/dberror":      {"core"},
	"store/migrations":   {"core"},
	"store/sqlitefile":   {"core"},
	"store/document":     {"core", "core/jsontext"},
	"store/storetest":    {"core", "core/coretest"},
	"audit":              {"core", "core/jsontext"},
	"certs":              {"certs/identity", "certs/pemfile"},
	"certs/identity":     {},
	"certs/pemfile":      {},
	"server/authn":       {"certs/identity", "certs/pemfile", "core", "core/proof"},
	"server/bounds":      {"core"},
	"server/adminsocket": {"core", "engine/serverpolicy"},
	"server/boundedlog":  {},
	"server/exchanges":   {"certs/identity", "core", "core/cache", "kmip/redacted"},
	"server/settings":    {"authz/keypolicy/format", "core", "engine", "hsm/member", "server/authn", "server/authn/ldap", "server/authn/oidc"},
	"server/handshake":   {"certs/identity", "core", "server/bounds"},
	"server/metrics":     {"core", "engine"},
	"server/message":     {"core", "core/operation", "core/proof", "engine", "engine/about", "engine/attributes", "engine/batchundo", "engine/objects", "engine/uses", "kmip", "server/exchanges", "server/origin"},
	"server/kmipd":       {"core", "core/fair", "core/proof", "kmip", "server/bounds", "server/exchanges", "server/handshake", "server/origin"},
	"server/httpd":       {"api", "core", "core/rules", "core/tokentext", "engine", "engine/admin", "server/authn/password", "server/httpd/door"},
	"server":             {".", "audit", "authz", "certs", "certs/identity", "certs/pemfile", "core", "core/fair", "core/proof", "core/secretfile", "engine", "engine/admin", "engine/canarywatch", "engine/directory", "engine/importjobs", "engine/jobs", "engine/keyjobs", "engine/keyversions", "engine/rowsealer", "engine/serverpolicy", "engine/upkeep", "hsm/custody", "hsm/member", "keys/format", "keys/soft", "kmip", "server/adminsocket", "server/authn", "server/authn/bearer", "server/authn/ldap", "server/authn/oidc", "server/authn/password", "server/bounds", "server/exchanges", "server/handshake", "server/httpd", "server/httpd/door", "server/httpd/keyroutes", "server/kmipd", "server/message", "server/metrics", "server/settings", "store"},
	"server/servertest":  {"certs", "core/coretest"},
	"cmd/keyreeve":       {"cmd/keyreeve/cli"},
	"cmd/keyreeve/cli":   {"audit", "authz/keypolicy/format", "certs", "certs/identity", "certs/pemfile", "cmd/keyreeve/bench", "cmd/keyreeve/bundle", "cmd/keyreeve/client", "cmd/keyreeve/manual", "cmd/keyreeve/policyfiles", "core", "core/jsontext", "engine", "engine/upkeep", "server", "server/adminsocket", "server/boundedlog", "server/httpd"},
	"cmd/keyreeve/bench": {"core", "core/operation", "core/proof", "hsm/custody", "hsm/member", "kmip", "kmip/kmiptest", "store"},

	"server/httpd/door":      {"api", "audit", "core", "core/proof", "engine", "engine/directory", "server/bounds"},
	"server/httpd/keyroutes": {"api", "core", "core/operation", "core/rules", "engine/attributes", "engine/importjobs", "engine/objects", "engine/uses", "server/httpd/door"},

	"engine/batchundo":      {"core", "engine"},
	"engine/rowsealer":      {"core", "engine"},
	"engine/canary":         {"core"},
	"engine/replay":         {"core"},
	"engine/importjobs":     {"core", "core/operation", "engine", "engine/directory"},
	"engine/keyversions":    {"core", "engine"},
	"engine/families":       {"core"},
	"engine/canarywatch":    {"core", "engine"},
	"engine/serverpolicy":   {"core", "engine", "engine/directory"},
	"server/authn/bearer":   {"core", "core/proof", "core/tokentext"},
	"server/authn/password": {"core", "core/cache", "core/fair", "core/proof"},
	"server/authn/ldap":     {"certs/pemfile", "core", "core/secretfile"},

	"cmd/keyreeve/bundle":         {"certs/pemfile"},
	"cmd/keyreeve/policyfiles":    {"authz", "authz/keypolicy/format", "core"},
	"cmd/keyreeve/client":         {"api", "certs/pemfile", "cmd/keyreeve/client/filestream", "cmd/keyreeve/client/profile", "core/jsontext"},
	"cmd/keyreeve/client/profile": {"core/secretfile"},
	"cmd/keyreeve/manual":         {"cmd/keyreeve/client"},

	"cmd/keyreeve/client/filestream": {},

	// for tests alone
	"authz/location/locationtest": {},
	"keys/keystest":               {},
	"server/message/messagetest":  {".", "authz", "core", "core/coretest", "core/operation", "engine", "engine/objects", "keys/format", "keys/soft", "kmip", "kmip/kmiptest", "store", "store/storetest"},

	"authz/keypolicy":        {"authz/fence", "authz/keypolicy/format", "core", "core/cache"},
	"authz/keypolicy/format": {"core", "core/jsontext"},

	"server/authn/password/passwordtest": {"core"},

	"server/authn/oidc":          {"certs/pemfile", "core", "core/cache", "core/proof"},
	"server/authn/oidc/oidctest": {},
	"server/authn/ldap/ldaptest": {},
}

// owners names the only packages that may import a third-party module, or cgo.
var owners = map[string][]string{
	"github.com/go-jose/go-jose/v4":    {"server/authn/oidc", "server/authn/oidc/oidctest"},
	"github.com/go-ldap/ldap/v3":       {"server/authn/ldap", "server/authn/ldap/ldaptest"},
	"C":                                {"hsm/member"},
	"github.com/open-policy-agent/opa": {"authz", "authz/fence", "authz/keypolicy"},
	"github.com/go-asn1-ber/asn1-ber":  {"server/authn/ldap"},
	"github.com/miekg/pkcs11":          {"hsm/devtoken", "hsm/member"},
	"github.com/jackc/pgx/v5":          {"store", "store/dberror"},
	"github.com/gemalto/kmip-go":       {}, // an oracle of tests
	"github.com/mattn/go-sqlite3":      {"store", "store/dberror"},

	"github.com/oschwald/maxminddb-golang/v2": {"authz/location"},
	"software.sslmate.com/src/go-pkcs12":      {"cmd/keyreeve/bundle"},
}

// It reads the files itself: a test that asks "go list" is answered from the
// test cache after a forbidden import was added.
func TestLayers(t *testing.T) {
	eachFile(t, ".go", func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		pkg := filepath.ToSlash(filepath.Dir(path))
		if _, ok := layers[pkg]; !ok {
			t.Errorf("%s: package %s is not in the layers table", path, pkg)
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range f.Imports {
			imp, _ := strconv.Unquote(spec.Path.Value)
			if why := forbidden(pkg, imp); why != "" {
				t.Errorf("%s: %s", path, why)
			}
		}
	})
}

// forbidden says why a package may not import another; "" when it may.
func forbidden(pkg, imp string) string {
	if ours, ok := within(imp, module); ok {
		if !slices.Contains(layers[pkg], ours) {
			return fmt.Sprintf("%s may not import %s; it may import %v", pkg, ours, layers[pkg])
		}
		return ""
	}
	for mod, who := range owners {
		if _, ok := within(imp, mod); ok && !slices.Contains(who, pkg) {
			return fmt.Sprintf("only %v may import %s", who, imp)
		}
	}
	return ""
}

// The rules find what is planted.
func TestForbidden(t *testing.T) {
	for _, c := range []struct {
		pkg, imp string
		may      bool
	}{
		{"core", module + "/store", false}, {"core", module, false}, {"engine", module + "/hsm", false}, {"engine", module + "/core", true},
		{"kmip", module + "/engine", false}, {"server/httpd", module + "/kmip", false}, {"nowhere", module + "/core", false},
		{"core", "github.com/open-policy-agent/opa/v1/rego", false}, {"authz", "github.com/open-policy-agent/opa/v1/rego", true},
		{"server", "github.com/mattn/go-sqlite3", false}, {"kmip", "C", false}, {"hsm/member", "C", true}, {"hsm/custody", "C", false}, {"hsm/custody", "github.com/miekg/pkcs11", false}, {"hsm/custody", module + "/hsm/member", false}, {"core", "strings", true},
	} {
		if why := forbidden(c.pkg, c.imp); (why == "") != c.may {
			t.Errorf("%s importing %s: %q; want allowed %v", c.pkg, c.imp, why, c.may)
		}
	}
}

// No edge of the table leads back to where it came from.
func TestLayersHaveNoCycle(t *testing.T) {
	var walk func(pkg string, way []string)
	walk = func(pkg string, way []string) {
		if slices.Contains(way, pkg) {
			t.Fatalf("a circle: %v -> %s", way, pkg)
		}
		if _, ok := layers[pkg]; !ok {
			t.Errorf("%v may import %s, which is not in the table", way, pkg)
		}
		for _, next := range layers[pkg] {
			walk(next, append(slices.Clone(way), pkg))
		}
	}
	for pkg := range layers {
		walk(pkg, nil)
	}
}

// Every package has exactly one package comment.
func TestPackageComments(t *testing.T) {
	docs := map[string]int{}
	eachFile(t, ".go", func(path string) {
		if strings.HasSuffix(path, "_test.go") {
			return
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.PackageClauseOnly|parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		pkg := filepath.Dir(path)
		docs[pkg] += 0
		if f.Doc != nil && !strings.HasPrefix(f.Doc.Text(), "go:build") {
			docs[pkg]++
		}
	})
	for pkg, n := range docs {
		if n != 1 {
			t.Errorf("package %s has %d package comments, want 1", pkg, n)
		}
	}
}

var link = regexp.MustCompile(`\]\(([^)#:]+)(#[^)]*)?\)`)

// Every relative link in the documents leads somewhere.
func TestLinks(t *testing.T) {
	eachFile(t, ".md", func(path string) {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range link.FindAllStringSubmatch(string(b), -1) {
			if _, err := os.Stat(filepath.Join(filepath.Dir(path), m[1])); err != nil {
				t.Errorf("%s links to %s, which is not there", path, m[1])
			}
		}
	})
}

func eachFile(t *testing.T, ext string, f func(path string)) {
	t.Helper()
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if n := d.Name(); path != "." && (strings.HasPrefix(n, ".") || n == "testdata" || n == "dev" || n == "bin") {
				return filepath.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) == ext {
			f(path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// within reports whether import path imp is in the module mod, and where in it.
func within(imp, mod string) (string, bool) {
	if imp == mod {
		return ".", true
	}
	return strings.CutPrefix(imp, mod+"/")
}
