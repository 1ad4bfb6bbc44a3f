package server_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/keys/keystest"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// A new server certificate is served after SIGHUP, at both doors; sessions from
// before it are still resumed; one that cannot be used leaves the old in force.
func TestReloadCertificate(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	cfg := clientTLS(t, s, "dev")
	cfg.ClientSessionCache = tls.NewLRUClientSessionCache(4)
	old := shake(t, s.KMIP, cfg).PeerCertificates[0].SerialNumber

	fresh := renew(t, s.Certs).SerialNumber
	hangUp(t, s, "level=INFO msg=reload")
	if st := shake(t, s.KMIP, cfg); !st.DidResume {
		t.Error("the session from before the reload was not resumed")
	}
	cfg.ClientSessionCache = nil
	for _, door := range []string{s.KMIP, s.HTTPS} {
		if got := shake(t, door, cfg).PeerCertificates[0].SerialNumber; got.Cmp(fresh) != 0 || got.Cmp(old) == 0 {
			t.Errorf("%s serves certificate %v, want the new %v, not the old %v", door, got, fresh, old)
		}
	}

	if err := os.WriteFile(filepath.Join(s.Certs, "server.pem"), []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	hangUp(t, s, "tls.certificate")
	if got := shake(t, s.KMIP, cfg).PeerCertificates[0].SerialNumber; got.Cmp(fresh) != 0 {
		t.Errorf("after a certificate that cannot be used the server has %v, want %v", got, fresh)
	}
}

// shake connects, waits for the session ticket by a question, and hangs up.
func shake(t *testing.T, addr string, cfg *tls.Config) tls.ConnectionState {
	t.Helper()
	conn, err := tls.Dial("tcp", addr, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	conn.SetReadDeadline(time.Now().Add(200 * time.Millisecond))
	conn.Read(make([]byte, 1)) // takes the ticket in; nothing else comes
	return conn.ConnectionState()
}

// renew replaces the server's certificate and key by new ones of the same authority.
func renew(t *testing.T, dir string) *x509.Certificate {
	t.Helper()
	der := func(name string) []byte {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		block, _ := pem.Decode(b)
		return block.Bytes
	}
	ca, err := x509.ParseCertificate(der("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	caKey, err := x509.ParsePKCS8PrivateKey(der("ca-key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der("server.pem"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := ecdsa.GenerateKey(caKey.(*ecdsa.PrivateKey).Curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf.SerialNumber.SetInt64(4711)
	cert, err := x509.CreateCertificate(rand.Reader, leaf, ca, &key.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"server.pem": {Type: "CERTIFICATE", Bytes: cert}, "server-key.pem": {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(filepath.Join(dir, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return leaf
}

// hangUp sends SIGHUP and waits until the log says what came of it.
func hangUp(t *testing.T, s *servertest.Server, want string) {
	t.Helper()
	before, _ := os.ReadFile(s.Log)
	s.Signal(syscall.SIGHUP)
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if log, _ := os.ReadFile(s.Log); strings.Contains(string(log[len(before):]), want) {
			return
		}
	}
	log, _ := os.ReadFile(s.Log)
	t.Fatalf("after SIGHUP the log does not say %q:\n%s", want, log)
}

// A policy that cannot be used leaves the old one in force, at SIGHUP and at the
// command alike; log, health and command say so. A good one is then taken.
func TestReloadOfWhatCannotBeUsed(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	root := servertest.Root()
	text, err := os.ReadFile(filepath.Join(root, "policies.rego"))
	if err != nil {
		t.Fatal(err)
	}
	tests, err := os.ReadFile(filepath.Join(root, "policies_test.rego"))
	if err != nil {
		t.Fatal(err)
	}
	policy, beside := filepath.Join(dir, "policies.rego"), filepath.Join(dir, "policies_test.rego")
	write(t, policy, string(text))
	write(t, beside, string(tests))
	s := fresh(t)
	s.set("policy", "file", policy)
	s.set("policy", "tests", beside)
	on := startInstalled(t, dir, s)
	id := aesKey(t, dial(t, on, "dev", core.V1_4))
	get := func() error {
		_, err := kmiptest.Do(dial(t, on, "dev", core.V1_4), &kmip.Get, &operation.GetInput{ID: core.ID(id)})
		return err
	}
	// says waits for the log to grow by a line with all of these.
	says := func(what string, from int, words ...string) {
		t.Helper()
		for range 100 {
			log, _ := os.ReadFile(on.Log)
			for line := range strings.Lines(string(log[from:])) {
				all := true
				for _, w := range words {
					all = all && strings.Contains(line, w)
				}
				if all {
					return
				}
			}
			time.Sleep(50 * time.Millisecond)
		}
		log, _ := os.ReadFile(on.Log)
		t.Errorf("%s: the log says nothing of %q:\n%s", what, words, log[from:])
	}
	canary := func(args ...string) {
		t.Helper()
		if out, err := on.Command(append([]string{"policy", "canary"}, append(args, "--dir", dir)...)...); err != nil {
			t.Fatalf("policy canary %q: %v, %s", args, err, out)
		}
	}
	canary("add", "getter", "--as", "dev", "--do", "Get", "--object", id, "--expect", "allow")
	closed := strings.Replace(string(text), `"Get", "Get Attributes"`, `"Get Attributes"`, 1) // lets nobody Get
	const oneTest = "package keyreeve.authz_test\n\nimport rego.v2\n\ntest_one if true\n"
	lax := strings.Replace(string(text), "default decision", "default  decision", 1)
	for what, harm := range map[string]func(){
		"broken":             func() { write(t, policy, string(text)+"\nallow if {") },
		"not compiling":      func() { write(t, policy, string(text)+"\nallow contains x if y == 1\n") },
		"empty":              func() { write(t, policy, "") },
		"a file of zeros":    func() { write(t, policy, string(make([]byte, 4096))) },
		"of another package": func() { write(t, policy, "package other\n\nimport rego.v2\n\ndecision := {\"allow\": true}\n") },
		"gone":               func() { os.Remove(policy) },
		"a folder":           func() { os.Remove(policy); os.Mkdir(policy, 0o700) },
		"too large":          func() { write(t, policy, string(text)+strings.Repeat("# more\n", 200_000)) },
		"asking the network": func() {
			write(t, policy, lax+"\nx := http.send({\"url\": \"http://localhost\", \"method\": \"get\"})\n")
		},
		"letting everybody": func() {
			write(t, policy, "package keyreeve.authz\n\nimport rego.v2\n\ndecision := {\"allow\": true, \"reasons\": [\"all\"], \"scope\": \"tenant\"}\n")
		},
		"that breaks a canary":   func() { write(t, policy, closed); write(t, beside, oneTest) },
		"without tests":          func() { os.Remove(beside) },
		"with a test that fails": func() { write(t, beside, string(tests)+"\ntest_fails if false\n") },
		"with empty tests":       func() { write(t, beside, "package keyreeve.authz_test\n\nimport rego.v2\n") },
	} {
		harm()
		log, _ := os.ReadFile(on.Log)
		on.Signal(syscall.SIGHUP)
		says(what, len(log), "level=ERROR", "reload", "policy")
		if err := get(); err != nil {
			t.Errorf("a policy %s is not taken, and the old one is not in force: %v", what, err)
		}
		if out, err := on.Command("health", "--dir", dir); err != nil || !strings.Contains(out, "the last reload failed") {
			t.Errorf("a policy %s: health says %v\n%s", what, err, out)
		}
		if r := program(t, nil, "policy", "reload", "--dir", dir); true {
			oneSentence(t, r, "policy")
		}
		os.Remove(policy) // the folder
		write(t, policy, string(text))
		write(t, beside, string(tests))
	}
	write(t, policy, closed)
	write(t, beside, oneTest)
	oneSentence(t, program(t, nil, "policy", "reload", "--dir", dir), "the canary getter of tenant default would not hold any more: Get by dev must stay allowed")
	canary("remove", "getter")
	log, _ := os.ReadFile(on.Log)
	on.Signal(syscall.SIGHUP)
	says("a good policy", len(log), "level=INFO", "reload")
	if err := get(); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("the new policy is not in force: %v", err)
	}
	if out, err := on.Command("health", "--dir", dir); err != nil || strings.Contains(out, "reload") {
		t.Errorf("afterwards health says %v\n%s", err, out)
	}
	// A text that was in force before is not taken again.
	write(t, policy, string(text))
	write(t, beside, string(tests))
	if out, err := on.Command("policy", "reload", "--dir", dir); err != nil || !strings.HasSuffix(out, fmt.Sprintf("\npolicy %x\n", sha256.Sum256([]byte(closed)))) {
		t.Errorf("policy reload with the first text: %v %q; want the hash of the policy that stays in force", err, out)
	}
	if out, err := on.Command("health", "--dir", dir); err != nil || !strings.Contains(out, "have a text that was in force before") {
		t.Errorf("with the first text in the file, health says %v\n%s", err, out)
	}
	// The command prints the policy that it put in force, not the one before.
	text = append(text, "# again\n"...)
	write(t, policy, string(text))
	if out, err := on.Command("policy", "reload", "--dir", dir); err != nil || out != fmt.Sprintf("policy %x\n", sha256.Sum256(text)) {
		t.Errorf("policy reload: %v %q; want the hash of the new policy, %x", err, out, sha256.Sum256(text))
	}
}

// anotherAuthority makes an authority with a client whose certificate says that
// it is dev, an admin of every tenant's.
func anotherAuthority(t *testing.T, s *servertest.Server) (ca []byte, client *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	if err := certs.Init(dir); err != nil {
		t.Fatal(err)
	}
	if err := certs.Issue(dir, certs.Request{Name: "dev", Tenant: "default", Groups: []string{"dev"}, Roles: []string{"admin"}}); err != nil {
		t.Fatal(err)
	}
	ours := clientTLS(t, s, "dev")
	client, err := kmiptest.Config(filepath.Join(dir, "certs"), "dev")
	if err != nil {
		t.Fatal(err)
	}
	client.RootCAs = ours.RootCAs
	if ca, err = os.ReadFile(filepath.Join(dir, "certs", "ca.pem")); err != nil {
		t.Fatal(err)
	}
	return ca, client
}

func discover(c *kmiptest.Client) error {
	_, err := kmiptest.Do(c, &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{})
	return err
}

// An authority that is added by SIGHUP may name nobody, which is recorded, and
// serves no purpose until it is mapped; one that is removed takes its clients'
// open connections with it. A bundle that is cut off changes nothing.
func TestAuthoritiesByReload(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	ca := filepath.Join(s.Certs, "ca.pem")
	own, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	other, client := anotherAuthority(t, s)
	write(t, ca, string(own)+string(other[:len(other)/2]))
	hangUp(t, s, "level=ERROR msg=reload")
	write(t, ca, string(own)+string(other))
	hangUp(t, s, "level=INFO msg=reload")
	if c, err := kmiptest.Dial(s.KMIP, client, core.V1_4); err == nil {
		if err := discover(c); err == nil {
			t.Error("an authority without a grant named a principal")
		}
		c.Close()
	}
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--limit", "0")
	if err != nil || !strings.Contains(out, "Trust Certificate | client authority "+certificateNames(pemCertificate(t, other))) || !strings.Contains(out, "may name nobody") {
		t.Errorf("the records do not tell of the authority and the client that was refused: %v\n%s", err, out)
	}

	// The server's own authority goes; its client is connected.
	open := dial(t, s, "dev", core.V1_4)
	if err := discover(open); err != nil {
		t.Fatal(err)
	}
	write(t, ca, string(other))
	hangUp(t, s, "level=ERROR msg=reload") // the grant of --dev names the authority that is gone
	if err := discover(open); err != nil {
		t.Errorf("a reload that failed ended a connection: %v", err)
	}
}

// With a configuration file, SIGHUP takes new grants and new names of clients from
// it, and they count on open connections.
func TestGrantsByReload(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Kill()
	other, client := anotherAuthority(t, s)
	bundle := filepath.Join(s.Dir, "bundle.pem")
	own, err := os.ReadFile(filepath.Join(s.Certs, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	theirs := filepath.Join(s.Dir, "theirs.pem")
	write(t, theirs, string(other))
	write(t, bundle, string(own)+string(other))
	file := filepath.Join(s.Dir, "keyreeve.yaml")
	configure := func(authorities string) {
		t.Helper()
		write(t, file, devConfig(t, s, bundle, authorities))
	}
	mine := fmt.Sprintf(`{file: %s/ca.pem, tenants: [default], groups: ["*"], roles: [monitor]}`, s.Certs)
	configure(mine + fmt.Sprintf(`, {file: %s, tenants: [default], groups: [dev], roles: [admin]}`, theirs))
	n := servertest.StartConfig(t, file, s.Dir, s.Certs, softHSMOf(s.Dir))
	dev, guest := dial(t, n, "dev", core.V1_4), dialWith(t, n, client, core.V1_4)
	for _, c := range []*kmiptest.Client{dev, guest} {
		if err := discover(c); err != nil {
			t.Fatal(err)
		}
	}
	configure(mine + fmt.Sprintf(`, {file: %s, tenants: [default], groups: [dev], roles: []}`, theirs))
	hangUp(t, n, "level=INFO msg=reload")
	if err := discover(guest); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
		t.Errorf("a client whose authority may no longer name its role: %v", err)
	}
	if err := discover(dev); err != nil {
		t.Errorf("a client whose authority kept its grant: %v", err)
	}
	own, err = os.ReadFile(filepath.Join(s.Certs, "dev.pem"))
	if err != nil {
		t.Fatal(err)
	}
	mapping := fmt.Sprintf("{fingerprint: %x, authority: %s/ca.pem, tenant: default, name: renamed, groups: [dev]}", sha256.Sum256(pemCertificate(t, own).Raw), s.Certs)
	write(t, file, strings.Replace(devConfig(t, s, bundle, mine), "tls: {", "tls: {principals: ["+mapping+"], ", 1))
	hangUp(t, n, "level=INFO msg=reload")
	if _, err := kmiptest.Do(dev, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt)); err != nil {
		t.Errorf("a client that a reload gave another name: %v", err)
	}
	if out, err := n.Command("audit", "list", "--dir", n.Dir, "--principal", "renamed", "--limit", "0"); err != nil || !strings.Contains(out, "Create") {
		t.Errorf("what it does has no record under the new name: %v\n%s", err, out)
	}
	write(t, bundle, string(other))
	configure(fmt.Sprintf(`{file: %s, tenants: ["*"], groups: ["*"], roles: ["*"]}`, theirs))
	hangUp(t, n, "level=INFO msg=reload")
	if err := discover(dev); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
		t.Errorf("a client whose authority is gone: %v", err)
	}
	if err := discover(dialWith(t, n, client, core.V1_4)); err != nil {
		t.Errorf("a client whose authority has a grant again: %v", err)
	}
}

// devConfig is a configuration of a development server's parts, with another
// bundle of client authorities.
func devConfig(t *testing.T, s *servertest.Server, bundle, authorities string) string {
	t.Helper()
	module, err := member.SoftHSM()
	if err != nil {
		t.Skip(err)
	}
	return fmt.Sprintf(`
dir: %[1]s
kmip: 127.0.0.1:0
https: 127.0.0.1:0
tls: {certificate: %[1]s/certs/server.pem, key: %[1]s/certs/server-key.pem, client_ca: %[2]s, authorities: [%[3]s]}
hsm: {module: %[4]s, token: keyreeve, pin_file: %[1]s/pin}
store: {url: "sqlite:%[1]s/keyreeve.db"}
`, s.Dir, bundle, authorities, module)
}

// strangers makes a certificate of a tenant that nobody has declared.
func strangers(t *testing.T, s *servertest.Server, tenant string) {
	t.Helper()
	s.Certify(certs.Request{Name: tenant, Tenant: tenant})
}

// askREST asks the REST door as a client whose certificate the server's folder has, and
// returns the status and the answer.
func askREST(t *testing.T, s *servertest.Server, client, method, path, body string) (int, string) {
	t.Helper()
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: clientTLS(t, s, client), DisableKeepAlives: true}}
	res, answer := sendREST(t, c, method, "https://"+s.HTTPS+path, body, nil)
	return res.StatusCode, string(answer)
}

// sendREST sends a request with a JSON body, none for "", and reads the answer.
func sendREST(t testing.TB, c *http.Client, method, url, body string, headers http.Header) (*http.Response, []byte) {
	t.Helper()
	req, err := http.NewRequest(method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if headers != nil {
		req.Header = headers
	}
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := c.Do(req)
	if err != nil {
		t.Fatalf("the REST door does not answer: %v", err)
	}
	defer res.Body.Close()
	answer, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res, answer
}

// A certificate of a tenant that is not declared is refused at both doors, with a
// record and a sentence that says what to do, and no key is made in the token. Once
// the tenant is declared, the same certificate works, without a restart and after one.
func TestUndeclaredTenantIsRefused(t *testing.T) {
	t.Parallel()
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
	if err := s.Stop(); err != nil {
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
	t.Parallel()
	s := servertest.Start(t)
	issue := func(tenant string) {
		t.Helper()
		if out, err := s.Command("cert", "issue", "--dir", s.Dir, "--name", tenant, "--tenant", tenant); err != nil || out != filepath.Join(s.Certs, tenant+".pem")+"\n" {
			t.Fatalf("%v: %s", err, out)
		}
	}
	issue("running")
	aesKey(t, dial(t, s, "running", core.V1_4))
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	issue("stopped")
	s.Run()
	aesKey(t, dial(t, s, "stopped", core.V1_4))
	out, err := s.Command("tenant", "list", "--dir", s.Dir, "--json")
	if err != nil || strings.Count(out, `"state":"active"`) != 3 {
		t.Errorf("tenant list: %v\n%s", err, out)
	}
}

// A row that declares a tenant and was not written by keyreeve declares nobody.
func TestForgedTenantIsRefused(t *testing.T) {
	t.Parallel()
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

// Keys of a tenant that the token has lost do not keep the server from starting.
// Health says so, and other tenants are served.
func TestLostTenantKeysAreNoticed(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	before := objectFiles(t, s)
	s.Issue("acme", "acme")
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
	t.Parallel()
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

// An identity that has ended may do nothing: no operation of KMIP on an open connection, and
// no route of REST. Before it ended, each of these was known to the server. That the REST
// door ends the handshake of an expired certificate is in TestWhoMayNotEnter.
func TestEndedIdentitiesMayDoNothing(t *testing.T) {
	t.Parallel()
	const password = "a long enough password"
	s := servertest.Start(t)
	s.Certify(certs.Request{Name: "revoked", Tenant: "default", Groups: []string{"dev"}})
	s.Certify(certs.Request{Name: "buyer", Tenant: "default", Groups: []string{"dev"}})
	userCommand(t, s, password, "add", "alice")
	userCommand(t, s, password, "add", "bob")
	over := map[string]*kmiptest.Client{"a revoked certificate": dial(t, s, "revoked", core.V2_1), "a disabled user": withPassword(dial(t, s, "dev", core.V2_1), "alice", password),
		"a removed user": withPassword(dial(t, s, "dev", core.V2_1), "bob", password)}
	rest := map[string]*endedClient{"a revoked certificate": {withToken(t, s, "revoked"), ""}, "nobody": {withToken(t, s, ""), ""}}
	for what, order := range map[string]struct {
		client *tokenClient
		order  body
	}{"a revoked token": {withToken(t, s, "dev"), byCertificate}, "a token of a revoked certificate": {withToken(t, s, "buyer"), byCertificate},
		"a token of a disabled user": {withToken(t, s, "dev"), body{"grantType": "password", "user": "alice", "password": password}},
		"a token of a removed user":  {withToken(t, s, "dev"), body{"grantType": "password", "user": "bob", "password": password}}} {
		rest[what] = &endedClient{withToken(t, s, ""), order.client.buy(order.order).AccessToken}
	}
	old := certs.Request{Name: "expired", Tenant: "default", Groups: []string{"dev"}, TTL: 5 * time.Second}
	s.Certify(old)
	expires := time.Now().Add(old.TTL)
	over["an expired certificate"] = dial(t, s, "expired", core.V2_1)

	operations := everyOperation()
	for what, c := range over {
		if refused := refusals(t, c, operations); refused != 0 {
			t.Fatalf("%s was refused %d operations as not authenticated before it ended", what, refused)
		}
	}
	routes := specifiedRoutes(`(?:[^h]|h[^e])`) // all but those of health, of which two are for everybody
	for what, c := range rest {
		if got := c.ask("GET", "/v1/keys").status; got == http.StatusUnauthorized && what != "nobody" {
			t.Fatalf("%s was refused before it ended", what)
		}
	}

	if got := withToken(t, s, "dev").ask("DELETE", "/v1/auth/token", "", body{"token": rest["a revoked token"].token}).status; got != http.StatusNoContent {
		t.Fatalf("a token is revoked: %d", got)
	}
	for _, name := range []string{"revoked", "buyer"} {
		if out, err := s.Command("cert", "revoke", "--name", name, "--dir", s.Dir); err != nil {
			t.Fatalf("cert revoke: %v\n%s", err, out)
		}
	}
	userCommand(t, s, "", "disable", "alice")
	userCommand(t, s, "", "remove", "bob")
	time.Sleep(max(time.Second, time.Until(expires)) + 100*time.Millisecond)

	for what, c := range over {
		if refused := refusals(t, c, operations); refused != len(operations) {
			t.Errorf("%s: %d of %d operations are answered Authentication Not Successful; want all", what, refused, len(operations))
		}
	}
	if len(routes) < 33 {
		t.Fatalf("the specification has only %d routes", len(routes))
	}
	for what, c := range rest {
		for _, r := range routes {
			if got := c.ask(r.method, r.path); got.status != http.StatusUnauthorized || got.TokenID+got.AccessToken != "" {
				t.Errorf("%s, %s %s: %d; want 401", what, r.method, r.path, got.status)
			}
		}
	}
}

// endedClient sends requests to REST with a token, if there is one.
type endedClient struct {
	*tokenClient
	token string
}

func (c *endedClient) ask(method, path string) tokenAnswer {
	return c.tokenClient.ask(method, strings.NewReplacer("{", "", "}", "").Replace(path), c.token, nil)
}

// everyOperation returns an item without a payload of each operation of KMIP.
func everyOperation() (items []kmip.ClientItem) {
	for _, a := range core.Actions() {
		if op := a.Info().Operation; op != 0 {
			items = append(items, kmip.ClientItem{Operation: op, BatchID: []byte{byte(op)}, Payload: func(dst []byte, _ core.Version) ([]byte, error) { return dst, nil }})
		}
	}
	return items
}

// refusals sends a batch and counts the answers Authentication Not Successful.
func refusals(t *testing.T, c *kmiptest.Client, items []kmip.ClientItem) (n int) {
	t.Helper()
	c.Options.ErrorOption = core.BatchErrorContinuationOptionContinue
	answer, err := c.Batch(items...)
	if err != nil || len(answer.Items) != len(items) {
		t.Fatalf("a batch of %d operations: %d answers, %v", len(items), len(answer.Items), err)
	}
	for _, i := range answer.Items {
		if i.Reason == core.ReasonAuthenticationNotSuccessful {
			n++
		}
	}
	return n
}

// tenantCommand runs keyreeve tenant and returns what it prints.
func tenantCommand(t *testing.T, s *servertest.Server, args ...string) string {
	t.Helper()
	out, err := s.Command(append(append([]string{"tenant"}, args...), "--dir", s.Dir)...)
	if err != nil {
		t.Fatalf("tenant %v: %v\n%s", args, err, out)
	}
	return out
}

// refusedTenantCommand runs keyreeve tenant, which must fail with a sentence that has a word.
func refusedTenantCommand(t *testing.T, s *servertest.Server, word string, args ...string) {
	t.Helper()
	if out, err := s.Command(append(append([]string{"tenant"}, args...), "--dir", s.Dir)...); err == nil || !strings.Contains(out, word) {
		t.Errorf("tenant %v: %v, %q; want a refusal that has %q", args, err, out, word)
	}
}

// withTenant starts a server with the tenant acme, whose clients are wile and the administrator
// anna.
func withTenant(t *testing.T, env ...string) *servertest.Server {
	s := servertest.Start(t, env...)
	s.Issue("wile", "acme")
	s.Certify(certs.Request{Name: "anna", Tenant: "acme", Roles: []string{"admin"}})
	return s
}

// keysStatus returns a function that asks a node for the keys of a client.
func keysStatus(t *testing.T, s *servertest.Server, client string) func() int {
	return func() int {
		status, _ := askREST(t, s, client, http.MethodGet, "/v1/keys", "")
		return status
	}
}

// A disabled tenant is refused at both doors with a sentence, on open connections and by
// tokens too, and another tenant is not. When it is enabled, its keys are there again.
func TestDisabledTenant(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	open, other := dial(t, s, "wile", core.V1_4), dial(t, s, "dev", core.V1_4)
	id := aesKey(t, open, activeNow)
	token := withToken(t, s, "wile").buy(byCertificate)
	alone := withToken(t, s, "")
	wantStatus(t, "the token before", alone.encrypt(token.AccessToken, id), 200)

	if out := tenantCommand(t, s, "disable", "acme", "--reason", "unpaid"); out != "tenant acme is disabled\n" {
		t.Errorf("disable prints %q", out)
	}
	if err := encryptOver(open, id); err == nil || !strings.Contains(err.Error(), "tenant acme is disabled") {
		t.Errorf("the next message of an open connection: %v; want a refusal that says why", err)
	}
	if err := discover(dial(t, s, "wile", core.V1_4)); err == nil || !strings.Contains(err.Error(), "tenant acme is disabled") {
		t.Errorf("a new connection: %v; want a refusal that says why", err)
	}
	if status, body := askREST(t, s, "anna", http.MethodGet, "/v1/tenants/acme", ""); status < 400 || !strings.Contains(body, "tenant acme is disabled") {
		t.Errorf("REST: %d %s; want a refusal that says why", status, body)
	}
	if status := alone.encrypt(token.AccessToken, id); status < 400 {
		t.Errorf("the token of a disabled tenant: %d", status)
	}
	aesKey(t, other)

	tenantCommand(t, s, "enable", "acme")
	if err := encryptOver(dial(t, s, "wile", core.V1_4), id); err != nil {
		t.Errorf("after the tenant was enabled: %v", err)
	}
	refusedTenantCommand(t, s, "there is no tenant nobody", "disable", "nobody")
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Save Tenant")
	if err != nil || strings.Count(out, "system/socket Save Tenant") != 3 || !strings.Contains(out, "tenant acme: disabled") {
		t.Errorf("the record: %v\n%s", err, out)
	}
}

// Nobody learns by any answer which other tenants there are. An administrator of a tenant reads
// its row and changes nothing in it.
func TestTenantsLearnNothingOfEachOther(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	tenantCommand(t, s, "set", "acme", "objects=7", `classes=["N","C"]`)
	aesKey(t, dial(t, s, "wile", core.V1_4))
	s.Certify(certs.Request{Name: "spy", Tenant: "acme", Roles: []string{"everything"}})
	if status, body := askREST(t, s, "anna", http.MethodPost, "/v1/roles", `{"name":"everything","actions":["*"]}`); status != 201 {
		t.Fatalf("a role of the tenant: %d %s", status, body)
	}
	status, body := askREST(t, s, "anna", http.MethodGet, "/v1/tenants/acme", "")
	for _, want := range []string{`"tenantId":"acme"`, `"version":1`, `"state":"active"`, `"settings":{"classes":["N","C"],"objects":7}`, `"usage":{"objects":1,`} {
		if status != 200 || !strings.Contains(body, want) {
			t.Errorf("the own tenant: %d %s; want %s", status, body, want)
		}
	}
	for _, client := range []string{"wile", "anna", "spy"} {
		for _, route := range []struct{ method, path, body string }{
			{"GET", "/v1/tenants/NAME", ""}, {"GET", "/v1/tenants/NAME/keys", ""}, {"PATCH", "/v1/tenants/NAME", `{"disabled":true}`}, {"POST", "/v1/tenants", `{"name":"NAME"}`},
		} {
			var answers []string
			for _, name := range []string{"default", "absent"} {
				status, body := askREST(t, s, client, route.method, strings.ReplaceAll(route.path, "NAME", name), strings.ReplaceAll(route.body, "NAME", name))
				var problem map[string]any
				if err := json.Unmarshal([]byte(body), &problem); err != nil || status < 400 {
					t.Fatalf("%s %s %s: %d %s", client, route.method, route.path, status, body)
				}
				delete(problem, "requestId")
				text, _ := json.Marshal(problem)
				answers = append(answers, strings.ReplaceAll(string(text), name, "NAME"))
			}
			if answers[0] != answers[1] {
				t.Errorf("%s %s %s tells a tenant from none: %v", client, route.method, route.path, answers)
			}
		}
	}
	for _, client := range []string{"anna", "spy"} {
		if status, body := askREST(t, s, client, http.MethodGet, "/v1/tenants", ""); status != 403 {
			t.Errorf("the list of all tenants for %s: %d %s", client, status, body)
		}
	}
	if status, body := askREST(t, s, "anna", http.MethodPatch, "/v1/tenants/acme", `{"settings":{"objects":null}}`); status != 403 {
		t.Errorf("an administrator of a tenant lifts its quota: %d %s", status, body)
	}
	if status, body := askREST(t, s, "anna", http.MethodGet, "/v1/tenants/acme/keys", ""); status != 200 || !strings.Contains(body, `"keys":[`) {
		t.Errorf("the keys of the own tenant: %d %s", status, body)
	}
}

// What is laid down for a tenant holds for it alone, at both doors, from the next request; what
// is taken away is as for the server again.
func TestSettingsOfATenant(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	wile, dev := dial(t, s, "wile", core.V1_4), dial(t, s, "dev", core.V1_4)
	tenantCommand(t, s, "set", "acme", `algorithms={"RSA":[3072]}`, "--reason", "ticket 5")
	if err := makesAESKey(wile); err == nil || !strings.Contains(err.Error(), "algorithms") {
		t.Errorf("an algorithm that is not allowed: %v", err)
	}
	if status, body := askREST(t, s, "wile", http.MethodPost, "/v1/keys", `{"type":"symmetric","algorithm":"AES","length":256,"usage":["encrypt"]}`); status != 403 {
		t.Errorf("REST makes a key that is not allowed: %d %s", status, body)
	}
	aesKey(t, dev)
	tenantCommand(t, s, "set", "acme", "algorithms=", "objects=1")
	aesKey(t, wile)
	if err := makesAESKey(wile); err == nil || !strings.Contains(err.Error(), "quota of 1") {
		t.Errorf("a second object: %v; want a refusal by the quota", err)
	}
	aesKey(t, dev)
	tenantCommand(t, s, "set", "acme", "objects=", "connections=1")
	aesKey(t, wile)
	if status := keysStatus(t, s, "anna")(); status != 200 { // the bound is that of each door
		t.Errorf("the first connection of REST: %d", status)
	}
	if err := discover(dial(t, s, "anna", core.V1_4)); err == nil {
		t.Error("acme has a second connection, and its quota is 1")
	}
	if out := tenantCommand(t, s, "show", "acme"); !strings.Contains(out, `"settings":{"connections":1}`) || !strings.Contains(out, `"version":3`) {
		t.Errorf("show prints %s", out)
	}
	refusedTenantCommand(t, s, "no setting", "set", "acme", "object=1")
	refusedTenantCommand(t, s, "each setting once", "set", "acme", "objects=1", "objects=2")
	if out := tenantCommand(t, s, "list"); !strings.Contains(out, "acme | active") {
		t.Errorf("list prints %s", out)
	}
}

// The names and identifiers of what another tenant has are answered as those that nobody has, to
// the administrator of a tenant too: the same status and the same bytes, the name left aside.
func TestWhatAnotherTenantHasIsNotThere(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	s.Certify(certs.Request{Name: "dora", Tenant: "default", Roles: []string{"admin"}})
	made := func(client, method, path, body string) map[string]any {
		t.Helper()
		status, answer := askREST(t, s, client, method, path, body)
		var out map[string]any
		if err := json.Unmarshal([]byte(answer), &out); err != nil || status >= 300 {
			t.Fatalf("%s %s by %s: %d %s", method, path, client, status, answer)
		}
		return out
	}
	const document = `{"statements":[{"principal":"user:theirs","actions":["encrypt"],"effect":"allow"}]}`
	made("dora", "POST", "/v1/policies", `{"name":"theirs","document":`+document+`}`)
	made("dora", "POST", "/v1/users", `{"name":"theirs","password":"correct horse battery"}`)
	made("dora", "POST", "/v1/roles", `{"name":"theirs","actions":["encrypt"]}`)
	if out, err := s.Command("client", "invite", "theirs", "--dir", s.Dir); err != nil {
		t.Fatal(err, out)
	}
	key := made("dev", "POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"]}`)["keyId"].(string)
	token := made("dev", "POST", "/v1/auth/token", `{"grantType":"certificate"}`)["tokenId"].(string)
	const noKey, noToken = "00000000-0000-0000-0000-000000000000", "AAAAAAAAAAAAAAAA"
	for _, c := range []struct{ theirs, none, method, path, body string }{
		{"theirs", "absent", "GET", "/v1/policies/NAME", ""}, {"theirs", "absent", "GET", "/v1/policies/NAME/versions", ""}, {"theirs", "absent", "DELETE", "/v1/policies/NAME", ""},
		{"theirs", "absent", "POST", "/v1/policies/NAME/rollback", `{"version":1}`}, {"theirs", "absent", "POST", "/v1/policies/NAME/attach", `{"role":"admin"}`}, {"theirs", "absent", "POST", "/v1/policies/NAME/withdraw", `{}`},
		{"theirs", "absent", "GET", "/v1/users/NAME", ""}, {"theirs", "absent", "PATCH", "/v1/users/NAME", `{"disabled":true}`}, {"theirs", "absent", "DELETE", "/v1/users/NAME", ""},
		{"theirs", "absent", "GET", "/v1/roles/NAME", ""}, {"theirs", "absent", "PATCH", "/v1/roles/NAME", `{"actions":["decrypt"]}`}, {"theirs", "absent", "DELETE", "/v1/roles/NAME", ""},
		{"theirs", "absent", "GET", "/v1/clients/NAME", ""}, {"theirs", "absent", "PATCH", "/v1/clients/NAME", `{"groups":["g"]}`}, {"theirs", "absent", "DELETE", "/v1/clients/NAME", ""},
		{key, noKey, "GET", "/v1/keys/NAME", ""}, {key, noKey, "GET", "/v1/keys/NAME/policy", ""}, {key, noKey, "GET", "/v1/keys/NAME/access", ""}, {key, noKey, "POST", "/v1/encrypt", `{"keyId":"NAME","format":"raw","plaintext":""}`},
		{key, noKey, "POST", "/v1/simulate", `{"principal":"anna","action":"encrypt","keyId":"NAME"}`},
		{token, noToken, "DELETE", "/v1/auth/token", `{"tokenId":"NAME"}`},
		{token, noToken, "GET", "/v1/approvals/NAME", ""}, {token, noToken, "POST", "/v1/approvals/NAME/approve", `{}`},
	} {
		for _, client := range []string{"wile", "anna"} {
			var answers []string
			for _, name := range []string{c.theirs, c.none} {
				status, body := askREST(t, s, client, c.method, strings.ReplaceAll(c.path, "NAME", name), strings.ReplaceAll(c.body, "NAME", name))
				var problem map[string]any
				if err := json.Unmarshal([]byte(body), &problem); err != nil || status < 400 {
					t.Errorf("%s %s %s by %s: %d %s; want a refusal", c.method, c.path, name, client, status, body)
				}
				delete(problem, "requestId")
				text, _ := json.Marshal(problem)
				answers = append(answers, fmt.Sprint(status, strings.ReplaceAll(string(text), name, "NAME")))
			}
			if answers[0] != answers[1] {
				t.Errorf("%s %s by %s tells what another tenant has from nothing:\n%s\n%s", c.method, c.path, client, answers[0], answers[1])
			}
		}
	}
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		wile := dial(t, s, "wile", v)
		texts := map[string]bool{}
		for _, id := range []string{key, noKey} {
			_, err := kmiptest.Do(wile, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id)})
			texts[strings.ReplaceAll(fmt.Sprint(err), id, "ID")] = true
		}
		if len(texts) != 1 {
			t.Errorf("KMIP %v tells another tenant's key from none: %v", v, texts)
		}
	}
}

// An administrator of the server does over REST what the admin socket does to tenants, deletion in
// two steps included, and nothing else.
func TestAdministratorOfTheServer(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	s.Certify(certs.Request{Name: "ada", Tenant: "default", Groups: []string{"dev"}, Roles: []string{core.SystemRole}})
	key := aesKey(t, dial(t, s, "dev", core.V1_4), activeNow)
	ask := func(want int, method, path, body string) string {
		t.Helper()
		status, answer := askREST(t, s, "ada", method, path, body)
		if status != want {
			t.Errorf("%s %s %s: %d %s; want %d", method, path, body, status, answer, want)
		}
		return answer
	}
	ask(201, "POST", "/v1/tenants", `{"name":"fresh","settings":{"objects":5},"reason":"ticket 7"}`)
	ask(409, "POST", "/v1/tenants", `{"name":"fresh"}`)
	if list := ask(200, "GET", "/v1/tenants", ""); !strings.Contains(list, `"fresh"`) || !strings.Contains(list, `"acme"`) {
		t.Errorf("the list lacks a tenant: %s", list)
	}
	if shown := ask(200, "GET", "/v1/tenants/fresh", ""); !strings.Contains(shown, `"objects":5`) || !strings.Contains(shown, `"author":"default/ada"`) {
		t.Errorf("the new tenant is shown as %s", shown)
	}
	ask(200, "PATCH", "/v1/tenants/acme", `{"disabled":true,"reason":"unpaid"}`)
	if err := discover(dial(t, s, "wile", core.V1_4)); err == nil {
		t.Error("a client of the disabled tenant is answered")
	}
	ask(200, "PATCH", "/v1/tenants/acme", `{"disabled":false}`)
	if err := discover(dial(t, s, "wile", core.V1_4)); err != nil {
		t.Errorf("a client of the tenant that is enabled again: %v", err)
	}
	ask(409, "POST", "/v1/tenants/fresh/confirm", `{"confirm":"destroy fresh"}`) // nobody has asked for the deletion
	ask(400, "DELETE", "/v1/tenants/fresh", "")                                  // without a reason
	ask(200, "DELETE", "/v1/tenants/fresh?reason=ticket+8", "")
	ask(409, "POST", "/v1/tenants/fresh/confirm", `{"confirm":"destroy fresh"}`) // the grace time is not over
	ask(200, "POST", "/v1/tenants/fresh/restore", `{"reason":"ticket 9"}`)
	tenantCommand(t, s, "delete", "fresh", "--now", "--reason", "ticket 10")
	ask(400, "POST", "/v1/tenants/fresh/confirm", `{"confirm":"destroy"}`)
	if shredded := ask(200, "POST", "/v1/tenants/fresh/confirm", `{"confirm":"destroy fresh"}`); !strings.Contains(shredded, `"shredded":"online"`) || !strings.Contains(shredded, `"keySets":1`) {
		t.Errorf("the second step answers %s", shredded)
	}
	for _, no := range []struct{ method, path, body string }{
		{"POST", "/v1/keys", `{"type":"symmetric","algorithm":"AES","usage":["encrypt"]}`}, {"GET", "/v1/keys", ""}, {"GET", "/v1/keys/" + key, ""},
		{"GET", "/v1/users", ""}, {"POST", "/v1/users", `{"name":"mallory"}`}, {"GET", "/v1/policies", ""}, {"GET", "/v1/approvals", ""}, {"GET", "/v1/auth/tokens", ""}, {"GET", "/v1/health", ""},
		{"POST", "/v1/auth/token", `{"grantType":"certificate"}`},
	} {
		ask(403, no.method, no.path, no.body)
	}
	if err := encryptOver(dial(t, s, "ada", core.V1_4), key); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("an administrator of the server in the group of a key uses it: %v", err)
	}
}

// A tenant whose row was changed, or is gone, behind the server is refused: otherwise its
// quotas could be lifted and it could be enabled in the database.
func TestHostileRowsOfTenants(t *testing.T) {
	t.Parallel()
	for what, harm := range map[string]string{
		"changed": "UPDATE directory_entry SET reason = 'other', change = 1000000 + version WHERE kind = 'tenant' AND id = 'acme'", // so that nodes read it again
		"removed": "DELETE FROM directory_entry WHERE kind = 'tenant' AND id = 'acme'",
		"lowered": "DELETE FROM directory_entry WHERE kind = 'tenant' AND id = 'acme' AND version = 2",
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			s := withTenant(t)
			tenantCommand(t, s, "set", "acme", "objects=10")
			tenantCommand(t, s, "set", "acme", "objects=5")
			wantStatus(t, "before", keysStatus(t, s, "wile")(), 200)
			statement(t, filepath.Join(s.Dir, "keyreeve.db"), harm)
			// A node compares its memory with the table every 30 s; the wait is long for busy machines.
			refused := false
			for end := time.Now().Add(5 * time.Minute); !refused && time.Now().Before(end); time.Sleep(100 * time.Millisecond) {
				refused = keysStatus(t, s, "wile")() >= 400
			}
			if !refused {
				t.Error("the tenant is served")
			}
			wantStatus(t, "another tenant", keysStatus(t, s, "dev")(), 200)
		})
	}
}

// A tenant that is disabled on one node is refused by another one within a second.
func TestTenantDisabledOnAnotherNode(t *testing.T) {
	t.Parallel()
	pg := storetest.StartPostgres(t)
	first := withTenant(t, "KEYREEVE_DEV_STORE="+pg.URL)
	second := secondNode(t, first, pg.URL)
	within(t, "the second node", 200, keysStatus(t, second, "wile"))
	tenantCommand(t, first, "disable", "acme")
	within(t, "the second node after the tenant was disabled", 401, keysStatus(t, second, "wile"))
	tenantCommand(t, first, "enable", "acme")
	within(t, "the second node after the tenant was enabled", 200, keysStatus(t, second, "wile"))
}

// makesAESKey asks for a key and returns the error, nil if it was made.
func makesAESKey(c *kmiptest.Client) error {
	_, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
	return err
}

// certificateRequest makes a key and a certificate request for it, which asks for a name that
// it must not get.
func certificateRequest(t *testing.T) (crypto.Signer, string) {
	t.Helper()
	key := keystest.ECKey(t, elliptic.P256())
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{DNSNames: []string{"admin.example"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	return key, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
}

// enrolledTLS returns the settings of a client with a certificate that was issued to it.
func enrolledTLS(t *testing.T, s *servertest.Server, certificate string, key crypto.Signer) *tls.Config {
	t.Helper()
	config := clientTLS(t, s, "dev")
	leaf := pemCertificate(t, []byte(certificate))
	config.Certificates = []tls.Certificate{{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}}
	return config
}

// ofClient runs a command on the enrolled clients of a server.
func ofClient(t *testing.T, s *servertest.Server, args ...string) string {
	t.Helper()
	out, err := s.Command(slices.Concat([]string{"client"}, args, []string{"--dir", s.Dir})...)
	if err == nil {
		return out
	}
	t.Fatalf("client %v: %v\n%s", args, err, out)
	return ""
}

// knownOverKMIP returns 200 if a client is known, 401 if not.
func knownOverKMIP(c *kmiptest.Client) int {
	if err := discover(c); kmiptest.Reason(err) == core.ReasonAuthenticationNotSuccessful {
		return http.StatusUnauthorized
	} else if err != nil {
		return 0
	}
	return http.StatusOK
}

// A client that sends a certificate request gets a certificate, by a command or by an
// invitation that works once. Revocation ends it on an open connection. Without the settings
// no client is enrolled.
func TestEnrollment(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	key, request := certificateRequest(t)
	file := filepath.Join(s.Dir, "a.csr")
	write(t, file, request)
	certificate := ofClient(t, s, "add", "array7", "--csr", file, "--group", "storage")
	leaf := pemCertificate(t, []byte(certificate))
	if left := time.Until(leaf.NotAfter); len(leaf.DNSNames) != 0 || left > 2160*time.Hour || left < 2159*time.Hour {
		t.Errorf("the certificate has the names %v and lasts %v", leaf.DNSNames, left)
	}
	open := dialWith(t, s, enrolledTLS(t, s, certificate, key), core.V1_4)
	id := aesKey(t, open, activeNow)
	if shown := ofClient(t, s, "show", "array7"); !strings.Contains(shown, leaf.SerialNumber.Text(16)) || !strings.Contains(shown, `"groups":["storage"]`) {
		t.Errorf("client show: %s", shown)
	}
	if out, err := s.Command("client", "add", "array7", "--csr", file, "--dir", s.Dir); err == nil {
		t.Errorf("a client was added twice: %s", out)
	}
	renewed := dialWith(t, s, enrolledTLS(t, s, ofClient(t, s, "renew", "array7", "--csr", file), key), core.V1_4)
	ofClient(t, s, "revoke", "array7", "--serial", leaf.SerialNumber.Text(16))
	within(t, "an open connection whose certificate was revoked", 401, func() int { return knownOverKMIP(open) })
	if got := knownOverKMIP(renewed); got != 200 {
		t.Errorf("a connection with the other certificate: %d", got)
	}
	ofClient(t, s, "revoke", "array7")
	within(t, "an open connection whose client was revoked", 401, func() int { return knownOverKMIP(renewed) })

	invitation := strings.TrimSpace(ofClient(t, s, "invite", "array7"))
	enroll := func(invitation, name, request string) (int, string) {
		body, err := json.Marshal(map[string]string{"tenant": "default", "name": name, "invitation": invitation, "csr": request})
		if err != nil {
			t.Fatal(err)
		}
		stranger := withToken(t, s, "")
		res, text := sendREST(t, stranger.http, "POST", stranger.base+"/v1/clients", string(body), nil)
		var answer struct{ Certificate string }
		json.Unmarshal(text, &answer)
		return res.StatusCode, answer.Certificate
	}
	another := strings.TrimSpace(ofClient(t, s, "invite", "box8"))
	for what, w := range map[string]struct {
		invitation, name, request string
		want                      int
	}{
		"an invitation of another client": {another, "array7", request, 401},
		"a client that does not exist":    {invitation, "nobody", request, 401},
		"another text":                    {"kri_abc", "array7", request, 401},
		"no text":                         {"", "array7", request, 401},
		"no certificate request":          {invitation, "array7", "hello", 400},
	} {
		if got, _ := enroll(w.invitation, w.name, w.request); got != w.want {
			t.Errorf("%s: %d, want %d", what, got, w.want)
		}
	}
	status, certificate := enroll(invitation, "array7", request)
	if status != 201 {
		t.Fatalf("an invitation: %d", status)
	}
	if status, _ := enroll(invitation, "array7", request); status != 401 {
		t.Errorf("an invitation that was used: %d", status)
	}
	if _, err := kmiptest.Do(dialWith(t, s, enrolledTLS(t, s, certificate, key), core.V1_4), &kmip.Get, &operation.GetInput{ID: core.ID(id)}); err != nil {
		t.Errorf("the client with its new certificate gets its key: %v", err)
	}
	ofClient(t, s, "revoke", "box8")
	if status, _ := enroll(another, "box8", request); status != 401 {
		t.Errorf("an invitation that was revoked: %d", status)
	}
	for _, secret := range []string{invitation, another} {
		if out, err := s.Command("audit", "list", "--dir", s.Dir, "--limit", "0"); err != nil || strings.Contains(out, secret) {
			t.Errorf("the records have the secret of an invitation, or cannot be read: %v", err)
		}
	}
}

// A tenant is deleted in two steps. Until the second one it can be restored. Then its keys are
// gone from the HSM, the records say so, its name is not used again, and nothing else has changed.
func TestDeletedTenant(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	wile, dev := dial(t, s, "wile", core.V1_4), dial(t, s, "dev", core.V1_4)
	id, kept := aesKey(t, wile, activeNow), aesKey(t, dev, activeNow, resident)
	aesKey(t, wile, resident)
	refusedTenantCommand(t, s, "say why", "delete", "acme")
	refusedTenantCommand(t, s, "declared at each start", "delete", "default", "--reason", "x")
	refusedTenantCommand(t, s, "disable it before", "delete", "acme", "--now", "--reason", "x")
	refusedTenantCommand(t, s, "ask for its deletion", "delete", "acme", "--confirm", "--yes")
	refusedTenantCommand(t, s, "only a tenant whose deletion", "restore", "acme")

	tenantCommand(t, s, "delete", "acme", "--reason", "gone")
	if err := encryptOver(wile, id); err == nil || !strings.Contains(err.Error(), "deleting") {
		t.Errorf("a tenant that is being deleted: %v", err)
	}
	refusedTenantCommand(t, s, "grace time", "delete", "acme", "--confirm", "--yes")
	refusedTenantCommand(t, s, "is deleting", "enable", "acme")
	tenantCommand(t, s, "restore", "acme")
	tenantCommand(t, s, "enable", "acme")
	if err := encryptOver(dial(t, s, "wile", core.V1_4), id); err != nil {
		t.Errorf("after it was restored: %v", err)
	}

	tenantCommand(t, s, "disable", "acme")
	tenantCommand(t, s, "delete", "acme", "--now", "--reason", "gone")
	if out := tenantCommand(t, s, "delete", "acme", "--confirm", "--yes"); !strings.Contains(out, "1 sets of keys and 1 resident keys were destroyed in the HSM (shredded: online)") {
		t.Errorf("confirm prints %q", out)
	}
	for range 2 {
		wantNoKeysOf(t, s, "acme")
		refusedTenantCommand(t, s, "not used again", "create", "acme")
		refusedTenantCommand(t, s, "only a tenant whose deletion", "restore", "acme")
		refusedTenantCommand(t, s, "is deleted", "enable", "acme")
		if status, body := askREST(t, s, "wile", http.MethodGet, "/v1/keys", ""); status < 400 || !strings.Contains(body, "deleted") {
			t.Errorf("a client of the deleted tenant: %d %s", status, body)
		}
		if err := encryptOver(dial(t, s, "dev", core.V1_4), kept); err != nil {
			t.Errorf("a resident key of another tenant: %v", err)
		}
		if out, err := s.Command("health", "--dir", s.Dir); err != nil || strings.Contains(out, "PROBLEM") {
			t.Errorf("health: %v\n%s", err, out)
		}
		if err := s.Stop(); err != nil {
			t.Fatal(err)
		}
		s.Run()
	}
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Destroy Tenant Keys")
	if err != nil || strings.Count(out, "begins") != 2 || strings.Count(out, "destroyed") != 2 || !strings.Contains(out, "system/socket") {
		t.Errorf("the records: %v\n%s", err, out)
	}
}

// The running server removes the policies and users of a deleted tenant within its next round of
// upkeep, with a record. Nothing is then missing, also after a restart.
func TestPeopleOfADeletedTenantAreRemoved(t *testing.T) {
	t.Parallel()
	s := withTenant(t)
	policyCommand(t, s, false, "user", "add", "u1", "--tenant", "acme")
	policyCommand(t, s, false, "role", "save", "clerk", "encrypt", "--tenant", "acme")
	policyCommand(t, s, false, "user", "add", "kept")
	tenantCommand(t, s, "disable", "acme")
	tenantCommand(t, s, "delete", "acme", "--now", "--reason", "gone")
	tenantCommand(t, s, "delete", "acme", "--confirm", "--yes")
	if out := policyCommand(t, s, true, "user", "add", "u2", "--tenant", "acme"); !strings.Contains(out, "tenant acme was deleted") {
		t.Errorf("a new user of a deleted tenant: %s", out)
	}
	left := ""
	for end := time.Now().Add(100 * time.Second); time.Now().Before(end); time.Sleep(time.Second) {
		if left = policyCommand(t, s, false, "user", "list", "--tenant", "acme") + policyCommand(t, s, false, "role", "list", "--tenant", "acme"); left == "" {
			break
		}
	}
	if left != "" {
		t.Errorf("of the deleted tenant there are still %s", left)
	}
	if got := records(t, s, "Destroy Tenant Keys", "--tenant", "acme"); !slices.ContainsFunc(got, func(r string) bool { return strings.Contains(r, "entries: removed") }) {
		t.Errorf("the removal has no record: %v", got)
	}
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	s.Run()
	if out := policyCommand(t, s, false, "user", "list"); !strings.Contains(out, "kept") {
		t.Errorf("users of another tenant: %s", out)
	}
	if out, err := s.Command("health", "--dir", s.Dir); err != nil || strings.Contains(out, "degraded") {
		t.Errorf("health: %v\n%s", err, out)
	}
}

// wantNoKeysOf fails if the HSM has a key of a tenant, or an orphan of it.
func wantNoKeysOf(t *testing.T, s *servertest.Server, tenant string) {
	t.Helper()
	for _, list := range []string{"keys", "orphans"} {
		args := []string{"hsm", list, "--dir", s.Dir}
		if list == "orphans" {
			args = []string{"hsm", list, "list", "--dir", s.Dir}
		}
		if out, err := s.Command(args...); err != nil || strings.Contains(out, tenant) || strings.Contains(out, "no row") {
			t.Errorf("hsm %s after %s was deleted: %v\n%s", list, tenant, err, out)
		}
	}
}

// A server that is killed while it destroys the keys of a tenant destroys nothing more by itself
// when it runs again: the command is given again, and does the rest.
func TestDeletionSurvivesKills(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for i, delay := range []time.Duration{0, 3 * time.Millisecond, 6 * time.Millisecond, 10 * time.Millisecond, 15 * time.Millisecond, 25 * time.Millisecond} {
		tenant := fmt.Sprint("doomed", i)
		s.Issue(tenant, tenant)
		aesKey(t, dial(t, s, tenant, core.V1_4), resident)
		tenantCommand(t, s, "disable", tenant)
		tenantCommand(t, s, "delete", tenant, "--now", "--reason", "test")
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			adminsocket.Ask(filepath.Join(s.Dir, "admin.sock"), http.MethodPost, "/tenants/confirm", url.Values{"name": {tenant}}, &struct{}{})
		}()
		time.Sleep(delay)
		s.Kill()
		<-ended
		s.Run()
		tenantCommand(t, s, "delete", tenant, "--confirm", "--yes")
		wantNoKeysOf(t, s, tenant)
		aesKey(t, dial(t, s, "dev", core.V1_4))
	}
}
