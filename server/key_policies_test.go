package server_test

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/httpd"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// exampleAsWritten returns the example policy of the product's requirements, to the letter.
func exampleAsWritten(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../testdata/key-policy-example.json")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// applyPolicy stores a key policy over the command line.
func applyPolicy(t *testing.T, s *servertest.Server, name, document string, more ...string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "policy.json")
	if err := os.WriteFile(file, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := s.Command(append([]string{"policy", "apply", name, file, "--dir", s.Dir}, more...)...)
	if err != nil {
		t.Fatalf("policy apply %s: %v\n%s", name, err, out)
	}
	return out
}

// dialFrom connects a client from a source address.
func dialFrom(t *testing.T, s *servertest.Server, name, address string, v core.Version) *kmiptest.Client {
	t.Helper()
	d := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	conn, err := tls.DialWithDialer(d, "tcp", s.KMIP, clientTLS(t, s, name))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &kmiptest.Client{Conn: conn, Version: v}
}

// encryptOver asks for Encrypt and returns the error, nil if it was permitted.
func encryptOver(c *kmiptest.Client, id string) error {
	_, err := kmiptest.Do(c, &kmip.Encrypt, &operation.EncryptInput{ID: core.ID(id), Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}, Data: []byte("data")})
	return err
}

// encryptREST asks for Encrypt over REST from an address and returns the status.
func encryptREST(t *testing.T, s *servertest.Server, name, address, id string) int {
	t.Helper()
	d := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	c := &http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{TLSClientConfig: clientTLS(t, s, name), DisableKeepAlives: true, DialContext: d.DialContext}}
	body := fmt.Sprintf(`{"keyId":%q,"format":"raw","plaintext":%q}`, id, base64.StdEncoding.EncodeToString([]byte("data")))
	res, err := c.Post("https://"+s.HTTPS+"/v1/encrypt", "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	return res.StatusCode
}

// The example of the requirements is accepted as it stands. With the identifier of a real
// key and a range of the test's addresses it does what it says, at both doors, and each
// record names the statement.
func TestExamplePolicy(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	if out := applyPolicy(t, s, "example", exampleAsWritten(t)); !strings.Contains(out, "example@1 is in force") || !strings.Contains(out, "there is no object key123") {
		t.Errorf("policy apply says %q; want the version and that key123 does not exist yet", out)
	}
	s.Issue("alice", "default")
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	dev := dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4)
	id := aesKey(t, dev, activeNow)
	real := strings.NewReplacer("key123", id, "192.168.1.0/24", "127.0.1.0/24").Replace(exampleAsWritten(t))
	if err := encryptOver(dialFrom(t, s, "alice", "127.0.1.5", core.V1_4), id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("alice before the policy: %v; want Permission Denied", err)
	}
	if out := applyPolicy(t, s, "payroll", real); !strings.Contains(out, "attached to "+id) {
		t.Errorf("policy apply says %q; want that it is attached to %s", out, id)
	}
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		if err := encryptOver(dialFrom(t, s, "alice", "127.0.1.5", v), id); err != nil {
			t.Errorf("alice from the range, KMIP %v: %v", v, err)
		}
		if err := encryptOver(dialFrom(t, s, "alice", "127.0.2.5", v), id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
			t.Errorf("alice from elsewhere, KMIP %v: %v; want Permission Denied", v, err)
		}
		if err := encryptOver(dialFrom(t, s, "anna", "127.0.1.5", v), id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
			t.Errorf("an admin encrypts, KMIP %v: %v; want Permission Denied", v, err)
		}
	}
	if got := encryptREST(t, s, "alice", "127.0.1.5", id); got != http.StatusOK {
		t.Errorf("alice from the range over REST: %d", got)
	}
	if got := encryptREST(t, s, "alice", "127.0.2.5", id); got != http.StatusForbidden {
		t.Errorf("alice from elsewhere over REST: %d; want 403", got)
	}
	fresh, err := kmiptest.Do(dialFrom(t, s, "anna", "127.0.1.5", core.V1_4), &kmip.ReKey, &operation.RekeyInput{ID: core.ID(id)})
	if err != nil {
		t.Fatalf("role admin rotates: %v", err)
	}
	if err := encryptOver(dialFrom(t, s, "alice", "127.0.1.5", core.V2_1), fresh.ID); kmiptest.Reason(err) == core.ReasonPermissionDenied {
		t.Errorf("alice with the replacement: %v; the policy must be attached to it too", err)
	}
	assertReasons(t, s, "Encrypt", "statement payroll@1/1", 3)
}

