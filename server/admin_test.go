package server_test

import (
	"errors"
	"fmt"
	"io"
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

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
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
			kmiptest.Do(dev, &kmip.DiscoverVersions, &core.DiscoverVersionsInput{})
			got := records(t, s, "Load Revocation List")
			if len(got) == want && strings.Contains(got[0], says) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("the records are %q; want %d, the newest with %q", got, want, says)
			}
		}
	}
	if err := certs.Issue(s.Dir, certs.Request{Name: "thief", Tenant: "default"}); err != nil {
		t.Fatal(err)
	}
	if out, err := s.Command("cert", "revoke", "--dir", s.Dir, "--name", "thief"); err != nil {
		t.Fatal(err, out)
	}
	lists(1, "allowed admin keyreeve Load Revocation List | 1 certificates are revoked")
	if err := os.WriteFile(filepath.Join(s.Certs, "crl.pem"), []byte("spoilt"), 0o600); err != nil {
		t.Fatal(err)
	}
	lists(2, "the old list stays in force")
	thief, err := kmiptest.Config(s.Certs, "thief")
	if err != nil {
		t.Fatal(err)
	}
	if c, err := kmiptest.Dial(s.KMIP, thief, core.V1_4); err == nil {
		if _, err := kmiptest.Do(c, &kmip.DiscoverVersions, &core.DiscoverVersionsInput{}); err == nil {
			t.Error("a spoilt list lets in who stood on the old one")
		}
		c.Close()
	}
}

// A REST request that is refused before the engine sees it leaves a record of
// the operation that it asked for.
func TestRefusedRESTRequestsAreRecorded(t *testing.T) {
	s := servertest.Start(t)
	cfg, _ := kmiptest.Config(s.Certs, "dev")
	rest := &http.Client{Transport: &http.Transport{TLSClientConfig: cfg}, Timeout: 10 * time.Second}
	for _, c := range []struct{ method, path, kind, body, operation string }{
		{"POST", "/v1/encrypt", "text/plain", "{}", "Encrypt"}, {"POST", "/v1/decrypt", "", "{}", "Decrypt"}, {"POST", "/v1/keys", "application/xml", "{}", "Create"},
		{"POST", "/v1/keys", "application/json", `{"type":"pair","algorithm":"ROT13","usage":["sign"]}`, "Create Key Pair"},
		{"POST", "/v1/encrypt", "application/json", `{"key_id":"a","key_id":"b"}`, "Encrypt"}, {"GET", "/v1/keys?limit=x", "", "", "Locate"},
		{"GET", "/v1/keys?offset=2147483647", "", "", "Locate"}, {"GET", "/v1/keys/nobody", "", "", "Get Attributes"},
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
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	const many = 2300
	for range many {
		if _, err := kmiptest.Do(c, &kmip.RNGRetrieve, &core.RNGRetrieveInput{Length: 1}); err != nil {
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
	s := servertest.Start(t)
	id := aesKey(t, dial(t, s, "dev", core.V1_4))
	for _, c := range []struct {
		as, do, object, want string
		status               int
	}{
		{"dev", "Get", id, "allow\n  member of the object's group\n  owner\n", 0}, {"default/dev2", "Get", id, "allow\n  member of the object's group\n", 0},
		{"stranger", "Get", id, "deny\n  no rule allows it\n", 2}, {"dev", "Get", "", "keyreeve: whether dev may Get depends on the object: name one with --object", 1}, {"dev", "List Token Objects", "", "deny\n", 2}, {"stranger", "Create", "", "allow\n", 0},
		{"other/dev", "Get", id, "keyreeve: for tenant other there is no object", 1}, {"dev", "Get", "nobody", "keyreeve: for tenant default there is no object", 1},
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
