package server_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// restPeople asks the REST door as one client.
type restPeople struct {
	t      *testing.T
	client *http.Client
	url    string
	name   string
}

// restAs returns the client of a certificate.
func restAs(t *testing.T, s *servertest.Server, name string) *restPeople {
	t.Helper()
	c := &http.Client{Transport: &http.Transport{TLSClientConfig: clientTLS(t, s, name)}}
	t.Cleanup(c.CloseIdleConnections)
	return &restPeople{t, c, "https://" + s.HTTPS, name}
}

// restAnswer is a decoded answer.
type restAnswer struct {
	status int
	header http.Header
	body   map[string]any
	text   string
}

// ask sends a request with a body, none for "", and headers as NAME: VALUE.
func (p *restPeople) ask(method, path, body string, headers ...string) restAnswer {
	p.t.Helper()
	given := http.Header{}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		given.Set(name, value)
	}
	res, text := sendREST(p.t, p.client, method, p.url+path, body, given)
	out := restAnswer{status: res.StatusCode, header: res.Header, text: string(text)}
	if len(text) > 0 {
		if err := json.Unmarshal(text, &out.body); err != nil {
			p.t.Fatalf("%s %s answers no JSON object: %v: %s", method, path, err, text)
		}
	}
	return out
}

// must demands a status, and that the answer has the parts of text.
func (p *restPeople) must(status int, method, path, body string, parts ...string) restAnswer {
	p.t.Helper()
	got := p.ask(method, path, body)
	got.demand(p, status, method+" "+path, parts...)
	return got
}

func (a restAnswer) demand(p *restPeople, status int, what string, parts ...string) {
	p.t.Helper()
	if a.status != status || a.header.Get("Request-Id") == "" {
		p.t.Errorf("%s as %s: %d %s; want %d", what, p.name, a.status, a.text, status)
	}
	for _, part := range parts {
		if !strings.Contains(a.text, part) {
			p.t.Errorf("%s as %s: %s; want %s in it", what, p.name, a.text, part)
		}
	}
}

type peopleRoute struct{ method, path, body, action string }

// peopleRoutes are the routes of policies and people with what an administrator sends. KEY,
// POLICY, USER, ROLE and CLIENT stand for names.
var peopleRoutes = []peopleRoute{
	{"POST", "/v1/policies", `{"name":"q","document":` + openPolicy + `}`, "Save Policy"},
	{"GET", "/v1/policies", "", "Read Policies"},
	{"GET", "/v1/policies/POLICY", "", "Read Policies"},
	{"GET", "/v1/policies/POLICY?version=1", "", "Read Policies"},
	{"PUT", "/v1/policies/POLICY", `{"document":` + openPolicy + `}`, "Save Policy"},
	{"PUT", "/v1/policies/POLICY", `{"document":` + openPolicy + `,"activateAt":"` + tomorrow + `"}`, "Save Policy"},
	{"POST", "/v1/policies/POLICY/withdraw", `{}`, "Save Policy"},
	{"POST", "/v1/policies/POLICY/replay", `{"since":"` + yesterday + `"}`, "Replay Policy"},
	{"GET", "/v1/policies/POLICY/versions", "", "Read Policies"},
	{"POST", "/v1/policies/POLICY/rollback", `{"version":1}`, "Read Policies"},
	{"POST", "/v1/policies/POLICY/attach", `{"role":"r"}`, "Attach Policy"},
	{"POST", "/v1/policies/POLICY/detach", `{"role":"r"}`, "Detach Policy"},
	{"GET", "/v1/keys/KEY/policy", "", "Read Policies"},
	{"POST", "/v1/keys/KEY/policy", `{"policyId":"POLICY"}`, "Attach Policy"},
	{"DELETE", "/v1/keys/KEY/policy/POLICY", "", "Detach Policy"},
	{"GET", "/v1/keys/KEY/access?principal=u", "", "Simulate Policy"},
	{"POST", "/v1/simulate", `{"principal":"u","action":"encrypt","keyId":"KEY"}`, "Simulate Policy"},
	{"POST", "/v1/users", `{"name":"v"}`, "Save User"},
	{"GET", "/v1/users", "", "Read Users"},
	{"GET", "/v1/users/USER", "", "Read Users"},
	{"PATCH", "/v1/users/USER", `{"groups":["g"]}`, "Save User"},
	{"POST", "/v1/roles", `{"name":"s","actions":["sign"]}`, "Save Role"},
	{"GET", "/v1/roles", "", "Read Roles"},
	{"GET", "/v1/roles/ROLE", "", "Read Roles"},
	{"PATCH", "/v1/roles/ROLE", `{"actions":["verify"]}`, "Save Role"},
	{"POST", "/v1/clients", `{"name":"d","invite":true}`, "Save Client"},
	{"GET", "/v1/clients", "", "Read Clients"},
	{"GET", "/v1/clients/CLIENT", "", "Read Clients"},
	{"PATCH", "/v1/clients/CLIENT", `{"groups":["g"]}`, "Save Client"},
	{"DELETE", "/v1/clients/CLIENT", "", "Revoke Client"},
	{"DELETE", "/v1/roles/ROLE", "", "Delete Role"},
	{"DELETE", "/v1/users/USER", "", "Delete User"},
	{"DELETE", "/v1/policies/POLICY", "", "Delete Policy"},
}

