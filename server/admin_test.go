package server_test

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// records are the audit records of one operation, newest first.
func records(t *testing.T, s *servertest.Server, operation string, more ...string) []string {
	t.Helper()
	out, err := s.Command(append([]string{"audit", "list", "--dir", s.Dir, "--limit", "0", "--operation", operation}, more...)...)
	if err != nil {
		t.Fatal(err, out)
	}
	if out = strings.TrimSpace(out); out == "no record fits" {
		return nil
	}
	return strings.Split(out, "\n")
}

// What an administrator does to the server is recorded: which policy is in
// force since when, whom the revocation list refuses, by command or signal, and who
// read the records or looked into the HSM.
func TestWhatAdministratorsDoIsRecorded(t *testing.T) {
	s := servertest.Start(t)
	policies := func(want int, says string) {
		t.Helper()
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			got := records(t, s, "Load Policy")
			if len(got) == want && strings.Contains(got[0], " allowed admin keyreeve Load Policy") && strings.Contains(got[0], says) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the records are %q; want %d, the newest with %q", got, want, says)
			}
		}
	}
	policies(1, "at start")
	if out, err := s.Command("hsm", "keys", "--dir", s.Dir); err != nil {
		t.Fatal(err, out)
	}
	for operation, says := range map[string]string{
		"Read Records":       "GET /audit?limit=1000&operation=Load+Policy",
		"List Token Objects": "GET /hsm/keys",
	} {
		says += fmt.Sprintf(", asked by user %d", os.Getuid())
		if got := records(t, s, operation); len(got) == 0 || !strings.Contains(got[len(got)-1], " allowed admin system/socket "+operation+" | ") || !strings.HasSuffix(got[len(got)-1], says) {
			t.Errorf("the records of %s are %q; want one that says %q", operation, got, says)
		}
	}
	if out, err := s.Command("policy", "reload", "--dir", s.Dir); err != nil {
		t.Fatal(err, out)
	}
	policies(2, fmt.Sprintf("asked by user %d", os.Getuid()))
	s.Signal(syscall.SIGHUP)
	policies(3, "the same as before")

	lists := func(want int, says string) {
		t.Helper()
		dev := dial(t, s, "dev", core.V1_4)
		for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			kmiptest.Do(dev, &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{})
			got := records(t, s, "Load Revocation List")
			if len(got) == want && strings.Contains(got[0], says) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the records are %q; want %d, the newest with %q", got, want, says)
			}
		}
	}
	s.Certify(certs.Request{Name: "thief", Tenant: "default"})
	if out, err := s.Command("cert", "revoke", "--dir", s.Dir, "--name", "thief"); err != nil {
		t.Fatal(err, out)
	}
	lists(1, "allowed admin keyreeve Load Revocation List | 1 certificates are revoked")
	if err := os.WriteFile(filepath.Join(s.Certs, "crl.pem"), []byte("spoilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	lists(2, "the old list stays in force")
	thief := clientTLS(t, s, "thief")
	if c, err := kmiptest.Dial(s.KMIP, thief, core.V1_4); err == nil {
		if _, err := kmiptest.Do(c, &kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}); err == nil {
			t.Error("a spoilt list lets in who stood on the old one")
		}
		c.Close()
	}
}