// assertReasons demands that at least n records of an operation name a reason.
func assertReasons(t *testing.T, s *servertest.Server, operation, reason string, n int) {
	t.Helper()
	found := 0
	for _, line := range records(t, s, operation, "--json") {
		var r struct{ Reasons []string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		for _, got := range r.Reasons {
			if got == reason {
				found++
			}
		}
	}
	if found < n {
		t.Errorf("%d records of %s name %q, want at least %d: %q", found, operation, reason, n, records(t, s, operation))
	}
}

// withPassword returns a client that sends a user name and a password beside the
// certificate of a connection.
func withPassword(c *kmiptest.Client, user, password string) *kmiptest.Client {
	c.Options.Credentials = []proof.Credential{{Type: core.CredentialTypeUsernameAndPassword, Username: user, Password: []byte(password)}}
	return c
}

// userCommand runs a command about users with a password on standard input.
func userCommand(t *testing.T, s *servertest.Server, password string, args ...string) {
	t.Helper()
	cmd := exec.Command(servertest.Binary(t), append(append([]string{"user"}, args...), "--dir", s.Dir)...)
	cmd.Stdin = strings.NewReader(password + "\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("user %v: %v\n%s", args, err, out)
	}
}

// A user with a password, on the connection of a client of the same tenant, is who the
// example policy names. A wrong password is never the certificate's principal instead. A
// disabled user ends on an open connection within a second.
func TestUserWithPassword(t *testing.T) {
	s := servertest.Start(t)
	s.Issue("array7", "default")
	dev := dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4)
	id := aesKey(t, dev, activeNow)
	applyPolicy(t, s, "payroll", strings.NewReplacer("key123", id, "192.168.1.0/24", "127.0.1.0/24").Replace(exampleAsWritten(t)))
	const password = "a long enough password"
	userCommand(t, s, password, "add", "alice")
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		alice := withPassword(dialFrom(t, s, "array7", "127.0.1.5", v), "alice", password)
		if err := encryptOver(alice, id); err != nil {
			t.Errorf("alice by password from the range, KMIP %v: %v", v, err)
		}
		if err := encryptOver(withPassword(dialFrom(t, s, "array7", "127.0.2.5", v), "alice", password), id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
			t.Errorf("alice by password from elsewhere, KMIP %v: %v; want Permission Denied", v, err)
		}
		if err := encryptOver(withPassword(dialFrom(t, s, "dev", "127.0.1.5", v), "alice", "not the password"), id); kmiptest.Reason(err) != core.ReasonAuthenticationNotSuccessful {
			t.Errorf("a wrong password beside the owner's certificate, KMIP %v: %v; want Authentication Not Successful", v, err)
		}
	}
	alice := withPassword(dialFrom(t, s, "array7", "127.0.1.5", core.V1_4), "alice", password)
	if err := encryptOver(alice, id); err != nil {
		t.Fatal(err)
	}
	userCommand(t, s, "", "disable", "alice")
	for deadline := time.Now().Add(time.Second); ; time.Sleep(10 * time.Millisecond) {
		err := encryptOver(alice, id)
		if kmiptest.Reason(err) == core.ReasonAuthenticationNotSuccessful {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("a disabled user on an open connection: %v; want Authentication Not Successful within a second", err)
		}
	}
	assertReasons(t, s, "Encrypt", "statement payroll@1/1", 3)
}

// policyCommand runs a command about policies or roles, and returns what it prints.
func policyCommand(t *testing.T, s *servertest.Server, fails bool, args ...string) string {
	t.Helper()
	out, err := s.Command(append(args, "--dir", s.Dir)...)
	if (err != nil) != fails {
		t.Fatalf("%v: %v, want an error: %v\n%s", args, err, fails, out)
	}
	return out
}

// denyEncrypt is a policy that denies Encrypt to everybody.
const denyEncrypt = `{"statements": [{"sid": "frozen", "principal": "*", "actions": ["encrypt"], "effect": "deny"}]}`

// A key policy has versions that can be read and rolled back. It denies its key's owner
// too, and is deleted only if nothing names it.
func TestLifeOfAKeyPolicy(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dialWith(t, s, clientTLS(t, s, "dev"), core.V2_1)
	id := aesKey(t, c, activeNow)
	allowed := func(when string, want bool) {
		t.Helper()
		if err := encryptOver(c, id); (err == nil) != want || (err != nil && kmiptest.Reason(err) != core.ReasonPermissionDenied) {
			t.Errorf("%s the owner encrypts: %v; want permitted: %v", when, err, want)
		}
	}
	allowed("without a policy", true)
	applyPolicy(t, s, "freeze", denyEncrypt, "--reason", "incident 7")
	allowed("before it is attached", true)
	policyCommand(t, s, false, "policy", "attach", "freeze", "--object", id)
	allowed("while it is attached", false)
	assertReasons(t, s, "Encrypt", "statement freeze@1/frozen denies it", 1)
	if out := policyCommand(t, s, true, "policy", "simulate", "--as", "dev", "--do", "Encrypt", "--object", id); !strings.Contains(out, "freeze@1/frozen (deny) matches") {
		t.Errorf("policy simulate says %q; want the statement that denies", out)
	}
	applyPolicy(t, s, "freeze", strings.Replace(denyEncrypt, "encrypt", "sign", 1), "--expected", "1")
	allowed("with the second version", true)
	if out := policyCommand(t, s, false, "policy", "simulate", "--as", "dev", "--do", "Encrypt", "--object", id); !strings.Contains(out, "freeze@2/frozen (deny) does not match: actions") {
		t.Errorf("policy simulate says %q; want why the statement does not match", out)
	}
	policyCommand(t, s, false, "policy", "rollback", "freeze", "1")
	allowed("after the rollback", false)
	if out := policyCommand(t, s, false, "policy", "history", "freeze"); strings.Count(out, "freeze@") != 3 || !strings.Contains(out, "freeze@1") || !strings.Contains(out, "system/socket | incident 7") || !strings.Contains(out, "back to version 1") {
		t.Errorf("policy history says %q; want three versions with author and reason", out)
	}
	if out := policyCommand(t, s, false, "policy", "show", "freeze"); !strings.Contains(out, `"sid": "frozen"`) {
		t.Errorf("policy show prints %q; want the document", out)
	}
	if out := policyCommand(t, s, true, "policy", "delete", "freeze"); !strings.Contains(out, "is attached to") {
		t.Errorf("policy delete of an attached policy says %q", out)
	}
	policyCommand(t, s, false, "policy", "detach", "freeze", "--object", id)
	allowed("after it is detached", true)
	policyCommand(t, s, false, "policy", "delete", "freeze")
	if out := policyCommand(t, s, true, "policy", "show", "freeze"); !strings.Contains(out, "there is no policy freeze") {
		t.Errorf("policy show of a deleted policy says %q", out)
	}
}