// Every route of policies and people in the specification, which is compared with the routes
// themselves, is in peopleRoutes.
func TestPeopleRoutesAreTried(t *testing.T) {
	t.Parallel()
	path := strings.NewReplacer("{policyId}", "POLICY", "{keyId}", "KEY", "/users/{name}", "/users/USER", "/roles/{name}", "/roles/ROLE", "/clients/{name}", "/clients/CLIENT")
	documented := 0
	for _, m := range specifiedRoutes(`policies|users|roles|simulate|keys/\{keyId\}/(?:policy|access)|clients/\{`) {
		documented++
		if !slices.ContainsFunc(peopleRoutes, func(r peopleRoute) bool {
			tried, _, _ := strings.Cut(r.path, "?")
			return r.method == m.method && tried == path.Replace(m.path)
		}) {
			t.Errorf("%s %s is not in peopleRoutes", m.method, m.path)
		}
	}
	if documented < 27 {
		t.Errorf("the specification has only %d routes of policies and people", documented)
	}
}

// specifiedRoutes returns the routes of the specification whose paths go on behind /v1/ as a
// regular expression says.
func specifiedRoutes(paths string) (routes []peopleRoute) {
	wanted := regexp.MustCompile("^/v1/(?:" + paths + ")")
	for _, o := range api.Operations {
		if wanted.MatchString(o.Path) {
			routes = append(routes, peopleRoute{method: o.Method, path: o.Path})
		}
	}
	return routes
}

// tomorrow is a time at which a version of a policy can come into force.
var tomorrow = time.Now().Add(24 * time.Hour).UTC().Format(time.RFC3339)

// yesterday is a time from which requests are replayed.
var yesterday = time.Now().Add(-24 * time.Hour).UTC().Format(time.RFC3339)

// openPolicy is the document of a policy that names no key.
const openPolicy = `{"statements":[{"sid":"all","principal":"user:u","actions":["encrypt"],"effect":"allow"}]}`

// startPeople starts a server with an administrator, an ordinary client, an auditor and an
// administrator of another tenant, with the policy p, the user u, the role r and a key.
func startPeople(t *testing.T) (s *servertest.Server, admin *restPeople, key string) {
	t.Helper()
	s = servertest.Start(t)
	s.DeclareTenant("other")
	for _, r := range []certs.Request{{Name: "anna", Tenant: "default", Roles: []string{"admin"}}, {Name: "carl", Tenant: "default"},
		{Name: "audra", Tenant: "default", Roles: []string{"auditor"}}, {Name: "olga", Tenant: "other", Roles: []string{"admin"}}} {
		s.Certify(r)
	}
	key = aesKey(t, dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4), activeNow)
	admin = restAs(t, s, "anna")
	admin.must(201, "POST", "/v1/policies", `{"name":"p","document":`+openPolicy+`}`)
	admin.must(201, "POST", "/v1/users", `{"name":"u"}`)
	admin.must(201, "POST", "/v1/roles", `{"name":"r","actions":["sign"]}`)
	admin.must(201, "POST", "/v1/clients", `{"name":"c"}`)
	return s, admin, key
}