// A REST request that is refused before the engine sees it leaves a record of
// the operation that it asked for.
func TestRefusedRESTRequestsAreRecorded(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	cfg, _ := kmiptest.Config(s.Certs, "dev")
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, Timeout: 10 * time.Second}
	for _, c := range []struct{ method, path, kind, body, operation string }{
		{"POST", "/v1/encrypt", "text/plain", "{}", "Encrypt"}, {"POST", "/v1/decrypt", "", "{}", "Decrypt"}, {"POST", "/v1/keys", "application/xml", "{}", "Create"},
		{"POST", "/v1/keys", "application/json", `{"type":"pair","algorithm":"ROT13","usage":["sign"]}`, "Create Key Pair"},
		{"POST", "/v1/encrypt", "application/json", `{"keyId":"a","keyId":"b"}`, "Encrypt"}, {"GET", "/v1/keys?limit=x", "", "", "Locate"},
		{"GET", "/v1/keys?offset=1", "", "", "Locate"}, {"GET", "/v1/keys/nobody", "", "", "Get Attributes"},
	} {
		before := len(records(t, s, c.operation))
		req, _ := http.NewRequest(c.method, "https://"+s.HTTPS+c.path, strings.NewReader(c.body))
		if c.kind != "" {
			req.Header.Set("Content-Type", c.kind)
		}
		res, err := rest.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		b, _ := io.ReadAll(res.Body)
		res.Body.Close()
		got := records(t, s, c.operation)
		if res.StatusCode < 400 || len(got) != before+1 || !strings.Contains(got[0], " failed  rest default/dev "+c.operation) {
			t.Errorf("%s %s as %q: %s %s; the records of %s are %q", c.method, c.path, c.kind, res.Status, b, c.operation, got)
		}
	}
}

// One connection has one request at a time: HTTP/2 would give each of 256
// connections of a client 250 bodies of a megabyte.
func TestRESTHasOneRequestAConnection(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	cfg, _ := kmiptest.Config(s.Certs, "dev")
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg, ForceAttemptHTTP2: true}, Timeout: 10 * time.Second}
	res, err := rest.Get("https://" + s.HTTPS + "/v1/health")
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.ProtoMajor != 1 || res.StatusCode != http.StatusOK {
		t.Errorf("a client that would have HTTP/2 is answered %s %s", res.Proto, res.Status)
	}
}

// audit list gives as many records as are asked for, however many pages that
// takes, and says no when it is asked for nonsense.
func TestAuditListPages(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	const many = 2300
	for range many {
		if _, err := kmiptest.Do(c, &kmip.RNGRetrieve, &operation.RNGRetrieveInput{Length: 1}); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[string]int{"0": many, "1": 1, "1000": 1000, "1001": 1001, "2299": 2299, "9999": many} {
		out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "RNG Retrieve", "--limit", limit)
		if n := strings.Count(out, "\n"); err != nil || n != want {
			t.Errorf("--limit %s: %d records, want %d (%v)", limit, n, want, err)
		}
	}
	if got := records(t, s, "RNG Retrieve", "--until", "2020-01-01T00:00:00Z"); len(got) != 0 {
		t.Errorf("until 2020: %d records", len(got))
	}
	if out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "RNG Retrieve", "--principal", "default/dev", "--limit", "1"); err != nil || !strings.Contains(out, " default/dev RNG Retrieve") {
		t.Errorf("the principal as list shows it: %s (%v)", out, err)
	}
	for _, args := range [][]string{{"--limit", "-1"}, {"--until", "soon"}, {"--outcome", "refused"}, {"--tenant", "other", "--principal", "default/dev"}} {
		if out, err := s.Command(append([]string{"audit", "list", "--dir", s.Dir}, args...)...); err == nil {
			t.Errorf("%v: %s", args, out)
		}
	}
}

// A command that finds nothing says so, and one that cannot do what it was asked
// for names the value.
func TestCommandsSayWhatTheyMiss(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, c := range []struct {
		args, says string
		fails      bool
	}{
		{"audit list --operation Revoke", "no record fits", false},
		{"audit list --operation Gett", `operation "Gett" is in no record`, true},
		{"audit list --outcome refused", `outcome must be allowed, denied or failed, not "refused"`, true},
		{"hsm orphans list", "no orphans", false},
		{"hsm orphans purge --all", "no orphan is purgeable", false},
		{"hsm orphans purge abcd", `"abcd" is the CKA_ID of no orphan`, true},
		{"cert revoke --name nobody", `the certificate "nobody" cannot be read`, true},
	} {
		out, err := s.Command(append(strings.Fields(c.args), "--dir", s.Dir)...)
		if (err != nil) != c.fails || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v, %s", c.args, err, out)
		}
	}
}

