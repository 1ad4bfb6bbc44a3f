package server_test

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// strangers makes a certificate of a tenant that nobody has declared.
func strangers(t *testing.T, s *servertest.Server, tenant string) {
	t.Helper()
	s.Certify(certs.Request{Name: tenant, Tenant: tenant})
}

// askREST sends one request to the REST door with the certificate of a client, on a
// connection of its own. It returns the status and the answer.
func askREST(t *testing.T, s *servertest.Server, client, method, path, body string) (int, string) {
	t.Helper()
	cfg, err := kmiptest.Config(s.Certs, client)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(method, "https://"+s.HTTPS+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
	res, err := c.Do(req)
	if err != nil {
		t.Fatalf("the REST door does not answer: %v", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(answer)
}

// A certificate of a tenant that is not declared is refused at both doors, with a
// record and a sentence that says what to do, and no key is made in the token. Once
// the tenant is declared, the same certificate works, without a restart and after one.
func TestUndeclaredTenantIsRefused(t *testing.T) {
	s := servertest.Start(t)
	strangers(t, s, "acme")
	keys := tokenFiles(t, s.Dir)
	refused := func() {
		t.Helper()
		if err := discover(dial(t, s, "acme", core.V1_4)); err == nil || !strings.Contains(err.Error(), "keyreeve tenant create acme") {
			t.Errorf("KMIP: %v", err)
		}
		if status, body := askREST(t, s, "acme", http.MethodGet, "/v1/keys", ""); status != http.StatusUnauthorized || !strings.Contains(body, "keyreeve tenant create acme") {
			t.Errorf("REST: %d %s", status, body)
		}
	}
	refused()
	if n := tokenFiles(t, s.Dir); n != keys {
		t.Errorf("the token had %d objects and has %d", keys, n)
	}
	if out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Login", "--outcome", "denied"); err != nil || strings.Count(out, "keyreeve tenant create acme") != 2 {
		t.Errorf("records of the refusals: %v\n%s", err, out)
	}
	for _, want := range []string{"tenant acme is declared\n", "tenant acme was declared before\n"} {
		if out, err := s.Command("tenant", "create", "acme", "--dir", s.Dir); err != nil || out != want {
			t.Errorf("tenant create: %q, %v; want %q", out, err, want)
		}
	}
	if n := tokenFiles(t, s.Dir); n != keys+7 {
		t.Errorf("the token had %d objects and has %d, want 7 more", keys, n)
	}
	id := aesKey(t, dial(t, s, "acme", core.V1_4))
	if status, body := askREST(t, s, "acme", http.MethodGet, "/v1/keys/"+id, ""); status != http.StatusOK {
		t.Errorf("REST: %d %s", status, body)
	}
	if out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Create Tenant", "--limit", "1"); err != nil || !strings.Contains(out, "system/socket Create Tenant") || !strings.Contains(out, "tenant acme") {
		t.Errorf("the record: %v\n%s", err, out)
	}
	s.Signal(syscall.SIGTERM)
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	s.Run()
	if status, body := askREST(t, s, "acme", http.MethodGet, "/v1/keys/"+id, ""); status != http.StatusOK {
		t.Errorf("after a restart, REST: %d %s", status, body)
	}
	for _, name := range []string{"system", "a/b", ""} {
		if out, err := s.Command("tenant", "create", name, "--dir", s.Dir); err == nil || strings.Count(out, "\n") != 1 {
			t.Errorf("tenant create %q: %s", name, out)
		}
	}
}

// cert issue declares the tenant on the running server, or at its next start.
func TestCertIssueDeclaresItsTenant(t *testing.T) {
	s := servertest.Start(t)
	issue := func(tenant string) {
		t.Helper()
		if out, err := s.Command("cert", "issue", "--dir", s.Dir, "--name", tenant, "--tenant", tenant); err != nil || out != filepath.Join(s.Certs, tenant+".pem")+"\n" {
			t.Fatalf("%v: %s", err, out)
		}
	}
	issue("running")
	aesKey(t, dial(t, s, "running", core.V1_4))
	s.Signal(syscall.SIGTERM)
	if err := s.Wait(); err != nil {
		t.Error(err)
	}
	issue("stopped")
	s.Run()
	aesKey(t, dial(t, s, "stopped", core.V1_4))
	out, err := s.Command("tenant", "list", "--dir", s.Dir, "--json")
	if err != nil || strings.Count(out, `"state":"declared"`) != 3 {
		t.Errorf("tenant list: %v\n%s", err, out)
	}
}

// A row that declares a tenant and was not written by keyreeve declares nobody.
func TestForgedTenantIsRefused(t *testing.T) {
	s := servertest.Start(t)
	strangers(t, s, "eve")
	statement(t, filepath.Join(s.Dir, "keyreeve.db"), "INSERT INTO tenant_key (number, tenant, epoch, state, checks, seal) SELECT 9, 'eve', 1, 'active', checks, seal FROM tenant_key")
	if err := discover(dial(t, s, "eve", core.V1_4)); err == nil {
		t.Error("KMIP lets a forged tenant in")
	}
	if status, body := askREST(t, s, "eve", http.MethodGet, "/v1/keys", ""); status < 400 {
		t.Errorf("REST: %d %s", status, body)
	}
	if out, err := s.Command("health", "--dir", s.Dir); !strings.Contains(out, "changed behind the server") {
		t.Errorf("health: %v\n%s", err, out)
	}
}

// What one node declares, the other serves at once.
func TestTenantOfAnotherNode(t *testing.T) {
	url := storetest.Postgres(t)
	one := servertest.Start(t, "KEYREEVE_DEV_STORE="+url)
	two := secondNode(t, one, url)
	strangers(t, one, "acme")
	if err := discover(dial(t, two, "acme", core.V1_4)); err == nil {
		t.Error("a tenant that nobody declared is let in")
	}
	one.DeclareTenant("acme")
	aesKey(t, dial(t, two, "acme", core.V1_4))
}

// Keys of a tenant that the token has lost do not keep the server from starting.
// Health says so, and other tenants are served.
func TestLostTenantKeysAreNoticed(t *testing.T) {
	s := servertest.Start(t)
	before := objectFiles(t, s)
	s.Issue(certs.Request{Name: "acme", Tenant: "acme"})
	s.Kill()
	for _, file := range objectFiles(t, s) {
		if !slices.Contains(before, file) {
			os.Remove(file)
		}
	}
	s.Run()
	aesKey(t, dial(t, s, "dev", core.V1_4))
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		out, err := s.Command("health", "--dir", s.Dir)
		if err == nil && strings.Contains(out, "hsm     degraded") && strings.Contains(out, "the keys of tenant acme cannot be used") {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("health: %v\n%s", err, out)
		}
	}
	if out, err := s.Command("doctor", "--dir", s.Dir); !strings.Contains(out, "the keys of tenant acme cannot be used") {
		t.Errorf("doctor: %v\n%s", err, out)
	}
}

// objectFiles lists the files of the token's objects.
func objectFiles(t *testing.T, s *servertest.Server) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(s.Dir, "tokens", "*", "*.object"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// A start takes no longer with more tenants: the token is not asked about them.
func TestStartWithManyTenants(t *testing.T) {
	n := 5
	if soaking() > 0 {
		n = 100
	}
	s := servertest.Start(t)
	for i := range n {
		s.DeclareTenant(fmt.Sprint("t", i))
	}
	s.Kill()
	began := time.Now()
	s.Run()
	t.Logf("%d tenants: ready after %v", n, time.Since(began).Round(time.Millisecond))
	out, err := s.Command("tenant", "list", "--dir", s.Dir, "--json")
	if err != nil || strings.Count(out, `"loaded":false`) < n {
		t.Errorf("keys were loaded at start: %v\n%s", err, out)
	}
}