// An ordinary client and an auditor are refused by every route, before it says whether
// something exists, and each refusal is recorded. To an administrator of another tenant
// the entries and keys do not exist, and its lists are empty. The tenant's own may do all.
func TestWhoMayAdministerPeople(t *testing.T) {
	t.Parallel()
	s, admin, key := startPeople(t)
	existing, absent := namesFor(key)
	for _, name := range []string{"carl", "audra"} {
		client, want := restAs(t, s, name), map[string]int{}
		for _, r := range peopleRoutes {
			if name == "audra" && r.action == "Replay Policy" { // an auditor reviews requests
				client.must(200, r.method, existing.Replace(r.path), r.body)
				client.must(404, r.method, absent.Replace(r.path), r.body)
				continue
			}
			want[r.action] += 2
			client.must(403, r.method, existing.Replace(r.path), existing.Replace(r.body), `"PermissionDenied"`)
			client.must(403, r.method, absent.Replace(r.path), absent.Replace(r.body), `"PermissionDenied"`)
		}
		for action, n := range want {
			if got := recordsOf(t, s, action, name, "denied"); got != n {
				t.Errorf("%s has %d denied records of %s, want %d", name, got, action, n)
			}
		}
	}
	olga := restAs(t, s, "olga")
	for _, r := range peopleRoutes {
		path, body := existing.Replace(r.path), existing.Replace(r.body)
		switch {
		case r.method == "GET" && strings.Count(r.path, "/") == 2:
			if got := olga.must(200, r.method, path, ""); !strings.Contains(got.text, "[]") {
				t.Errorf("%s as olga: %s; want an empty list", r.path, got.text)
			}
		case r.method == "PUT" || r.method == "POST" && strings.Count(r.path, "/") == 2 && r.path != "/v1/simulate":
		case strings.HasSuffix(r.path, "/detach"):
			olga.must(200, r.method, path, body, `"attached":[]`)
		default:
			got, none := olga.must(404, r.method, path, body), olga.must(404, r.method, absent.Replace(r.path), absent.Replace(r.body))
			if a, b := withoutNames(got.text, key, got), withoutNames(none.text, "no-such-key", none); a != b {
				t.Errorf("%s %s as olga tells apart what another tenant has, %s, and what nobody has, %s", r.method, path, a, b)
			}
		}
	}
	for _, r := range peopleRoutes {
		if got := admin.ask(r.method, existing.Replace(r.path), existing.Replace(r.body)); got.status/100 != 2 {
			t.Errorf("%s %s as the administrator: %d %s", r.method, r.path, got.status, got.text)
		}
		if recordsOf(t, s, r.action, "anna", "allowed") == 0 {
			t.Errorf("%s %s leaves no record of %s", r.method, r.path, r.action)
		}
	}
}

// namesFor returns what puts names in the place of those in peopleRoutes.
func namesFor(key string) (existing, absent *strings.Replacer) {
	return strings.NewReplacer("KEY", key, "POLICY", "p", "USER", "u", "ROLE", "r", "CLIENT", "c"), strings.NewReplacer("KEY", "no-such-key", "POLICY", "no-p", "USER", "no-u", "ROLE", "no-r", "CLIENT", "no-c")
}

// withoutNames returns an answer without what differs between two requests.
func withoutNames(text, key string, a restAnswer) string {
	return strings.NewReplacer(key, "KEY", a.header.Get("Request-Id"), "ID", "no-", "").Replace(text)
}

// recordsOf counts the records of an action and principal with an outcome.
func recordsOf(t *testing.T, s *servertest.Server, action, principal, outcome string) (n int) {
	t.Helper()
	for _, line := range records(t, s, action, "--json") {
		var r struct{ Principal, Outcome string }
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if r.Principal == principal && r.Outcome == outcome {
			n++
		}
	}
	return n
}