// Commands that no server is needed for.
func TestCommandsWithoutServer(t *testing.T) {
	t.Parallel()
	oneSentence(t, program(t, nil, "bench", "--dir", filepath.Join(t.TempDir(), "nosuch")), "is not the folder of a development server")
	for _, ask := range []string{"version", "--version"} {
		if out, err := exec.Command(servertest.Binary(t), ask).CombinedOutput(); err != nil || !regexp.MustCompile(`^keyreeve \S+\n$`).Match(out) {
			t.Errorf("%s: %v %q", ask, err, out)
		}
	}
}

// A server that is stopped while it starts says so, and blames neither its policy nor
// its database for what the signal cut off.
func TestStoppedWhileItStarts(t *testing.T) {
	t.Parallel()
	for _, after := range []time.Duration{100, 200, 300, 400, 600, 800} {
		cmd := exec.Command(servertest.Binary(t), "serve", "--dev", "--dir", t.TempDir(), "--kmip", "127.0.0.1:0", "--http", "127.0.0.1:0")
		stop := time.AfterFunc(after*time.Millisecond, func() { cmd.Process.Signal(syscall.SIGTERM) })
		out, _ := cmd.CombinedOutput()
		stop.Stop()
		if cmd.ProcessState.ExitCode() == 1 && !strings.Contains(string(out), "stopped by a signal before it was ready") {
			t.Errorf("SIGTERM after %d ms: %s", after, out)
		}
	}
}

// The doctor looks and does not touch: where there is no server it makes none.
func TestDoctorChangesNothing(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	dir := filepath.Join(t.TempDir(), "none")
	if out, err := s.Command("doctor", "--dir", dir); err == nil || !strings.Contains(out, "no folder of a development server") {
		t.Errorf("%v: %s", err, out)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the doctor made a server")
	}
	for _, args := range [][]string{{"--config", "x", "--kmip", "127.0.0.1:1"}, {"--dev", "--config", "x"}, {}} {
		if out, err := s.Command(append([]string{"serve"}, args...)...); err == nil || strings.Count(out, "\n") != 1 {
			t.Errorf("serve %v: %v %q; want one sentence and status 1", args, err, out)
		}
	}
}

// policy simulate answers allow or deny on the first line and by its status, 0
// or 2; what it cannot ask it refuses with one sentence and status 1.
func TestSimulateAnswers(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	id := aesKey(t, dial(t, s, "dev", core.V1_4))
	for _, args := range [][]string{{"user", "add", "olga", "--role", "operator"}, {"user", "add", "gone", "--role", "operator"}, {"user", "disable", "gone"}, {"client", "invite", "array7", "--role", "operator"}} {
		if out, err := s.Command(append(args, "--dir", s.Dir)...); err != nil {
			t.Fatalf("%v: %v %s", args, err, out)
		}
	}
	for _, c := range []struct{ args, want string }{
		{"user add nina", "user nina is made, without a password"}, {"user password nina", "keyreeve: no password was given, so the old one stays"},
	} {
		if out, _ := s.Command(append(strings.Fields(c.args), "--dir", s.Dir)...); !strings.HasPrefix(out, c.want) {
			t.Errorf("%s with empty input: %q; want %q", c.args, out, c.want)
		}
	}
	for _, c := range []struct {
		as, do, object, want string
		status               int
	}{
		{"olga", "Activate", id, "allow\n  operator of the tenant\n", 0}, {"array7", "activate", id, "allow\n  operator of the tenant\n", 0}, {"gone", "Activate", id, "deny\n  the user gone is disabled", 2},
		{"olga", "rotate", id, "allow\n  action Re-key\n  operator of the tenant\n", 0}, {"dev", "*", id, "keyreeve: \"*\" is no action", 1},
		{"dev", "Get", id, "allow\n  member of the object's group\n  owner\n", 0}, {"default/dev2", "Get", id, "allow\n  member of the object's group\n", 0},
		{"stranger", "Get", id, "deny\n  no rule allows it\n", 2}, {"dev", "Get", "", "keyreeve: whether dev may Get depends on the object: name one with --object", 1}, {"dev", "List Token Objects", "", "deny\n", 2}, {"stranger", "Create", "", "allow\n", 0},
		{"other/dev", "Get", id, "keyreeve: there is no tenant other", 1}, {"dev", "Get", "nobody", "keyreeve: for tenant default there is no object", 1},
	} {
		out, err := s.Command("policy", "simulate", "--dir", s.Dir, "--as", c.as, "--do", c.do, "--object", c.object)
		if statusOf(err) != c.status || !strings.HasPrefix(out, c.want) {
			t.Errorf("%s as %s of %s: %v, %q; want status %d and %q", c.do, c.as, c.object, err, out, c.status, c.want)
		}
	}
	for _, more := range [][]string{{"--as", ""}, {"--as", "/dev"}, {"--as", "default/"}, {"--as", "a/b/c"}, {"--as", "user:dev"}, {"--as", "a\nb"}, {"--do", "get"}, {"--do", ""},
		{"--from", "10.0.0.0/8"}, {"--from", "nowhere"}, {"--from", ""}, {"--at", "2026-13-01T00:00:00Z"}, {"--role", "a\x07"}} {
		args := []string{"policy", "simulate", "--dir", s.Dir, "--as", "dev", "--do", "Create"}
		if i := slices.Index(args, more[0]); i >= 0 {
			args[i+1] = more[1]
		} else {
			args = append(args, more...)
		}
		if out, err := s.Command(args...); statusOf(err) != 1 || !strings.HasPrefix(out, "keyreeve: ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%q: %v, %q; want one sentence and status 1", more, err, out)
		}
	}
	for _, args := range [][]string{{"--as", "dev", "--do", "Frobnicate"}, {"--as", "dev", "--do", "Get", "--at", "noon"}, {"--as", "dev"}} {
		out, err := s.Command(append([]string{"policy", "simulate", "--dir", s.Dir}, args...)...)
		if err == nil || !strings.HasPrefix(out, "keyreeve: ") || strings.Count(out, "\n") != 1 {
			t.Errorf("%v: %v, %q; want one sentence and status 1", args, err, out)
		}
	}
}

