package server_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/httpd"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// closeGate is a policy that denies Encrypt with a key, to everybody.
func closeGate(id string) string {
	return fmt.Sprintf(`{"keyId":%q,"statements":[{"sid":"closed","principal":"*","actions":["encrypt"],"effect":"deny"}]}`, id)
}

// A version that waits comes into force on both nodes by itself: what was answered before its
// time was permitted, and from then on nothing is. Lists say what waits. A version that was
// withdrawn never comes into force.
func TestWaitingPolicyOnTwoNodes(t *testing.T) {
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
	check("a denial to all", `{"principal":"*","actions":["encrypt"],"effect":"deny"}`, map[string]string{"alice": "deny", "dev": "deny"})
	tagged := allow("user:alice", "") + "," + allow("user:bob", `"tags":{"env":"x"}`)
	check("a tag of a key that has not changed", tagged, map[string]string{})
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
	_, err = kmiptest.Do(dev, &kmip.AddAttribute, &core.AddAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Tag: core.TagContactInformation, Value: core.Text("ops")}})
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