// A version is replaced only if it is the one that If-Match names, and an entry that was
// deleted can be made again.
func TestVersionsOverREST(t *testing.T) {
	t.Parallel()
	_, admin, _ := startPeople(t)
	for _, c := range []struct{ list, one, create, change, method string }{
		{"/v1/policies", "/v1/policies/x", `{"name":"x","document":` + openPolicy + `,"reason":"first"}`, `{"document":` + openPolicy + `}`, "PUT"},
		{"/v1/users", "/v1/users/x", `{"name":"x","groups":["a"]}`, `{"groups":["b"]}`, "PATCH"},
		{"/v1/roles", "/v1/roles/x", `{"name":"x","actions":["sign"]}`, `{"actions":["verify"]}`, "PATCH"},
	} {
		made := admin.must(201, "POST", c.list, c.create, `"version":1`)
		if made.header.Get("Location") != c.one || made.header.Get("ETag") != `"1"` {
			t.Errorf("POST %s has Location %q and ETag %q", c.list, made.header.Get("Location"), made.header.Get("ETag"))
		}
		admin.must(409, "POST", c.list, c.create, "already")
		admin.ask(c.method, c.one, c.change, `If-Match: "2"`).demand(admin, 412, "a version ahead of "+c.one, "read it again")
		admin.ask(c.method, c.one, c.change, `If-Match: "1"`).demand(admin, 200, "the newest version of "+c.one, `"version":2`)
		admin.ask(c.method, c.one, c.change, `If-Match: "1"`).demand(admin, 412, "an old version of "+c.one)
		if got := admin.must(200, "GET", c.one, "", `"version":2`); got.header.Get("ETag") != `"2"` {
			t.Errorf("GET %s has ETag %q, want \"2\"", c.one, got.header.Get("ETag"))
		}
		admin.ask("DELETE", c.one, "", `If-Match: "1"`).demand(admin, 412, "an old version of "+c.one)
		if got := admin.ask("DELETE", c.one+"?reason=over", "", `If-Match: "2"`); got.status != 204 || got.text != "" {
			t.Errorf("DELETE %s: %d %q, want 204", c.one, got.status, got.text)
		}
		admin.must(404, "GET", c.one, "")
		admin.must(404, "DELETE", c.one, "")
		admin.ask(c.method, c.one, c.change, `If-Match: "3"`).demand(admin, 404, "the version that deleted "+c.one)
		admin.must(201, "POST", c.list, c.create, `"version":4`)
	}
	outcomes := make([]int, 8)
	coretest.AtOnce(len(outcomes), func(i int) {
		outcomes[i] = admin.ask("PATCH", "/v1/users/x", fmt.Sprintf(`{"groups":["g%d"]}`, i), `If-Match: "4"`).status
	})
	if slices.Sort(outcomes); outcomes[0] != 200 || outcomes[1] != 409 && outcomes[1] != 412 {
		t.Errorf("%d changes of one version at once: %v; want one 200", len(outcomes), outcomes)
	}
	admin.must(200, "GET", "/v1/users/x", "", `"version":5`)
	admin.must(404, "PATCH", "/v1/users/nobody", `{"groups":[]}`)
	admin.must(404, "PATCH", "/v1/roles/nobody", `{"actions":["sign"]}`)
}