// statusOf is the exit status that a command's error tells.
func statusOf(err error) int {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode()
	}
	if err != nil {
		return -1
	}
	return 0
}

// What decides who may do what leaves a record when it changes: the settings at
// start, an authority that is added or taken away, and a file that was refused.
func TestTrustIsRecorded(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	if got := records(t, s, "Start"); len(got) != 1 || !strings.Contains(got[0], "settings sha256 ") {
		t.Errorf("the start: %q", got)
	}
	start := len(records(t, s, "Trust Certificate"))
	if start < 2 { // the authority and the server's own
		t.Errorf("%d certificates were recorded at start", start)
	}
	added, _ := anotherAuthority(t, s)
	ca := filepath.Join(s.Certs, "ca.pem")
	own, err := os.ReadFile(ca)
	if err != nil {
		t.Fatal(err)
	}
	reload := func(content []byte, works bool) {
		t.Helper()
		if err := os.WriteFile(ca, content, 0o600); err != nil {
			t.Fatal(err)
		}
		if out, err := s.Command("policy", "reload", "--dir", s.Dir); (err == nil) != works {
			t.Errorf("reload: %v %s", err, out)
		}
	}
	names := "client authority " + certificateNames(pemCertificate(t, added))
	reload(append(append([]byte{}, own...), added...), true)
	if got := records(t, s, "Trust Certificate"); len(got) != start+1 || !strings.Contains(got[0], names) {
		t.Errorf("an authority that was added: %q; want %q", got, names)
	}
	reload(own, true)
	if got := records(t, s, "Distrust Certificate"); len(got) != 1 || !strings.Contains(got[0], names) {
		t.Errorf("an authority that was taken away: %q; want %q", got, names)
	}
	reload([]byte("nonsense"), false)
	if got := records(t, s, "Load Certificates"); len(got) != 1 || !strings.Contains(got[0], "failed") {
		t.Errorf("a file that was refused: %q", got)
	}
	reload(own, true)
	if got := records(t, s, "Trust Certificate"); len(got) != start+1 {
		t.Errorf("a reload that changed nothing: %d records", len(got)-start-1)
	}
}

