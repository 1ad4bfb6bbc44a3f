package client_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

func TestMain(m *testing.M) {
	status := m.Run()
	servertest.RemoveBinary()
	os.Exit(status)
}

// terminal runs the program as a person does, with a home of its own.
type terminal struct {
	t      *testing.T
	server *servertest.Server
	dir    string // current folder and home
	env    []string
}

// atTerminal starts a server and logs in as dev.
func atTerminal(t *testing.T) *terminal {
	t.Helper()
	p := &terminal{t: t, server: servertest.Start(t), dir: coretest.MemoryDir(t)}
	p.must(0, "", "login", "--dir", p.server.Dir, "--url", p.url())
	return p
}

func (p *terminal) url() string { return "https://" + p.server.HTTPS }

// file writes a file in the home.
func (p *terminal) file(name, content string) string {
	p.t.Helper()
	path := filepath.Join(p.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		p.t.Fatal(err)
	}
	return path
}

// run runs a command with a standard input.
func (p *terminal) run(stdin string, args ...string) (status int, stdout, stderr string) {
	p.t.Helper()
	cmd := exec.Command(servertest.Binary(p.t), args...)
	cmd.Dir, cmd.Stdin = p.dir, strings.NewReader(stdin)
	cmd.Env = append(append(os.Environ(), "HOME="+p.dir, "XDG_CONFIG_HOME=", "KEYREEVE_PROFILES="), p.env...)
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode(), out.String(), problems.String()
	}
	if err != nil {
		p.t.Fatal(err)
	}
	return 0, out.String(), problems.String()
}

// must runs a command that must end with a status, and whose output must have some parts.
func (p *terminal) must(want int, stdin string, args ...string) string {
	p.t.Helper()
	status, stdout, stderr := p.run(stdin, args...)
	if status != want {
		p.t.Fatalf("keyreeve %s: status %d, want %d: %s%s", strings.Join(args, " "), status, want, stdout, stderr)
	}
	return stdout + stderr
}

// key makes a key and returns its identifier.
func (p *terminal) key(args ...string) string {
	p.t.Helper()
	return strings.TrimSpace(p.must(0, "", append([]string{"key", "create", "-q"}, args...)...))
}