// Versions of a policy are listed newest first, page by page, and an old one comes back by
// a rollback. A document is answered as it was written.
func TestPolicyVersionsOverREST(t *testing.T) {
	t.Parallel()
	_, admin, _ := startPeople(t)
	for v := 2; v <= 5; v++ {
		admin.must(200, "PUT", "/v1/policies/p", fmt.Sprintf(`{"document":{"statements":[{"sid":"s%d","principal":"user:u","actions":["sign"],"effect":"deny"}]},"reason":"r%d"}`, v, v), fmt.Sprintf(`"version":%d`, v), `"state":"active"`)
	}
	var versions []float64
	for token := ""; ; {
		got := admin.must(200, "GET", "/v1/policies/p/versions?limit=2"+token, "")
		for _, v := range got.body["versions"].([]any) {
			versions = append(versions, v.(map[string]any)["version"].(float64))
		}
		next, more := got.body["nextPageToken"]
		if !more {
			break
		}
		token = "&pageToken=" + next.(string)
	}
	if !slices.Equal(versions, []float64{5, 4, 3, 2, 1}) {
		t.Errorf("the versions are %v", versions)
	}
	admin.must(200, "GET", "/v1/policies/p?version=2", "", `"sid":"s2"`, `"author":"default/anna"`, `"reason":"r2"`)
	admin.must(404, "GET", "/v1/policies/p?version=6", "")
	admin.must(404, "GET", "/v1/policies/p?version=0", "")
	admin.must(400, "GET", "/v1/policies/p?version=x", "")
	admin.ask("POST", "/v1/policies/p/rollback", `{"version":2}`, `If-Match: "4"`).demand(admin, 412, "a rollback of an old version")
	admin.must(200, "POST", "/v1/policies/p/rollback", `{"version":2}`, `"version":6`)
	admin.must(200, "GET", "/v1/policies/p", "", `"sid":"s2"`, "back to version 2")
	admin.must(404, "POST", "/v1/policies/p/rollback", `{"version":9}`)
	admin.must(400, "PUT", "/v1/policies/p", `{"document":{"statements":[{"sid":"s","principal":"user:u","actions":["fly"],"effect":"deny"}]}}`, "statements[0].actions")
	admin.must(400, "POST", "/v1/policies", `{"name":"a b","document":`+openPolicy+`}`, "name")
	for _, bad := range []string{"/v1/policies/p%00", "/v1/policies/%ff/versions", "/v1/policies/" + strings.Repeat("x", 5000), "/v1/users/%00", "/v1/roles/%2f", "/v1/keys/%00/policy", "/v1/keys/%00/access"} {
		admin.must(404, "GET", bad, "")
	}
	statements := strings.Repeat(`{"principal":"user:u","actions":["sign"],"effect":"deny"},`, 500)
	admin.must(200, "PUT", "/v1/policies/p", `{"document":{"statements":[`+strings.TrimSuffix(statements, ",")+`]}}`, `"version":7`)
}

// Policies are attached to keys and holders over REST, and the lists say so.
func TestAttachmentsOverREST(t *testing.T) {
	t.Parallel()
	_, admin, key := startPeople(t)
	admin.must(200, "POST", "/v1/keys/"+key+"/policy", `{"policyId":"p"}`, `"attached":["p"]`)
	admin.must(200, "POST", "/v1/keys/"+key+"/policy", `{"policyId":"p"}`, `"attached":["p"]`)
	admin.must(200, "GET", "/v1/keys/"+key+"/policy", "", `"attached":["p"]`)
	admin.must(200, "DELETE", "/v1/keys/"+key+"/policy/p", "", `"attached":[]`)
	admin.must(200, "GET", "/v1/keys/"+key+"/policy", "", `"attached":[]`)
	for member, holder := range map[string]string{"keyGroup": "keyGroup:x", "user": "user:x", "role": "role:x", "group": "group:x"} {
		body := `{"` + member + `":"x"}`
		admin.must(200, "POST", "/v1/policies/p/attach", body, `"holder":"`+holder+`"`, `"attached":["p"]`)
		admin.must(409, "DELETE", "/v1/policies/p", "", holder)
		admin.must(200, "POST", "/v1/policies/p/detach", body, `"attached":[]`)
	}
	admin.must(200, "POST", "/v1/policies/p/attach", `{"keyId":"`+key+`"}`, `"keyId":"`+key+`"`, `"attached":["p"]`)
	admin.must(404, "POST", "/v1/policies/nothing/attach", `{"role":"x"}`)
	admin.must(404, "POST", "/v1/policies/p/attach", `{"keyId":"nothing"}`)
	admin.must(400, "POST", "/v1/policies/p/attach", `{"keyId":"k","role":"x"}`)
	admin.must(400, "POST", "/v1/policies/p/attach", `{"role":"\u0000"}`)
}