// A record is found by every object that was involved: who wrapped with a key,
// and what a key was replaced by.
func TestRecordsAreFoundByEveryObject(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	key := aesKey(t, c)
	kek, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskWrapKey, activeNow))
	if err != nil {
		t.Fatal(err)
	}
	wrapping := kek.ID
	if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(key), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt,
		Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{ID: wrapping}}}); err != nil {
		t.Fatal(err)
	}
	next, err := kmiptest.Do(c, &kmip.ReKey, &operation.RekeyInput{ID: core.ID(key)})
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{key, next.ID} {
		if got := records(t, s, "Re-key", "--object", id); len(got) != 1 {
			t.Errorf("the Re-key by %s: %q", id, got)
		}
	}
	got := records(t, s, "Get", "--object", wrapping)
	if len(got) != 1 || !strings.Contains(got[0], key) || !strings.Contains(got[0], "with wrapping key "+wrapping) {
		t.Errorf("who wrapped with it: %q", got)
	}
	pair, err := kmiptest.Do(c, &kmip.CreateKeyPair, &operation.CreateKeyPairInput{
		Common:  core.Attributes{{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmEC)}, {Tag: core.TagCryptographicLength, Value: core.Int(256)}},
		Private: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign)}}, Public: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}})
	if err != nil {
		t.Fatal(err)
	}
	private, public := pairByREST(t, s)
	for _, id := range []string{pair.PrivateID, pair.PublicID, private, public} {
		if got := records(t, s, "Create Key Pair", "--object", id); len(got) != 1 {
			t.Errorf("the Create Key Pair by %s: %q", id, got)
		}
	}
}

// A running server records by itself that a date of a key was reached.
func TestARunningServerRecordsReachedDates(t *testing.T) {
	t.Parallel() // it waits for the loop, which comes round once a minute
	s := servertest.Start(t)
	ends := core.Attribute{Tag: core.TagDeactivationDate, Value: core.Date(time.Now().Add(2 * time.Second).Unix())}
	made, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, activeNow, ends))
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(90 * time.Second); ; time.Sleep(time.Second) {
		got := records(t, s, "Date Reached", "--object", made.ID)
		if slices.ContainsFunc(got, func(line string) bool { return strings.Contains(line, "Deactivation Date ") }) {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("the records are %q", got)
		}
	}
}

// pairByREST makes a key pair at the REST door and returns its two halves.
func pairByREST(t *testing.T, s *servertest.Server) (private, public string) {
	t.Helper()
	cfg := clientTLS(t, s, "dev")
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, Timeout: 20 * time.Second}
	res, err := rest.Post("https://"+s.HTTPS+"/v1/keys", "application/json", strings.NewReader(`{"type":"pair","algorithm":"EC","length":256,"usage":["sign","verify"]}`))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	var made struct {
		ID       string `json:"keyId"`
		PublicID string `json:"publicKeyId"`
	}
	if err := json.NewDecoder(res.Body).Decode(&made); err != nil || made.ID == "" || made.PublicID == "" {
		t.Fatal(res.Status, err, made)
	}
	return made.ID, made.PublicID
}

