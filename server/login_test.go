package server_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/tls"
	"encoding/base32"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// appCode is what an authenticator app makes of the URI of a key (RFC 6238), some steps of 30 s
// from now.
func appCode(t *testing.T, uri string, ahead int64) string {
	t.Helper()
	u, err := url.Parse(uri)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/keyreeve:default/carla" || u.Query().Get("digits") != "6" || u.Query().Get("period") != "30" {
		t.Fatalf("%q is no URI of an authenticator app for carla: %v", uri, err)
	}
	key, err := base32.StdEncoding.DecodeString(u.Query().Get("secret"))
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(time.Now().Unix()/30+ahead)))
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1_000_000)
}

// makesKey reports whether a sender may make a key.
func makesKey(c *kmiptest.Client, given proof.Credential) bool {
	c.Options.Credentials = []proof.Credential{given}
	_, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
	return err == nil
}

// A user with a key of one-time codes logs in with password and code, at both doors, and with each
// code once, also after a restart. A Hashed Password is accepted only for a user who may send it,
// and a device only with its identifiers.
// Records say how each proved itself.
func TestUsersWithCodesAndHashes(t *testing.T) {
	const password = "a long enough password"
	s := servertest.Start(t)
	userCommand(t, s, password, "add", "carla")
	userCommand(t, s, password, "add", "hugo", "--hashed")
	out, err := exec.Command(servertest.Binary(t), "user", "otp", "carla", "--dir", s.Dir).Output()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil || len(lines) != 2 {
		t.Fatalf("user otp: %v\n%s", err, out)
	}
	dial := func() *kmiptest.Client { return dialWith(t, s, clientTLS(t, s, "dev"), core.V2_1) }
	code := func(c string) proof.Credential {
		return proof.Credential{Type: core.CredentialTypeOneTimePassword, Username: "carla", Password: []byte(password), OneTimePassword: []byte(c)}
	}
	first := appCode(t, lines[1], 0)
	one := dial()
	if !makesKey(one, code(first)) || !makesKey(one, code(first)) {
		t.Error("password and code, twice on one connection, are refused")
	}
	buy := func(c string) int {
		order := body{"grantType": "password", "user": "carla", "password": password}
		if c != "" {
			order["code"] = c
		}
		return withToken(t, s, "dev").ask("POST", "/v1/auth/token", "", order).status
	}
	s.Stop()
	s.Run()
	if makesKey(dial(), code(first)) {
		t.Error("after a restart a code is good again")
	}
	wantStatus(t, "a code over REST that was used over KMIP", buy(first), 401)
	if makesKey(dial(), proof.Credential{Type: core.CredentialTypeUsernameAndPassword, Username: "carla", Password: []byte(password)}) {
		t.Error("the password alone is enough")
	}
	wantStatus(t, "the password alone over REST", buy(""), 401)
	wantStatus(t, "another code over REST", buy(appCode(t, lines[1], 1)), 200)

	hash := func(parts ...string) string {
		sum := sha256.Sum256([]byte(strings.Join(parts, "")))
		return string(sum[:])
	}
	hashedBy := func(name string) proof.Credential {
		now := time.Now().UnixMicro()
		stamp := string(binary.BigEndian.AppendUint64(nil, uint64(now)))
		return proof.Credential{Type: core.CredentialTypeHashedPassword, Username: name, Hashed: &proof.HashedPassword{Timestamp: now, Hash: []byte(hash(hash(name, password), stamp) + hash(password, name))}}
	}
	started := time.Now() // a little after the server, which accepts no Hashed Passwords at first
	hugo := makesKey(dial(), hashedBy("hugo"))
	for !hugo && time.Since(started) < 10*time.Second {
		time.Sleep(200 * time.Millisecond)
		hugo = makesKey(dial(), hashedBy("hugo"))
	}
	if !hugo || makesKey(dial(), hashedBy("carla")) {
		t.Error("a Hashed Password must be accepted of hugo, and refused of carla")
	}
	made := strings.Join(records(t, s, "Create", "--json"), "\n")
	if strings.Count(made, `"principal":"carla"`) != 2 || strings.Count(made, `"method":"code","strength":"code"`) != 2 || strings.Count(made, `"method":"hashed-password","strength":"password"`) != 1 {
		t.Errorf("the records are\n%s\nwant two of carla by code, and one by a Hashed Password", made)
	}
	listed, err := s.Command("user", "list", "--dir", s.Dir)
	if err != nil || !strings.Contains(listed, "carla | active | groups  | roles  | code") || !strings.Contains(listed, "| password,hashed-password") || strings.Contains(listed, "secret") {
		t.Errorf("user list: %v\n%s; want how each logs in", err, listed)
	}
	userCommand(t, s, password, "add", "drive-17", "--attribute", "machine-identifier=host 3")
	device := func(machine string) proof.Credential {
		return proof.Credential{Type: core.CredentialTypeDevice, Password: []byte(password), Device: &proof.Device{SerialNumber: "drive-17", Machine: machine}}
	}
	if !makesKey(dial(), device("host 3")) || makesKey(dial(), device("host 4")) {
		t.Error("a Device credential must be accepted of the machine that is laid down, and of no other one")
	}
	wantNoHashes(t, s, password, hashedBy("hugo"))
	if made := strings.Join(records(t, s, "Create", "--json"), "\n"); strings.Count(made, `"method":"device","strength":"password"`) != 1 {
		t.Errorf("the records are\n%s\nwant one by a Device credential", made)
	}
	userCommand(t, s, "", "otp", "carla", "--remove")
	if !makesKey(dial(), proof.Credential{Type: core.CredentialTypeUsernameAndPassword, Username: "carla", Password: []byte(password)}) {
		t.Error("without the key the password is not enough")
	}
}