// A password that is set over REST is in no answer, record, log or database file.
func TestPasswordsOverREST(t *testing.T) {
	t.Parallel()
	s, admin, key := startPeople(t)
	const password = "horse-battery-7391"
	admin.must(200, "PATCH", "/v1/users/u", `{"password":"`+password+`","reason":"new"}`)
	made := admin.must(201, "POST", "/v1/users", `{"name":"w","password":"`+password+`","roles":["ops"],"attributes":{"site":"x"},"expiresAt":"2090-01-31T12:00:00Z"}`, `"expiresAt":"2090-01-31T12:00:00Z"`)
	admin.must(200, "PATCH", "/v1/users/w", `{"expiresAt":null}`)
	got := admin.must(200, "GET", "/v1/users/w", "", `"roles":["ops"]`, `"site":"x"`)
	if _, expires := got.body["expiresAt"]; expires {
		t.Errorf("the user still expires: %s", got.text)
	}
	admin.must(400, "PATCH", "/v1/users/w", `{"password":"short"}`, "12 to 1024")
	admin.must(400, "PATCH", "/v1/users/w", `{"password":""}`, "12 to 1024")
	admin.must(400, "PATCH", "/v1/users/w", `{"password":"`+password+`","pass\u0077ord":"x"}`)
	admin.must(400, "POST", "/v1/users", `{"name":"x","password":"`+password+`","roles":["system"]}`)
	list := admin.must(200, "GET", "/v1/users", "")
	out, err := s.Command("audit", "list", "--dir", s.Dir, "--json", "--limit", "0")
	if err != nil {
		t.Fatal(err)
	}
	log, err := os.ReadFile(s.Log)
	if err != nil {
		t.Fatal(err)
	}
	for what, text := range map[string]string{"answer": made.text + got.text, "list": list.text, "records": out, "log": string(log)} {
		if strings.Contains(text, password) || strings.Contains(text, "argon2") {
			t.Errorf("the %s has the password or its hash", what)
		}
	}
	for v, name := range map[core.Version]string{core.V1_4: "u", core.V2_1: "w"} {
		client := withPassword(dialFrom(t, s, "carl", "127.0.0.1", v), name, password)
		admin.must(200, "POST", "/v1/keys/"+key+"/policy", `{"policyId":"p"}`)
		if err := encryptOver(client, key); (err == nil) != (name == "u") {
			t.Errorf("Encrypt as %s, whom the policy permits only as u: %v", name, err)
		}
	}
}