// pemCertificate reads the certificate in a PEM file.
func pemCertificate(t *testing.T, file []byte) *x509.Certificate {
	t.Helper()
	block, _ := pem.Decode(file)
	if block == nil {
		t.Fatal("no PEM block")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// certificateNames is how a record names a certificate: subject, serial, what else it
// says, and fingerprint.
func certificateNames(cert *x509.Certificate, more ...string) string {
	names := append([]string{"CN=" + cert.Subject.CommonName, "serial " + cert.SerialNumber.Text(16)}, more...)
	return strings.Join(append(names, fmt.Sprintf("sha256 %x", sha256.Sum256(cert.Raw))), ", ")
}

// changed lists what differs between two states of a folder.
func changed(before, after map[string]string) (out []string) {
	for path := range maps.Keys(after) {
		if before[path] != after[path] {
			out = append(out, path+": "+before[path]+" -> "+after[path])
		}
	}
	for path := range maps.Keys(before) {
		if after[path] == "" {
			out = append(out, path+" is gone")
		}
	}
	return out
}

// The doctor never logs in, whatever the PIN in the settings is, and leaves every
// file as it was: beside a server that runs, that stopped, and that was killed.
func TestDoctorLeavesNoTrace(t *testing.T) {
	faults := hsmtest.FaultModule(t)
	dir, fresh := installed(t)
	env := []string{softHSMOf(dir)}
	right, wrong := fresh(t), fresh(t)
	wrong.set("hsm", "pin_file", write(t, filepath.Join(t.TempDir(), "pin"), "s3cret-wrong\n"))
	for _, s := range []settings{right, wrong} {
		s.set("hsm", "module", faults.Module)
		s["store"] = map[string]any{"url": "sqlite:" + filepath.Join(dir, "keyreeve.db")}
	}
	files := map[string]string{"right": saved(t, right), "wrong": saved(t, wrong)}
	look := func(state string, says ...string) {
		t.Helper()
		for pin, file := range files {
			// without times: SoftHSM2 writes a file of its token again, with the same content
			logins, before := faults.Logins(), storetest.Files(t, dir, false)
			r := program(t, env, "doctor", "--config", file)
			if r.status != 0 || strings.Contains(r.out+r.err, "s3cret") {
				t.Errorf("%s, %s PIN: %+v", state, pin, r)
			}
			for _, want := range says {
				if !strings.Contains(r.out, want) {
					t.Errorf("%s, %s PIN: the doctor does not say %q: %s", state, pin, want, r.out)
				}
			}
			if n := faults.Logins(); n != logins {
				t.Errorf("%s, %s PIN: %d logins", state, pin, n-logins)
			}
			after := storetest.Files(t, dir, false)
			if shm := filepath.Join(dir, "keyreeve.db-shm"); state == "running" {
				before[shm] = after[shm] // the server itself keeps it in motion
			}
			if diff := changed(before, after); len(diff) > 0 {
				t.Errorf("%s, %s PIN: %q", state, pin, diff)
			}
		}
	}
	look("stopped", "note: not logged in", "installation ")
	served := servertest.StartConfig(t, files["right"], dir, filepath.Join(dir, "certs"), env...)
	if faults.Logins() == 0 {
		t.Fatal("the server's login was not counted, so the test counts nothing")
	}
	look("running", "in use by the running server", "token \"keyreeve\"")
	if out, err := served.Command("audit", "list", "--dir", dir); err != nil { // its record is in the WAL, which the server empties from time to time
		t.Fatal(err, out)
	}
	served.Kill()
	if wal, err := os.Stat(filepath.Join(dir, "keyreeve.db-wal")); err != nil || wal.Size() == 0 {
		t.Fatalf("the killed server left no WAL: %v", err)
	}
	os.Remove(filepath.Join(dir, "admin.sock"))
	look("killed", "note: not logged in", "installation ")
}

// So it is for the folder of a development server.
func TestDoctorOfDevelopmentFolder(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	before := storetest.Files(t, s.Dir, false)
	if out, err := s.Command("doctor", "--dir", s.Dir); err != nil || strings.Contains(out, "PROBLEM") {
		t.Errorf("%v: %s", err, out)
	}
	if diff := changed(before, storetest.Files(t, s.Dir, false)); len(diff) > 0 {
		t.Errorf("%q", diff)
	}
}

// A database of an older schema is reported with both versions and stays as it is.
func TestDoctorMigratesNothing(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	env := []string{softHSMOf(dir)}
	pg := storetest.StartPostgres(t)
	for name, url := range map[string]string{"sqlite": "", "postgres": pg.URL} {
		s := fresh(t)
		if url == "" {
			url = s["store"].(map[string]any)["url"].(string)
			statement(t, strings.TrimPrefix(url, "sqlite:"), "DELETE FROM goose_db_version WHERE version_id > 0")
		} else {
			s["store"] = map[string]any{"url": url}
			if r := program(t, env, "init", "--config", saved(t, s)); r.status != 0 {
				t.Fatal(r)
			}
			pg.Run("DELETE FROM goose_db_version WHERE version_id > 0")
		}
		keys := tokenFiles(t, dir)
		for range 2 { // the first changed nothing that the second sees
			r := program(t, env, "doctor", "--config", saved(t, s))
			if said := problem(r.out, "store"); r.status != 1 || !strings.Contains(said, "has schema 0 and this release needs 4") || !strings.Contains(said, "keyreeve serve") {
				t.Errorf("%s: %+v", name, r)
			}
		}
		if n := tokenFiles(t, dir); n != keys {
			t.Errorf("%s: the token had %d objects and has %d", name, keys, n)
		}
	}
}

// atTerminal runs a command whose standard input is a terminal at which somebody
// types a line.
func atTerminal(t *testing.T, line string, args ...string) (string, error) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be made: %v", err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Skipf("no terminal can be made: %v", err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|syscall.O_NOCTTY, 0)
	if err != nil {
		t.Skipf("no terminal can be made: %v", err)
	}
	defer slave.Close()
	if _, err := master.WriteString(line + "\n"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(servertest.Binary(t), args...)
	cmd.Stdin = slave
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// orphaned makes keys in the token and takes the rows of them away, as a restore
// of an old database does. It returns the CKA_IDs. The row of an intent about the
// first is planted.
func orphaned(t *testing.T, s *servertest.Server, n int) (ids []string) {
	t.Helper()
	c := dial(t, s, "dev", core.V1_4)
	var keys []string
	for range n {
		in := kmiptest.AESKey(256, core.MaskEncrypt)
		in.Attributes = append(in.Attributes, resident)
		out, err := kmiptest.Do(c, &kmip.Create, in)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, out.ID)
	}
	s.Kill()
	db := openDatabase(t, filepath.Join(s.Dir, "keyreeve.db"), "")
	defer db.Close()
	for _, key := range keys {
		var token []byte
		if err := db.QueryRow("SELECT token FROM object WHERE id = $1", key).Scan(&token); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, hex.EncodeToString(token))
		if _, err := db.Exec("DELETE FROM object WHERE id = $1", key); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := db.Exec("INSERT INTO intent VALUES ($1, 'default', 'destroy-token-object', x'00', 'x', 'x', 0, 'x', 'x', zeroblob(34))", ids[0]); err != nil {
		t.Fatal(err)
	}
	s.Run()
	return ids
}

// Token objects are destroyed after somebody at a terminal typed what they were
// asked to type, or by --yes, and not otherwise. One whose intent was changed stays
// and is named. Records say who allowed it.
func TestPurgeCommand(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	ids := orphaned(t, s, 4)
	left := func(want int, when string) {
		t.Helper()
		out, err := s.Command("hsm", "orphans", "list", "--dir", s.Dir)
		if n := strings.Count(out, "\n"); err != nil || n != want || !strings.Contains(out, ids[0]) {
			t.Fatalf("%s %d orphans are listed, want %d: %v\n%s", when, n, want, err, out)
		}
	}
	left(4, "before")
	purge := []string{"hsm", "orphans", "purge", "--dir", s.Dir, "--all"}
	cmd := exec.Command(servertest.Binary(t), purge...)
	cmd.Stdin = bytes.NewBufferString("destroy 3\n")
	if out, err := cmd.CombinedOutput(); statusOf(err) != 1 || !strings.Contains(string(out), "not a terminal") || !strings.Contains(string(out), "--yes") {
		t.Errorf("from a pipe: %v\n%s", err, out)
	}
	left(4, "after a pipe")
	for _, line := range []string{"no", "", "yes", "destroy", "destroy 4", "destroy 33"} {
		out, err := atTerminal(t, line, purge...)
		if statusOf(err) != 1 || !strings.Contains(out, `cannot be brought back. Type "destroy 3" to go on`) || !strings.Contains(out, "nothing was destroyed") {
			t.Errorf("%q: %v\n%s", line, err, out)
		}
	}
	left(4, "after no")
	if out, err := atTerminal(t, "destroy 1", "hsm", "orphans", "purge", "--dir", s.Dir, ids[1]); err != nil || !strings.Contains(out, "1 token objects destroyed") || strings.Contains(out, ids[2]) {
		t.Errorf("by its CKA_ID: %v\n%s", err, out)
	}
	left(3, "after one")
	if out, err := s.Command("hsm", "orphans", "purge", "--dir", s.Dir, "--yes", ids[0]); statusOf(err) != 1 || !strings.Contains(out, ids[0]+" may not be purged") || !strings.Contains(out, "changed behind the server") {
		t.Errorf("of a changed row: %v\n%s", err, out)
	}
	if out, err := s.Command(append(purge, "--yes")...); err != nil || !strings.Contains(out, "2 token objects destroyed") || !strings.Contains(out, "left alone: "+ids[0]) {
		t.Errorf("all: %v\n%s", err, out)
	}
	left(1, "at last")
	got := records(t, s, "Purge Token Object")
	allowed := 0
	for _, r := range got {
		if strings.Contains(r, "begins") && strings.Contains(r, "administrator on the server's machine") && strings.Contains(r, fmt.Sprintf("asked by user %d", os.Getuid())) {
			allowed++
		}
	}
	if allowed != 3 || len(got) != 7 { // two of each, and one refusal
		t.Errorf("%d records, %d of them of a beginning that the policy allowed; want 7 and 3: %q", len(got), allowed, got)
	}
	for _, as := range []string{"system/socket", "system/other"} {
		out, err := s.Command("policy", "simulate", "--dir", s.Dir, "--as", as, "--do", "Purge Token Object", "--role", "system")
		if want := map[string]int{"system/socket": 0, "system/other": 2}[as]; statusOf(err) != want {
			t.Errorf("%s: %v, %s", as, err, out)
		}
	}
}

// hsm keys shows every set of the token, also one that no other command shows: that
// of a database that was lost, one that was retired, and one that was not finished.
func TestKeysCommand(t *testing.T) {
	t.Parallel()
	dir, fresh := installed(t)
	env := []string{softHSMOf(dir)}
	lost := fresh(t)
	lost["store"] = map[string]any{"url": "sqlite:" + filepath.Join(t.TempDir(), "lost.db")}
	r := program(t, env, "init", "--config", saved(t, lost))
	if r.status != 0 {
		t.Fatal(r)
	}
	other := strings.Fields(r.out)[1]
	s := fresh(t)
	path := saved(t, s)
	served := servertest.StartConfig(t, path, dir, filepath.Join(dir, "certs"), env...)
	before := storetest.Files(t, filepath.Join(dir, "tokens"), false)
	out, err := served.Command("hsm", "keys", "--config", path)
	if err != nil || strings.Count(out, "\n") != 3 {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, want := range []string{"/0 | system | 7 keys\n", "/1 | in use, tenant default, epoch 1 | 7 keys\n", "keyreeve/" + other + "/0 | another installation | 7 keys | left by an init"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if js, err := served.Command("hsm", "keys", "--config", path, "--json"); err != nil || strings.Count(js, `"keys":7`) != 3 {
		t.Errorf("%v\n%s", err, js)
	}
	if diff := changed(before, storetest.Files(t, filepath.Join(dir, "tokens"), false)); len(diff) > 0 {
		t.Errorf("the token was changed: %q", diff)
	}

	// A row that was changed behind the server is shown as such, and hides no other.
	url, _ := s["store"].(map[string]any)["url"].(string)
	statement(t, strings.TrimPrefix(url, "sqlite:"), "UPDATE tenant_key SET epoch = 7")
	out, err = served.Command("hsm", "keys", "--config", path)
	for _, want := range []string{"row of the table tenant_key | tampered | 0 keys | the database row of set 1 of tenant", "/1 | no row | 7 keys | its row may be one that was changed", "/0 | system | 7 keys\n"} {
		if err != nil || !strings.Contains(out, want) {
			t.Errorf("%v: %q is not in\n%s", err, want, out)
		}
	}
}