// wantNoHashes fails if a message that is refused, a record or the log has what the server keeps to
// verify a Hashed Password, what it answers to a right one, or what the client has sent.
func wantNoHashes(t *testing.T, s *servertest.Server, password string, given proof.Credential) {
	t.Helper()
	hash := func(parts ...[]byte) []byte {
		sum := sha256.Sum256(bytes.Join(parts, nil))
		return sum[:]
	}
	stamp := binary.BigEndian.AppendUint64(nil, uint64(given.Hashed.Timestamp))
	s1, s2 := hash([]byte(given.Username+password)), hash([]byte(password+given.Username))
	secrets := map[string][]byte{"S1": s1, "S2": s2, "the hash of S2": hash(s2), "the Server Hashed Password": hash(stamp, s1, hash(s2)), "the first half of the Hashed Password": hash(s1, stamp)}
	wantNone := func(where string, text []byte) {
		t.Helper()
		for what, b := range secrets {
			for _, spelling := range []string{string(b), hex.EncodeToString(b), strings.ToUpper(hex.EncodeToString(b)), base64.RawStdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b),
				strings.Trim(fmt.Sprint(b), "[]"), strings.Trim(strconv.Quote(string(b)), `"`)} {
				if bytes.Contains(text, []byte(spelling)) {
					t.Errorf("%s has %s, as %q", where, what, spelling)
				}
			}
		}
	}
	from := &net.Dialer{Timeout: 5 * time.Second, LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 67)}} // an address has 10 records of failed logins in a period
	send := func(change func(*proof.HashedPassword)) ([]byte, kmip.ClientResponse) {
		t.Helper()
		hashed := *given.Hashed
		hashed.Hash = bytes.Clone(hashed.Hash)
		change(&hashed)
		conn, err := tls.DialWithDialer(from, "tcp", s.KMIP, clientTLS(t, s, "dev"))
		if err != nil {
			t.Skipf("the loopback has one address alone: %v", err)
		}
		defer conn.Close()
		c := &kmiptest.Client{Conn: conn, Version: core.V2_1}
		c.Options.Credentials = []proof.Credential{{Type: given.Type, Username: given.Username, Hashed: &hashed}}
		msg, err := kmip.AppendRequest(nil, c.Version, c.Options, kmiptest.Item(&kmip.DiscoverVersions, &operation.DiscoverVersionsInput{}))
		if err != nil {
			t.Fatal(err)
		}
		answer, err := c.Send(msg)
		if err != nil {
			t.Fatal(err)
		}
		r, err := kmip.ParseResponse(answer)
		if err != nil {
			t.Fatal(err)
		}
		return answer, r
	}
	if _, r := send(func(*proof.HashedPassword) {}); r.Items[0].Status != core.StatusSuccess || !bytes.Equal(r.ServerHash, secrets["the Server Hashed Password"]) {
		t.Fatalf("a right Hashed Password: %v, and the answer is %x", r.Items[0].Message, r.ServerHash)
	}
	for _, wrong := range []struct { // in this order: after some failures the record of a refusal names the delay alone
		what   string
		change func(*proof.HashedPassword)
	}{
		{"a Hashed Password used before", func(*proof.HashedPassword) {}},
		{"one of another S2", func(h *proof.HashedPassword) { h.Hash[len(h.Hash)-1] ^= 1 }},
		{"one of another timestamp", func(h *proof.HashedPassword) { h.Timestamp++ }},
		{"one of an hour ago", func(h *proof.HashedPassword) {
			h.Timestamp -= time.Hour.Microseconds()
			copy(h.Hash, hash(s1, binary.BigEndian.AppendUint64(nil, uint64(h.Timestamp))))
		}},
	} {
		answer, r := send(wrong.change)
		if r.Items[0].Reason != core.ReasonAuthenticationNotSuccessful || r.ServerHash != nil {
			t.Errorf("%s: %v %q, and the answer is %x; want a refusal without one", wrong.what, r.Items[0].Reason, r.Items[0].Message, r.ServerHash)
		}
		wantNone("the answer to "+wrong.what, answer)
	}
	all, err := s.Command("audit", "list", "--dir", s.Dir, "--limit", "0", "--json")
	if err != nil || !strings.Contains(all, "the Hashed Password was used before") {
		t.Fatalf("audit list: %v; want a record of each refusal", err)
	}
	wantNone("a record", []byte(all))
	log, err := os.ReadFile(s.Log)
	if err != nil || len(log) == 0 {
		t.Fatalf("the log: %d bytes, %v", len(log), err)
	}
	wantNone("the log", log)
}