// A document that is wrong is refused with the path of its fault, and nothing is stored.
func TestWrongKeyPoliciesAreRefused(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for what, c := range map[string]struct{ document, says string }{
		"an unknown action":    {`{"statements":[{"principal":"*","actions":["encipher"],"effect":"deny"}]}`, "statements[0].actions"},
		"a malformed range":    {`{"statements":[{"principal":"*","actions":["encrypt"],"effect":"deny","conditions":{"ipAddress":"10.0.0.300/8"}}]}`, "statements[0].conditions.ipAddress"},
		"an unknown member":    {`{"statement":[]}`, "statement"},
		"an unknown principal": {`{"statements":[{"principal":"robot:a","actions":["encrypt"],"effect":"allow"}]}`, "statements[0].principal"},
		"no statement":         {`{"statements":[]}`, "statements"},
		"no JSON":              {`statements`, ""},
	} {
		file := filepath.Join(t.TempDir(), "policy.json")
		if err := os.WriteFile(file, []byte(c.document), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := policyCommand(t, s, true, "policy", "apply", "wrong", file); !strings.Contains(out, c.says) {
			t.Errorf("%s: %q; want the path %s", what, out, c.says)
		}
	}
	if out := policyCommand(t, s, false, "policy", "list"); out != "" {
		t.Errorf("policy list prints %q after refused policies", out)
	}
}

// An exclusive policy takes its key from owner, group and administrators, except for what
// it permits.
func TestExclusivePolicy(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	dev := dialWith(t, s, clientTLS(t, s, "dev"), core.V2_1)
	id := aesKey(t, dev, activeNow)
	applyPolicy(t, s, "vault", fmt.Sprintf(`{"keyId": %q, "exclusive": true, "statements": [{"principal": "user:dev2", "actions": ["encrypt"], "effect": "allow"}]}`, id))
	if err := encryptOver(dev, id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("the owner beside an exclusive policy: %v; want Permission Denied", err)
	}
	if err := encryptOver(dialWith(t, s, clientTLS(t, s, "dev2"), core.V2_1), id); err != nil {
		t.Errorf("whom the policy permits: %v", err)
	}
	if _, err := kmiptest.Do(dialWith(t, s, clientTLS(t, s, "anna"), core.V2_1), &kmip.Destroy, &operation.DestroyInput{ID: core.ID(id)}); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("an administrator destroys a key with an exclusive policy: %v; want Permission Denied", err)
	}
}

// A role that a tenant makes of actions permits them on all objects of the tenant, and on
// those of no other tenant.
func TestRoleOfATenant(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	s.Certify(certs.Request{Name: "carl", Tenant: "default", Roles: []string{"cipher-clerk"}})
	s.DeclareTenant("other")
	s.Certify(certs.Request{Name: "olga", Tenant: "other", Roles: []string{"cipher-clerk"}})
	id := aesKey(t, dialWith(t, s, clientTLS(t, s, "dev"), core.V2_1), activeNow)
	carl := dialWith(t, s, clientTLS(t, s, "carl"), core.V2_1)
	if err := encryptOver(carl, id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("a role before it is declared: %v; want Permission Denied", err)
	}
	policyCommand(t, s, false, "role", "save", "cipher-clerk", "encrypt", "decrypt")
	if err := encryptOver(carl, id); err != nil {
		t.Errorf("a role that permits it: %v", err)
	}
	if _, err := kmiptest.Do(carl, &kmip.Get, &operation.GetInput{ID: core.ID(id)}); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("what the role does not name: %v; want Permission Denied", err)
	}
	if err := encryptOver(dialWith(t, s, clientTLS(t, s, "olga"), core.V2_1), id); kmiptest.Reason(err) != core.ReasonObjectNotFound {
		t.Errorf("the same role of another tenant: %v; want Object Not Found", err)
	}
	if out := policyCommand(t, s, true, "role", "save", "admin", "encrypt"); !strings.Contains(out, "built in") {
		t.Errorf("a built-in role is declared: %q", out)
	}
	policyCommand(t, s, false, "role", "remove", "cipher-clerk")
	if err := encryptOver(carl, id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("after the role is removed: %v; want Permission Denied", err)
	}
}