// A simulation says what a real request gets, and why. It is recorded and does nothing.
func TestSimulateOverREST(t *testing.T) {
	t.Parallel()
	s, admin, key := startPeople(t)
	document := strings.NewReplacer("key123", key, "192.168.1.0/24", "127.0.1.0/24", "user:alice", "user:carl").Replace(exampleAsWritten(t))
	admin.must(201, "POST", "/v1/policies", `{"name":"payroll","document":`+document+`}`, `"attached":["`+key+`"]`)
	ask := func(members string) string { return `{"keyId":"` + key + `",` + members + `}` }
	for _, address := range []string{"127.0.1.5", "127.0.2.5"} {
		real := map[int]string{200: "allow", 403: "deny"}[encryptREST(t, s, "carl", address, key)]
		admin.must(200, "POST", "/v1/simulate", ask(`"principal":"carl","action":"encrypt","address":"`+address+`"`), `"decision":"`+real+`"`, `"statement":"payroll@1/1"`)
	}
	admin.must(200, "POST", "/v1/simulate", ask(`"principal":"carl","action":"encrypt","address":"127.0.2.5"`), `"unmet":["conditions.ipAddress"]`)
	admin.must(200, "POST", "/v1/simulate", ask(`"principal":"dora","action":"rotate"`), `"decision":"deny"`, `"action":"Re-key"`)
	admin.must(200, "POST", "/v1/simulate", ask(`"principal":"dora","roles":["admin"],"action":"rotate"`), `"decision":"allow"`, "statement payroll@1/2")
	admin.must(200, "POST", "/v1/simulate", ask(`"principal":"anna","action":"Get Attributes"`), `"decision":"allow"`, "administrator of the tenant")
	admin.must(200, "POST", "/v1/simulate", ask(`"principal":"anna","action":"decrypt"`), `"decision":"deny"`)
	admin.must(200, "POST", "/v1/simulate", `{"principal":"carl","action":"Get"}`, `"decision":"deny"`, `"needsKey":true`)
	admin.must(200, "PATCH", "/v1/users/u", `{"roles":["admin"]}`)
	admin.must(200, "POST", "/v1/simulate", ask(`"principal":"u","action":"Destroy"`), `"decision":"allow"`)
	admin.must(200, "POST", "/v1/simulate", ask(`"principal":"u","roles":[],"action":"Destroy"`), `"decision":"deny"`)
	admin.must(200, "PATCH", "/v1/users/u", `{"disabled":true}`)
	admin.must(200, "POST", "/v1/simulate", ask(`"principal":"u","action":"Destroy"`), `"decision":"deny"`, "disabled")
	admin.must(200, "GET", "/v1/keys/"+key, "")
	admin.must(404, "POST", "/v1/simulate", `{"principal":"carl","action":"Get","keyId":"nothing"}`)
	admin.must(400, "POST", "/v1/simulate", ask(`"principal":"carl","action":"create"`), "leave the object out")

	before := recordsOf(t, s, "Simulate Policy", "anna", "allowed")
	got := admin.must(200, "GET", "/v1/keys/"+key+"/access?principal=carl", "")
	if after := recordsOf(t, s, "Simulate Policy", "anna", "allowed"); after != before+1 {
		t.Errorf("an access leaves %d records, want 1", after-before)
	}
	allowed := allowedActions(got)
	if slices.Contains(allowed, "Encrypt") || slices.Contains(allowed, "Destroy") || len(got.body["access"].([]any)) < 30 {
		t.Errorf("carl may %v from the administrator's address, with %d actions decided", allowed, len(got.body["access"].([]any)))
	}
	own := allowedActions(admin.must(200, "GET", "/v1/keys/"+key+"/access", ""))
	if !slices.Contains(own, "Destroy") || !slices.Contains(own, "Re-key") || slices.Contains(own, "Decrypt") || slices.Contains(own, "Get") {
		t.Errorf("the administrator may %v", own)
	}
	admin.must(400, "GET", "/v1/keys/"+key+"/access?principal=a/b", "")
	admin.must(400, "GET", "/v1/keys/"+key+"/access?who=carl", "")
}