// Each command gives back what another one has made, from files, pipes and texts.
func TestCryptography(t *testing.T) {
	p := atTerminal(t)
	aes := p.key("--usage", "encrypt,decrypt", "--name", "first")
	binary := string([]byte{0, 0xff, '\n', 0x80})
	plain := p.file("plain", binary)

	document := p.must(0, binary, "encrypt", aes)
	if got := p.must(0, document, "decrypt", aes); got != binary {
		t.Errorf("a pipe gives %q", got)
	}
	p.must(0, "", "encrypt", aes, plain, "--out", "sealed.kre")
	p.must(0, "", "decrypt", aes, "sealed.kre", "--out", "opened")
	if got, _ := os.ReadFile(filepath.Join(p.dir, "opened")); string(got) != binary {
		t.Errorf("a file gives %q", got)
	}
	if info, err := os.Stat(filepath.Join(p.dir, "opened")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the plaintext has the mode %v, %v", info.Mode(), err)
	}
	text := p.must(0, "", "encrypt", aes, "--text", "Hello, World!")
	if got := p.must(0, text, "decrypt", aes, "--text"); got != "Hello, World!\n" {
		t.Errorf("a text gives %q", got)
	}
	if got := p.must(0, text, "decrypt", aes, "-o", "json", "--text"); !strings.Contains(got, `"plaintext":"Hello, World!"`) {
		t.Errorf("JSON gives %q", got)
	}
	p.must(1, document, "decrypt", aes, "--text") // it is no UTF-8
	within := p.must(0, "", "encrypt", aes, "--text", "x", "--context", "row=a;b=c", "--context", "table=t")
	if got := p.must(0, within, "decrypt", aes, "--context", "table=t", "--context", "row=a;b=c"); got != "x" {
		t.Errorf("with its context it is %q", got)
	}
	p.must(1, within, "decrypt", aes, "--context", "table=t")
	bound := p.must(0, "", "encrypt", aes, "--text", "x", "--aad", plain)
	if got := p.must(0, bound, "decrypt", aes, "--aad", plain); got != "x" {
		t.Errorf("additional data gives %q", got)
	}
	p.must(1, bound, "decrypt", aes)
	empty := p.must(0, "", "encrypt", aes)
	if got := p.must(0, empty, "decrypt", aes); got != "" {
		t.Errorf("nothing gives %q", got)
	}

	pair, public, ok := strings.Cut(p.key("--type", "pair", "--algorithm", "EC", "--curve", "P-256", "--usage", "sign,verify"), "\n")
	if !ok {
		t.Fatalf("a pair has the identifier %q alone", pair)
	}
	for _, form := range []string{"base64", "hex", "raw"} {
		p.must(0, "", "sign", pair, plain, "--out", "signature", "--as", form)
		if got := p.must(0, "", "verify", public, plain, "--signature", "signature", "--as", form); got != "valid\n" {
			t.Errorf("%s: verify says %q", form, got)
		}
		if got := p.must(2, "", "verify", public, "--text", "another", "--signature", "signature", "--as", form); !strings.HasPrefix(got, "invalid\n") || !strings.Contains(got, "the signature is not valid") {
			t.Errorf("%s: verify of another message says %q", form, got)
		}
	}
	p.must(1, "", "verify", public, plain, "--signature", "signature", "--as", "hex")
	p.must(0, "", "sign", pair, "--text", "", "--out", "signature")
	p.must(0, "", "verify", public, "--signature", "signature") // of an empty standard input
	if got := p.must(0, "", "key", "public-key", pair); !strings.HasPrefix(got, "-----BEGIN PUBLIC KEY-----\n") {
		t.Errorf("the public key is %q", got)
	}
	if got := p.must(0, "", "key", "public-key", pair, "--jwk"); !strings.Contains(got, `"crv":"P-256"`) {
		t.Errorf("the public key is %q", got)
	}

	hmac := p.key("--algorithm", "HMAC-SHA256", "--usage", "macGenerate,macVerify")
	p.must(0, binary, "mac", hmac, "--out", "mac")
	if got := p.must(0, "", "mac", hmac, plain, "--verify", "mac"); got != "valid\n" {
		t.Errorf("mac --verify says %q", got)
	}
	p.must(2, "another", "mac", hmac, "--verify", "mac")

	if got, want := p.must(0, "", "hash", "--text", "abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n"; got != want {
		t.Errorf("hash gives %q", got)
	}
	if got := p.must(0, "", "random", "16", "--as", "raw"); len(got) != 16 {
		t.Errorf("random gives %d bytes", len(got))
	}
	p.must(1, "", "hash", plain, "--text", "both")
	p.must(1, strings.Repeat("x", 1<<20), "hash")
	p.must(0, strings.Repeat("x", 770_000), "hash")
}

// A key is made, shown in each form, listed over pages, rotated and revoked.
func TestKeys(t *testing.T) {
	p := atTerminal(t)
	made := p.must(0, "", "key", "create", "--name", "my key", "--usage", "encrypt", "--tag", "env=a;b=c,d", "--tag", "backup=", "--object-group", "x,y", "--inactive", "-o", "json")
	var key struct{ KeyID, State string }
	if err := json.Unmarshal([]byte(made), &key); err != nil || key.State != "Pre-Active" {
		t.Fatalf("made %s, %v", made, err)
	}
	for form, want := range map[string]string{"table": "name          my key\n", "yaml": "name: my key\n", "json": `"name":"my key"`} {
		if got := p.must(0, "", "key", "show", key.KeyID, "-o", form); !strings.Contains(got, want) {
			t.Errorf("%s: %s; want %q", form, got, want)
		}
	}
	if !strings.Contains(made, `"tags":{"backup":"","env":"a;b=c,d"}`) || !strings.Contains(made, `"objectGroups":["x,y"]`) {
		t.Errorf("values with separators become %s", made)
	}
	p.must(0, "", "key", "activate", key.KeyID)
	if got := p.must(5, "", "key", "activate", key.KeyID); !regexp.MustCompile(`^keyreeve: .* \(code WrongState, request [0-9a-f-]+\)\n$`).MatchString(got) {
		t.Errorf("a refusal is printed as %q", got)
	}
	if got := p.must(0, "", "key", "rotate", key.KeyID, "-q"); got == key.KeyID+"\n" {
		t.Error("rotate answers the old key")
	}
	p.must(1, "", "key", "revoke", key.KeyID, "--reason", "boredom")
	if got := p.must(0, "", "key", "revoke", key.KeyID+"@1", "--reason", "keyCompromise", "--compromised-at", "2026-01-31T12:00:00Z"); !strings.Contains(got, "Compromised") {
		t.Errorf("revoke says %q", got)
	}
	if got := p.must(0, "", "key", "list", "name:my key", "state:Active"); !strings.HasPrefix(got, "KEY ") || strings.Count(got, "\n") != 2 || !strings.Contains(got, "my key\n") || strings.Contains(got, "\x1b") {
		t.Errorf("the list is %q", got)
	}
	var want []string
	for range 3 {
		want = append(want, p.key("--usage", "encrypt", "--tag", "list=yes"))
	}
	slices.Reverse(want)
	if got := p.must(0, "", "key", "list", "tag.list:yes", "-q"); got != strings.Join(want, "\n")+"\n" {
		t.Errorf("the list is %q, want %v", got, want)
	}
	if got := p.must(0, "", "key", "list", "tag.list:yes", "--limit", "2", "-q"); !strings.HasPrefix(got, strings.Join(want[:2], "\n")+"\n") || !strings.Contains(got, "there are more keys than these 2") {
		t.Errorf("the list is %q, want %v and that there are more", got, want[:2])
	}
	if got := p.must(0, "", "key", "list", "tag.list:no", "-o", "json"); got != `{"keys":[]}`+"\n" {
		t.Errorf("an empty list is %q", got)
	}
}

// What goes wrong has a status of its own, and shows no secret.
func TestStatuses(t *testing.T) {
	p := atTerminal(t)
	key := p.key("--usage", "encrypt,decrypt")
	p.server.Issue("stranger", "default")
	p.must(0, "", "login", "--profile", "stranger", "--dir", p.server.Dir, "--as", "stranger", "--url", p.url())

	p.must(1, "", "encrypt", "--text", "x")
	p.must(1, "no document", "decrypt", key)
	p.must(1, p.must(0, "", "encrypt", key, "--text", "x")+"}", "decrypt", key)
	p.must(1, "", "encrypt", key, "--text", "x", "--out", "missing/folder")
	p.must(3, "", "key", "show", "no-such-key")
	if got := p.must(2, "", "sign", key, "--text", "x"); !strings.Contains(got, "(code IncompatibleUsageMask, request ") {
		t.Errorf("a key for something else: %q", got)
	}
	if got := p.must(2, "", "key", "show", key, "--profile", "stranger"); !strings.Contains(got, "(code PermissionDenied, request ") {
		t.Errorf("the key of somebody else: %q", got)
	}
	if got := p.must(4, "", "key", "list", "--profile", "none"); !strings.Contains(got, "keyreeve login --profile none") {
		t.Errorf("without a profile: %q", got)
	}

	certs := p.server.Certs
	p.env = []string{"KEYREEVE_URL=" + p.url(), "KEYREEVE_CA=" + certs + "/ca.pem", "KEYREEVE_CERT=" + certs + "/dev.pem", "KEYREEVE_KEY=" + certs + "/dev-key.pem"}
	p.must(0, "", "key", "show", key)
	p.env = []string{"KEYREEVE_URL=" + p.url(), "KEYREEVE_CA=" + certs + "/ca.pem", "KEYREEVE_TOKEN=kr1_s3cret_s3cret"}
	if got := p.must(4, "", "key", "show", key); strings.Contains(got, "s3cret") {
		t.Errorf("a wrong token is printed: %q", got)
	}
	p.env = []string{"KEYREEVE_URL=" + p.url(), "KEYREEVE_TOKEN=kr1_s3cret_s3cret"} // this machine does not know the authority
	p.must(4, "", "key", "show", key)
	p.env = []string{"KEYREEVE_URL=https://127.0.0.1:1", "KEYREEVE_TOKEN=kr1_s3cret_s3cret"}
	p.must(6, "", "key", "show", key)
}

// A login is saved if the server accepts it, and buys a token with a password.
func TestLogin(t *testing.T) {
	p := atTerminal(t)
	profiles := filepath.Join(p.dir, ".config", "keyreeve", "profiles.yaml")
	before, err := os.ReadFile(profiles)
	if err != nil {
		t.Fatal(err)
	}
	for status, args := range map[int][]string{
		1: {"--url", "http://127.0.0.1:1"},
		4: {"--token-file", p.file("token", "kr1_s3cret_s3cret\n")},
		6: {"--url", "https://127.0.0.1:1"},
	} {
		if got := p.must(status, "", append([]string{"login"}, args...)...); strings.Contains(got, "s3cret") {
			t.Errorf("%v prints %q", args, got)
		}
		if after, _ := os.ReadFile(profiles); !bytes.Equal(after, before) {
			t.Errorf("%v failed and changed the profiles: %s", args, after)
		}
	}
	const password = "correct horse battery"
	p.must(0, password+"\n", "user", "add", "alice", "--dir", p.server.Dir, "--tenant", "default")
	login := []string{"login", "--profile", "alice", "--dir", p.server.Dir, "--url", p.url(), "--user", "alice", "--tenant", "default", "--lifetime", "5m"}
	if got := p.must(4, "wrong password\n", login...); strings.Contains(got, "wrong password\n") {
		t.Errorf("a wrong password is printed: %q", got)
	}
	p.must(1, "", login...)
	got := p.must(0, password+"\n", login...)
	tokens := func() []string {
		all, _ := filepath.Glob(filepath.Join(filepath.Dir(profiles), "profiles.yaml-alice-*.token"))
		return all
	}
	if len(tokens()) != 1 {
		t.Fatalf("the files of tokens are %v", tokens())
	}
	token, err := os.ReadFile(tokens()[0])
	if err != nil || !strings.HasPrefix(string(token), "kr1_") || strings.Contains(got, "kr1_") {
		t.Errorf("the token is %q, %v; printed: %q", token, err, got)
	}
	for _, path := range []string{tokens()[0], profiles} {
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", path, info.Mode(), err)
		}
	}
	if got := p.must(0, "", "key", "show", p.key("--profile", "alice", "--usage", "encrypt"), "--profile", "alice", "-o", "json"); !strings.Contains(got, `"owner":"alice"`) {
		t.Errorf("the key of alice is %s", got)
	}
	// A token is sent to no other server than the one that it was bought for.
	p.must(6, "", "login", "--profile", "alice", "--url", "https://127.0.0.1:1")
	p.must(0, "", "login", "--profile", "alice", "--output", "yaml")
	if got := p.must(0, "", "key", "list", "--profile", "alice"); got == "keys: []\n" || !strings.HasPrefix(got, "keys:\n") {
		t.Errorf("the form of the profile is not kept: %q", got)
	}
	p.must(0, "", "login", "--profile", "alice", "--no-token")
	if left := tokens(); len(left) != 0 {
		t.Errorf("a token that no profile has any more is left in %v", left)
	}
	if got := p.must(0, "", "key", "show", p.key("--profile", "alice", "--usage", "encrypt"), "-o", "json"); !strings.Contains(got, `"owner":"dev"`) {
		t.Errorf("without the token, the key is %s", got)
	}
	if err := os.Chmod(profiles, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := p.must(4, "", "key", "list"); !strings.Contains(got, "chmod 600") {
		t.Errorf("a file that others can read: %q", got)
	}
}