// A policy of a key group governs each key with that Object Group. The owner of a key
// cannot leave the group to escape it.
func TestPolicyOfAKeyGroup(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4)
	payroll := core.Attribute{Tag: core.TagObjectGroup, Value: core.Text("payroll")}
	id := aesKey(t, c, activeNow, payroll)
	applyPolicy(t, s, "freeze", strings.Replace(denyEncrypt, "{", `{"keyGroup": "payroll", `, 1))
	if err := encryptOver(c, id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("the owner of a key of the group: %v; want Permission Denied", err)
	}
	_, err := kmiptest.Do(c, &kmip.DeleteAttribute, &operation.DeleteAttributeInput{ID: core.ID(id), Name: core.AttributeName{Tag: core.TagObjectGroup}})
	if kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("the owner leaves the group: %v; want Permission Denied", err)
	}
	if err := encryptOver(c, id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("after the try to leave: %v; want Permission Denied", err)
	}
}

// A denial by tag that is attached to a person is not escaped by that person, who owns the key:
// no operation takes the tag away, and the administrator can. Other tags are the owner's.
func TestDenialByTagIsNotEscaped(t *testing.T) {
	s := servertest.Start(t)
	tag := func(value string) core.Attribute {
		return core.Attribute{Vendor: "x", Name: "keyreeve-tag-env", Value: core.Text(value)}
	}
	c := dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4)
	id, other := aesKey(t, c, activeNow, tag("prod")), aesKey(t, c, activeNow, tag("lab"))
	applyPolicy(t, s, "tagged", `{"user": "dev", "statements": [{"principal": "*", "actions": ["encrypt"], "effect": "deny", "conditions": {"tags": {"env": "prod"}}}]}`)
	name := core.AttributeName{Vendor: "x", Name: "keyreeve-tag-env"}
	ways := map[string]func(c *kmiptest.Client, id string) error{
		"Modify Attribute": func(c *kmiptest.Client, id string) error {
			_, err := kmiptest.Do(c, &kmip.ModifyAttribute, &operation.ModifyAttributeInput{ID: core.ID(id), Name: name, New: tag("dev")})
			return err
		},
		"Delete Attribute": func(c *kmiptest.Client, id string) error {
			_, err := kmiptest.Do(c, &kmip.DeleteAttribute, &operation.DeleteAttributeInput{ID: core.ID(id), Name: name})
			return err
		},
		"Re-key": func(c *kmiptest.Client, id string) error {
			_, err := kmiptest.Do(c, &kmip.ReKey, &operation.RekeyInput{ID: core.ID(id), Attributes: core.Attributes{tag("dev")}})
			return err
		},
	}
	for way, escape := range ways {
		if err := escape(c, id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
			t.Errorf("the owner takes the tag away by %s: %v; want Permission Denied", way, err)
		}
		if err := encryptOver(c, id); kmiptest.Reason(err) != core.ReasonPermissionDenied {
			t.Errorf("the owner encrypts after %s: %v; want Permission Denied", way, err)
		}
	}
	if err := ways["Modify Attribute"](c, other); err != nil {
		t.Errorf("the owner changes a tag that no policy names: %v", err)
	}
	s.Certify(certs.Request{Name: "anna", Tenant: "default", Roles: []string{"admin"}})
	if err := ways["Modify Attribute"](dialWith(t, s, clientTLS(t, s, "anna"), core.V1_4), id); err != nil {
		t.Errorf("an administrator changes the tag: %v", err)
	}
	if err := encryptOver(c, id); err != nil {
		t.Errorf("the owner encrypts after the administrator changed the tag: %v", err)
	}
}