// Asked about everybody, the server tells what each principal that it knows may do with a key,
// page by page, and each answer is that of the question about the principal alone.
func TestAccessOfEverybody(t *testing.T) {
	s, admin, key := startPeople(t)
	admin.must(201, "POST", "/v1/users", `{"name":"w","password":"correct horse battery","roles":["admin"]}`)
	admin.must(200, "PATCH", "/v1/users/u", `{"disabled":true}`)
	type answer struct {
		Principals []struct {
			Principal, Refusal string
			Actions            []string
		}
		NextPageToken string
	}
	path := "/v1/keys/" + key + "/access"
	may, pages := map[string]string{}, 0
	for token := ""; pages == 0 || token != ""; pages++ {
		var got answer
		if err := json.Unmarshal([]byte(admin.must(200, "GET", path+"?principal=*&limit=1"+token, "").text), &got); err != nil || len(got.Principals) != 1 {
			t.Fatalf("page %d: %v, %+v", pages, err, got)
		}
		one := got.Principals[0]
		may[one.Principal] = one.Refusal + strings.Join(one.Actions, ",")
		if token = got.NextPageToken; token != "" {
			token = "&pageToken=" + token
		}
	}
	alone := strings.Join(allowedActions(admin.must(200, "GET", path+"?principal=w", "")), ",")
	if len(may) != pages || may["user:w"] != alone || !strings.Contains(alone, "Destroy") {
		t.Errorf("everybody: %v in %d pages; w alone may %s", may, pages, alone)
	}
	if !strings.Contains(may["user:u"], "disabled") || !strings.Contains(may["owner:dev"], "Encrypt") {
		t.Errorf("the disabled user and the owner may %q and %q", may["user:u"], may["owner:dev"])
	}
	admin.must(400, "GET", path+"?principal=w&limit=1", "")
	admin.must(400, "GET", path+"?principal=*&limit=101", "")
	admin.must(404, "GET", "/v1/keys/nothing/access?principal=*", "")

	admin.must(201, "POST", "/v1/roles", `{"name":"tester","actions":["simulate","read"]}`)
	s.Certify(certs.Request{Name: "tess", Tenant: "default", Roles: []string{"tester"}, Groups: []string{"dev"}})
	restAs(t, s, "tess").must(403, "GET", path+"?principal=*", "")

	all, err := s.Command("policy", "explain", "--object", key, "--dir", s.Dir)
	if err != nil || !strings.Contains(all, "user:u  nothing: the user u is disabled") || !strings.Contains(all, "owner:dev  ") {
		t.Errorf("policy explain prints %s, %v", all, err)
	}
	one, err := s.Command("policy", "explain", "--object", key, "--as", "w", "--dir", s.Dir)
	if err != nil || !strings.Contains(one, "allow  Destroy: ") || !strings.Contains(one, "deny   Decrypt: ") {
		t.Errorf("policy explain --as w prints %s, %v", one, err)
	}
}

// allowedActions lists the actions that an answer about access permits.
func allowedActions(a restAnswer) (names []string) {
	var body struct {
		Access []struct {
			Action, Decision string
			Reasons          []string
		}
	}
	if json.NewDecoder(bytes.NewReader([]byte(a.text))).Decode(&body) != nil {
		return nil
	}
	for _, one := range body.Access {
		if one.Decision == "allow" && len(one.Reasons) > 0 {
			names = append(names, one.Action)
		}
	}
	return names
}

// A principal whose own role permits simulations sees only the keys that it may see, and
// the administrator none whose policy is exclusive.
func TestSimulationHidesKeys(t *testing.T) {
	t.Parallel()
	s, admin, key := startPeople(t)
	admin.must(201, "POST", "/v1/roles", `{"name":"tester","actions":["simulate"]}`)
	s.Certify(certs.Request{Name: "tess", Tenant: "default", Roles: []string{"tester"}})
	tess := restAs(t, s, "tess")
	tess.must(200, "POST", "/v1/simulate", `{"principal":"dev","action":"create"}`, `"decision":"allow"`)
	hidden := tess.must(404, "POST", "/v1/simulate", `{"principal":"dev","action":"encrypt","keyId":"`+key+`"}`)
	absent := tess.must(404, "POST", "/v1/simulate", `{"principal":"dev","action":"encrypt","keyId":"no-such-key"}`)
	if a, b := withoutNames(hidden.text, key, hidden), withoutNames(absent.text, "no-such-key", absent); a != b {
		t.Errorf("a hidden key is answered %s, an absent one %s", a, b)
	}
	tess.must(404, "GET", "/v1/keys/"+key+"/access?principal=dev", "")
	tess.must(403, "GET", "/v1/users", "")

	admin.must(200, "POST", "/v1/simulate", `{"principal":"dev","action":"encrypt","keyId":"`+key+`"}`, `"decision":"allow"`)
	admin.must(201, "POST", "/v1/policies", `{"name":"vault","document":{"keyId":"`+key+`","exclusive":true,"statements":[{"principal":"user:carl","actions":["encrypt"],"effect":"allow"}]}}`)
	admin.must(404, "POST", "/v1/simulate", `{"principal":"dev","action":"encrypt","keyId":"`+key+`"}`)
	admin.must(200, "DELETE", "/v1/keys/"+key+"/policy/vault", "", `"attached":[]`)
	admin.must(200, "POST", "/v1/simulate", `{"principal":"dev","action":"encrypt","keyId":"`+key+`"}`, `"decision":"allow"`)
}