// Each command about users counts for an open connection. Credentials mean nothing before the tenant
// has its first user, and are refused after its last one was removed.
func TestUserCommandsCountOnOpenConnections(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	const first, second = "a long enough password", "another long password"
	c := withPassword(dial(t, s, "dev", core.V1_4), "fortigate7", first)
	query := func() core.ResultReason {
		t.Helper()
		_, err := kmiptest.Do(c, &kmip.Query, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
		if err != nil && kmiptest.Reason(err) == 0 {
			t.Fatal(err)
		}
		return kmiptest.Reason(err)
	}
	if r := query(); r != 0 {
		t.Errorf("a credential while the tenant has no users: %v; want it to be ignored", r)
	}
	for _, step := range []struct {
		what, input string
		command     []string
		sent        string
		want        core.ResultReason
	}{
		{"a new user", first, []string{"add", "fortigate7"}, first, 0},
		{"a wrong password", "", nil, second, core.ReasonAuthenticationNotSuccessful},
		{"the old password", second, []string{"password", "fortigate7"}, first, core.ReasonAuthenticationNotSuccessful},
		{"the new password", "", nil, second, 0},
		{"a disabled user", "", []string{"disable", "fortigate7"}, second, core.ReasonAuthenticationNotSuccessful},
		{"an enabled user", "", []string{"enable", "fortigate7"}, second, 0},
		{"a removed user", "", []string{"remove", "fortigate7"}, second, core.ReasonAuthenticationNotSuccessful},
	} {
		if step.command != nil {
			userCommand(t, s, step.input, step.command...)
		}
		withPassword(c, "fortigate7", step.sent)
		got := query()
		for end := time.Now().Add(10 * time.Second); got != step.want && time.Now().Before(end); got = query() {
			time.Sleep(50 * time.Millisecond)
		}
		if got != step.want {
			t.Fatalf("%s: the answer stays %v; want %v", step.what, got, step.want)
		}
	}
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--operation", "Login", "--json")
	if err != nil || !strings.Contains(out, "the user is disabled") || strings.Contains(out, first) || strings.Contains(out, second) {
		t.Errorf("the records of failed logins: %v\n%s", err, out)
	}
}

// A condition on the class of an object holds in a search too, which reads no key material,
// and what a search was answered is not remembered for a Get.
func TestClassOfAnObjectInASearch(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dialWith(t, s, clientTLS(t, s, "dev"), core.V2_1)
	word := []byte("a password to be found")
	made, err := kmiptest.Do(c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSecretData, Attributes: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskDeriveKey)}, kmiptest.Name("word")},
		Object: core.ObjectBody{Type: core.ObjectTypeSecretData, SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeOpaque, Material: word}}})
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(word)
	byDigest := core.Attribute{Tag: core.TagDigest, Value: core.Digest{Hash: core.HashSHA256, Sum: sum[:], Format: core.KeyFormatTypeOpaque}.Value()}
	found := func(a core.Attribute) int {
		t.Helper()
		out, err := kmiptest.Do(c, &kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{a}})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.IDs)
	}
	if n := found(byDigest); n != 1 {
		t.Fatalf("without a policy %d objects have the Digest, want 1", n)
	}
	applyPolicy(t, s, "no-clear", fmt.Sprintf(`{"keyId": %q, "statements": [{"principal": "*", "actions": ["Get"], "effect": "deny", "conditions": {"object": {"class": "C"}}}]}`, made.ID))
	if n := found(byDigest); n != 0 {
		t.Errorf("%d objects have the Digest; a caller that may not Get the secret must not guess it", n)
	}
	if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(made.ID)}); kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("Get after the search: %v; want Permission Denied", err)
	}
	applyPolicy(t, s, "hidden", fmt.Sprintf(`{"keyId": %q, "statements": [{"principal": "*", "actions": ["list"], "effect": "deny", "conditions": {"object": {"class": "C"}}}]}`, made.ID))
	if n := found(kmiptest.Name("word")); n != 0 {
		t.Errorf("a search finds %d objects that a policy hides by their class", n)
	}
}

// closeGate is a policy that denies Encrypt with a key, to everybody.
func closeGate(id string) string {
	return fmt.Sprintf(`{"keyId":%q,"statements":[{"sid":"closed","principal":"*","actions":["encrypt"],"effect":"deny"}]}`, id)
}

// A version that waits comes into force on both nodes by itself: what was answered before its
// time was permitted, and from then on nothing is. Lists say what waits. A version that was
// withdrawn never comes into force.
func TestWaitingPolicyOnTwoNodes(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	one := servertest.Start(t, "KEYREEVE_DEV_STORE="+url)
	nodes := []*servertest.Server{one, secondNode(t, one, url)}
	var clients []*kmiptest.Client
	for _, s := range nodes {
		clients = append(clients, dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4))
	}
	id := aesKey(t, clients[0], activeNow)
	applyPolicy(t, one, "gate", strings.Replace(closeGate(id), "deny", "allow", 1))
	at := time.Now().Add(4 * time.Second).Truncate(time.Second)
	text := at.UTC().Format(time.RFC3339)
	if out := applyPolicy(t, one, "gate", closeGate(id), "--at", text); !strings.Contains(out, "gate@2 waits until "+text) {
		t.Errorf("policy apply --at says %q; want that version 2 waits", out)
	}
	out, err := one.Command("policy", "history", "gate", "--dir", one.Dir)
	if err != nil || !strings.Contains(out, "gate@2 | waits until "+text) || !strings.Contains(out, "gate@1 | in force") {
		t.Errorf("policy history says %q, %v; want which version waits and which is in force", out, err)
	}
	for i, c := range clients {
		closed := false
		for !closed {
			began := time.Now()
			err := encryptOver(c, id)
			switch closed = kmiptest.Reason(err) == core.ReasonPermissionDenied; {
			case !closed && err != nil:
				t.Fatal(err)
			case closed && time.Now().Before(at):
				t.Fatalf("node %d denies before the time of the version", i)
			case !closed && !began.Before(at.Add(time.Second)):
				t.Fatalf("node %d permits what began a second after the time of the version", i)
			}
		}
	}
	assertReasons(t, one, "Encrypt", "statement gate@2/closed denies it", 2)

	if out, err := one.Command("policy", "rollback", "gate", "1", "--dir", one.Dir); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	at = time.Now().Add(2 * time.Second).Truncate(time.Second)
	applyPolicy(t, one, "gate", closeGate(id), "--at", at.UTC().Format(time.RFC3339))
	if out, err := one.Command("policy", "withdraw", "gate", "--dir", one.Dir); err != nil || !strings.Contains(out, "gate@5 is in force") {
		t.Fatalf("policy withdraw: %v: %s", err, out)
	}
	for time.Now().Before(at.Add(time.Second)) {
		time.Sleep(10 * time.Millisecond)
	}
	for i, c := range clients {
		if err := encryptOver(c, id); err != nil {
			t.Errorf("node %d after the time of a version that was withdrawn: %v", i, err)
		}
	}
}

// A canary that was made on one node stops a change on another one, and not before it can be
// known there: the other node lists it within a second.
func TestCanaryOfAnotherNode(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	one := servertest.Start(t, "KEYREEVE_DEV_STORE="+url)
	two := secondNode(t, one, url)
	id := aesKey(t, dialWith(t, one, clientTLS(t, one, "dev"), core.V1_4), activeNow)
	if out, err := one.Command("policy", "canary", "add", "owner", "--as", "dev", "--do", "encrypt", "--object", id, "--expect", "allow", "--dir", one.Dir); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for made := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		began := time.Now()
		out, err := two.Command("policy", "canary", "list", "--dir", two.Dir)
		if err == nil && strings.Contains(out, "owner | allow | dev | encrypt | "+id) {
			break
		}
		if err != nil || began.Sub(made) > time.Second {
			t.Fatalf("a second after it was made, the other node lists %q, %v", out, err)
		}
	}
	file := filepath.Join(t.TempDir(), "closed.json")
	if err := os.WriteFile(file, []byte(closeGate(id)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := two.Command("policy", "apply", "gate", file, "--dir", two.Dir); err == nil || !strings.Contains(out, "the canary owner of tenant default would not hold any more") {
		t.Errorf("policy apply on the other node: %v, %q; want a refusal that names the canary", err, out)
	}
	if out, err := two.Command("policy", "list", "--dir", two.Dir); err != nil || out != "" {
		t.Errorf("after the refusal there are policies: %q, %v", out, err)
	}
}

// replayed asks for a replay of the requests of Encrypt and returns, for each principal, what
// becomes of its last one: "allow", "deny" or what the record lacks. Others are not in it.
func replayed(t *testing.T, c *restPeople, statements, more string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for token := ""; ; {
		body := fmt.Sprintf(`{"since":%q,"document":{"statements":[%s]}%s%s}`, yesterday, statements, more, token)
		var got httpd.ReplayAnswer
		if err := json.Unmarshal([]byte(c.must(http.StatusOK, "POST", "/v1/policies/gate/replay", body).text), &got); err != nil {
			t.Fatal(err)
		}
		for _, r := range append(got.Flips, got.Undecided...) {
			if r.Action == "Encrypt" {
				out[r.Principal] = r.Decision + strings.Join(r.Lacks, "+")
			}
		}
		if got.NextPageToken == "" {
			return out
		}
		token = fmt.Sprintf(`,"pageToken":%q`, got.NextPageToken)
	}
}

// A replay lists exactly the requests whose decision a version would change. A request whose
// record lacks what the policies look at is undecided, and never guessed. An auditor may ask,
// an ordinary client and another tenant learn nothing, and each replay leaves a record.
func TestReplay(t *testing.T) {
	t.Parallel()
	s, admin, _ := startPeople(t)
	for _, name := range []string{"alice", "bob", "array7"} {
		s.Issue(name, "default")
	}
	s.Certify(certs.Request{Name: "rolf", Tenant: "default", Roles: []string{"ops"}})
	dev := dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4)
	id := aesKey(t, dev, activeNow)
	applyPolicy(t, s, "gate", fmt.Sprintf(`{"keyId":%q,"statements":[{"principal":"user:alice","actions":["encrypt"],"effect":"allow"}]}`, id))
	const password = "a long enough password"
	userCommand(t, s, password, "add", "ulf", "--role", "ops")
	time.Sleep(1100 * time.Millisecond) // the key and the user are older than the requests, by the second
	for _, name := range []string{"alice", "bob", "rolf"} {
		encryptOver(dialFrom(t, s, name, "127.0.1.5", core.V1_4), id)
	}
	encryptOver(dev, id)
	encryptOver(withPassword(dialFrom(t, s, "array7", "127.0.1.5", core.V1_4), "ulf", password), id)

	allow := func(who, conditions string) string {
		if conditions != "" {
			conditions = `,"conditions":{` + conditions + `}`
		}
		return fmt.Sprintf(`{"principal":%q,"actions":["encrypt"],"effect":"allow"%s}`, who, conditions)
	}
	const roles, parameters, state = "groups and roles at that time", "parameters", "the object as it was: it has changed since"
	check := func(what, statements string, want map[string]string) {
		t.Helper()
		for _, limit := range []string{"", `,"limit":3`} {
			if got := replayed(t, admin, statements, limit); fmt.Sprint(got) != fmt.Sprint(want) {
				t.Errorf("%s%s: %v; want %v", what, limit, got, want)
			}
		}
	}
	check("bob in place of alice", allow("user:bob", ""), map[string]string{"alice": "deny", "bob": "allow"})
	check("the same", allow("user:alice", ""), map[string]string{})
	check("from elsewhere", allow("user:alice", `"ipAddress":"127.0.2.0/24"`), map[string]string{"alice": "deny"})
	check("at a time that was over", allow("user:alice", `"time":{"notAfter":"2020-01-01T00:00:00Z"}`), map[string]string{"alice": "deny"})
	check("a role", allow("user:alice", "")+","+allow("role:ops", ""), map[string]string{"bob": roles, "rolf": roles, "ulf": roles})
	check("a mode", allow("user:alice", `"parameters":{"mode":"GCM"}`), map[string]string{"alice": parameters, "bob": parameters, "rolf": parameters, "dev": parameters, "ulf": parameters})
	check("a proof that one record has and another has not", allow("user:alice", `"strength":"certificate"`)+","+allow("user:bob", `"strength":"password"`)+","+allow("user:ulf", `"strength":"certificate"`),
		map[string]string{"bob": "allow"})
	check("a password, which is what ulf had", allow("user:alice", "")+","+allow("user:ulf", `"strength":"password"`), map[string]string{"ulf": "allow"})
	check("certificates alone", allow("client:alice", "")+","+allow("client:ulf", ""), map[string]string{})
	check("a denial to all", `{"principal":"*","actions":["encrypt"],"effect":"deny"}`, map[string]string{"alice": "deny", "dev": "deny"})
	tagged := allow("user:alice", "") + "," + allow("user:bob", `"tags":{"env":"x"}`)
	check("a tag of a key that has not changed", tagged, map[string]string{})
	named := fmt.Sprintf(`{"since":%q,"document":{"keyId":%q,"statements":[{"principal":"user:alice","actions":["encrypt"],"effect":"deny"}]}}`, yesterday, id+"@1")
	admin.must(http.StatusCreated, "POST", "/v1/policies", `{"name":"fresh","document":`+openPolicy+`}`)
	admin.must(http.StatusOK, "POST", "/v1/policies/fresh/replay", named, `"principal":"alice","action":"Encrypt"`)
	if out, err := s.Command("policy", "replay", "gate", "--since", yesterday, "--dir", s.Dir); err != nil || !strings.Contains(out, "0 requests flip, 0 are undecided") {
		t.Errorf("policy replay of the version in force: %v, %q; want that nothing flips", err, out)
	}
	applyPolicy(t, s, "gate", strings.Replace(exampleDenial, "ID", id, 1), "--at", tomorrow)
	out, err := s.Command("policy", "replay", "gate", "--since", yesterday, "--dir", s.Dir)
	if err == nil || !strings.Contains(out, "| alice | Encrypt | "+id+" | kmip 127.0.1.5 | now deny: statement gate@2/1 denies it") || strings.Contains(out, "| bob |") {
		t.Errorf("policy replay of the version that waits: %v, %q; want alice's request", err, out)
	}
	if got := recordsOf(t, s, "Replay Policy", "anna", "allowed"); got < 16 {
		t.Errorf("%d records of replays, want one for each", got)
	}
	s.Issue("carla", "default")
	restAs(t, s, "carla").must(http.StatusForbidden, "POST", "/v1/policies/gate/replay", `{"since":"`+yesterday+`","document":{"statements":[]}}`)
	if got := replayed(t, restAs(t, s, "audra"), allow("user:bob", ""), ""); len(got) != 2 {
		t.Errorf("an auditor sees %v; want what an administrator sees", got)
	}
	olga := restAs(t, s, "olga")
	olga.must(http.StatusNotFound, "POST", "/v1/policies/gate/replay", `{"since":"`+yesterday+`"}`)
	if got := replayed(t, olga, `{"principal":"*","actions":["*"],"effect":"deny"}`, ""); len(got) != 0 {
		t.Errorf("another tenant's administrator sees %v", got)
	}
	for what, body := range map[string]string{"no period": `{}`, "a period that ends before": `{"since":"` + tomorrow + `"}`, "a period too long": `{"since":"2020-01-01T00:00:00Z"}`,
		"a limit too large": `{"since":"` + yesterday + `","limit":1001}`, "no limit": `{"since":"` + yesterday + `","limit":0}`, "a token of one's own": `{"since":"` + yesterday + `","pageToken":"x"}`,
		"a wrong document": `{"since":"` + yesterday + `","document":{"statements":[{"actions":["nothing"]}]}}`} {
		admin.ask("POST", "/v1/policies/gate/replay", body).demand(admin, http.StatusBadRequest, what)
	}
	_, err = kmiptest.Do(dev, &kmip.AddAttribute, &operation.AddAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Tag: core.TagContactInformation, Value: core.Text("ops")}})
	if err != nil {
		t.Fatal(err)
	}
	check("a tag of a key that has changed since", tagged, map[string]string{"alice": state, "bob": state, "dev": state, "rolf": state, "ulf": state})
}

// exampleDenial denies Encrypt with a key to everybody.
const exampleDenial = `{"keyId":"ID","statements":[{"principal":"*","actions":["encrypt"],"effect":"deny"}]}`

// A change of a policy, an attachment, a role or policies.rego under which a canary flips is
// refused with its name, and nothing is stored. Other changes are not. A canary must hold when
// it is made. Only who may save canaries makes or removes one.
func TestCanariesStopChanges(t *testing.T) {
	t.Parallel()
	s, admin, id := startPeople(t)
	command := func(want string, args ...string) {
		t.Helper()
		out, err := s.Command(append(args, "--dir", s.Dir)...)
		if refused := strings.Contains(want, "would not hold") || strings.Contains(want, "does not hold"); !strings.Contains(out, want) || (err != nil) != refused {
			t.Errorf("%q: %v, %q; want %q", args, err, out, want)
		}
	}
	command("canary outsider holds", "policy", "canary", "add", "outsider", "--as", "mallory", "--role", "clerk", "--do", "decrypt", "--object", id)
	command("canary owner holds", "policy", "canary", "add", "owner", "--as", "dev", "--do", "encrypt", "--object", id, "--expect", "allow")
	command("does not hold now", "policy", "canary", "add", "wrong", "--as", "dev", "--do", "encrypt", "--object", id)
	command("does not hold now", "policy", "canary", "add", "wrong", "--as", "mallory", "--do", "encrypt", "--object", id, "--expect", "allow")
	command("outsider | deny | mallory role:clerk | decrypt | "+id, "policy", "canary", "list")

	put := func(status int, path, body string) {
		t.Helper()
		before := admin.must(200, "GET", "/v1/policies", "").text
		admin.ask("PUT", path, body).demand(admin, status, body)
		if after := admin.must(200, "GET", "/v1/policies", "").text; status != 200 && after != before {
			t.Errorf("%s was refused, and the policies are %s instead of %s", body, after, before)
		}
	}
	statement := func(who, action, effect string) string {
		return fmt.Sprintf(`"statements":[{"principal":%q,"actions":[%q],"effect":%q}]`, who, action, effect)
	}
	onKey := fmt.Sprintf(`{"document":{"keyId":%q,%%s}}`, id)
	for _, refused := range []string{statement("*", "decrypt", "allow"), statement("role:clerk", "*", "allow"), statement("user:mallory", "decrypt", "allow"), statement("user:dev", "encrypt", "deny"), `"exclusive":true,` + statement("user:bob", "encrypt", "allow")} {
		put(409, "/v1/policies/door", fmt.Sprintf(onKey, refused))
		put(409, "/v1/policies/door", strings.TrimSuffix(fmt.Sprintf(onKey, refused), "}")+`,"activateAt":"`+tomorrow+`"}`)
	}
	put(200, "/v1/policies/door", fmt.Sprintf(onKey, statement("user:bob", "decrypt", "allow")))
	put(200, "/v1/policies/clerks", `{"document":{`+statement("role:clerk", "decrypt", "allow")+`}}`)
	for _, target := range []string{`{"keyId":"` + id + `"}`, `{"role":"clerk"}`, `{"user":"mallory"}`} {
		got := admin.ask("POST", "/v1/policies/clerks/attach", target)
		got.demand(admin, 409, target)
		if !strings.Contains(got.text, "outsider") {
			t.Errorf("%s is refused with %s; want the name of the canary", target, got.text)
		}
	}
	admin.must(200, "POST", "/v1/policies/clerks/attach", `{"role":"other"}`)
	put(200, "/v1/policies/later", `{"document":{`+statement("role:clerk", "sign", "allow")+`}}`)
	put(200, "/v1/policies/later", `{"document":{`+statement("role:clerk", "decrypt", "allow")+`},"activateAt":"`+tomorrow+`"}`)
	admin.must(409, "POST", "/v1/policies/later/attach", `{"role":"clerk"}`, "outsider") // it flips tomorrow
	admin.must(409, "POST", "/v1/roles", `{"name":"clerk","actions":["decrypt"]}`)
	admin.must(201, "POST", "/v1/roles", `{"name":"clerk","actions":["encrypt"]}`)

	for _, name := range []string{"carl", "audra"} {
		client := restAs(t, s, name)
		client.must(403, "PUT", "/v1/canaries/outsider", `{"principal":"x","action":"decrypt","expect":"deny"}`)
		client.must(403, "DELETE", "/v1/canaries/outsider", "")
		client.must(403, "GET", "/v1/canaries", "")
	}
	olga := restAs(t, s, "olga")
	olga.must(200, "GET", "/v1/canaries", "", `"canaries":[]`)
	olga.must(404, "DELETE", "/v1/canaries/outsider", "")
	admin.must(200, "GET", "/v1/canaries", "", `"name":"outsider"`, `"expect":"deny"`)
	admin.must(204, "DELETE", "/v1/canaries/outsider", "")
	admin.must(200, "POST", "/v1/policies/clerks/attach", `{"role":"clerk"}`)
	admin.must(200, "PUT", "/v1/canaries/nightly", `{"principal":"u","action":"sign","keyId":"`+id+`","door":"rest","address":"10.0.0.1","at":"2026-01-31T12:00:00Z","expect":"deny"}`, `"name":"nightly"`)
	for what, body := range map[string]string{"no decision": `{"principal":"u","action":"sign"}`, "every action": `{"principal":"u","action":"*","expect":"deny"}`, "no principal": `{"action":"sign","expect":"deny"}`,
		"a name twice": `{"name":"x","principal":"u","action":"sign","expect":"deny"}`, "no door": `{"principal":"u","action":"sign","door":"clock","expect":"deny"}`, "no address": `{"principal":"u","action":"sign","address":"x","expect":"deny"}`} {
		admin.ask("PUT", "/v1/canaries/wrong", body).demand(admin, 400, what)
	}
}
