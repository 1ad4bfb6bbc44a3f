package server_test

import (
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// crownJewel makes a key in the Object Group crown-jewels.
func crownJewel(t *testing.T, c *kmiptest.Client) string {
	t.Helper()
	return aesKey(t, c, core.Attribute{Tag: core.TagObjectGroup, Value: core.Text("crown-jewels")})
}

// destroyOver asks for Destroy over KMIP and returns the error.
func destroyOver(c *kmiptest.Client, id string) error {
	_, err := kmiptest.Do(c, &kmip.Destroy, &operation.DestroyInput{ID: core.ID(id)})
	return err
}

var waitsAs = regexp.MustCompile(`waits for approvals as ([A-Z2-7]+)`)

// wantWaiting demands that a request was refused because it waits, and returns the approval.
func wantWaiting(t *testing.T, what string, err error) string {
	t.Helper()
	found := waitsAs.FindStringSubmatch(fmt.Sprint(err))
	if kmiptest.Reason(err) != core.ReasonPermissionDenied || found == nil {
		t.Fatalf("%s: %v; want Permission Denied and the ID of an approval", what, err)
	}
	return found[1]
}

// startCustodians starts a server with the recipe for two people. bob and cleo are custodians.
func startCustodians(t *testing.T) (s *servertest.Server, alice *kmiptest.Client, bob, anna *restPeople) {
	t.Helper()
	s = servertest.Start(t)
	for _, r := range []certs.Request{{Name: "alice", Tenant: "default"}, {Name: "bob", Tenant: "default", Groups: []string{"custodians"}},
		{Name: "cleo", Tenant: "default", Groups: []string{"custodians"}}, {Name: "anna", Tenant: "default", Roles: []string{"admin"}}, {Name: "eve", Tenant: "default"}} {
		s.Certify(r)
	}
	recipe, err := os.ReadFile("../docs/recipes/two-person-destroy.json")
	if err != nil {
		t.Fatal(err)
	}
	applyPolicy(t, s, "two-person-destroy", string(recipe))
	return s, dialWith(t, s, clientTLS(t, s, "alice"), core.V1_4), restAs(t, s, "bob"), restAs(t, s, "anna")
}

// The recipe for two people: the owner's Destroy waits until a custodian approves it, then
// runs once. Nobody else can approve it, and the request itself decides what it is good for.
func TestTwoPersonDestroy(t *testing.T) {
	t.Parallel()
	s, alice, bob, anna := startCustodians(t)
	key, other := crownJewel(t, alice), crownJewel(t, alice)
	id := wantWaiting(t, "alice destroys alone", destroyOver(alice, key))
	if again := wantWaiting(t, "alice asks again", destroyOver(alice, key)); again != id {
		t.Errorf("the same request waits as %s and as %s; want one approval", id, again)
	}
	path := "/v1/approvals/" + id
	restAs(t, s, "alice").must(403, "POST", path+"/approve", `{}`, "nobody approves their own request", "PermissionDenied")
	restAs(t, s, "eve").must(404, "POST", path+"/approve", `{}`)
	anna.must(403, "POST", path+"/approve", `{}`, "no statement that demands approvals names anna")
	bob.must(200, "GET", "/v1/approvals", "", id, `"action":"Destroy"`, `"requester":"default/alice"`, `"given":0`)
	if got := restAs(t, s, "eve").must(200, "GET", "/v1/approvals", ""); strings.Contains(got.text, id) {
		t.Errorf("a stranger sees an approval: %s", got.text)
	}
	bob.must(200, "POST", path+"/approve", `{}`, `"given":1`, `"default/bob"`)
	bob.must(200, "POST", path+"/approve", `{}`, `"given":1`)
	otherID := wantWaiting(t, "alice destroys another key with the approval", destroyOver(alice, other))
	if otherID == id {
		t.Error("the approval of one key is that of another one")
	}
	wantWaiting(t, "bob destroys with the approval of alice", destroyOver(dialWith(t, s, clientTLS(t, s, "anna"), core.V1_4), key))
	if err := destroyOver(alice, key); err != nil {
		t.Fatalf("alice destroys with an approval: %v", err)
	}
	bob.must(404, "GET", path, "")
	bob.must(204, "POST", "/v1/approvals/"+otherID+"/deny", `{"reason":"no"}`)
	if next := wantWaiting(t, "alice after a denial", destroyOver(alice, other)); next == otherID {
		t.Error("an approval that was denied still waits")
	}
	assertReasons(t, s, "Destroy", "statement two-person-destroy@1/second-person has terms to meet", 1)
}

// An approval is good for the object and the policy as they were: after a change of either,
// the request waits again.
func TestApprovalEndsWithWhatItWasGivenFor(t *testing.T) {
	t.Parallel()
	s, alice, bob, _ := startCustodians(t)
	key := crownJewel(t, alice)
	first := wantWaiting(t, "alice", destroyOver(alice, key))
	bob.must(200, "POST", "/v1/approvals/"+first+"/approve", `{}`)
	added := operation.AddAttributeInput{ID: core.ID(key), Attribute: core.Attribute{Vendor: "x", Name: "note", Value: core.Text("changed")}}
	if _, err := kmiptest.Do(alice, &kmip.AddAttribute, &added); err != nil {
		t.Fatal(err)
	}
	second := wantWaiting(t, "alice after the key has changed", destroyOver(alice, key))
	bob.must(200, "POST", "/v1/approvals/"+second+"/approve", `{}`)
	recipe, _ := os.ReadFile("../docs/recipes/two-person-destroy.json")
	applyPolicy(t, s, "two-person-destroy", strings.Replace(string(recipe), `"needed": 1`, `"needed": 2`, 1))
	third := wantWaiting(t, "alice after the policy has changed", destroyOver(alice, key))
	if first == second || second == third {
		t.Errorf("the approvals %s, %s, %s are not three", first, second, third)
	}
	bob.must(200, "POST", "/v1/approvals/"+third+"/approve", `{}`, `"needed":2,"given":1`)
	wantWaiting(t, "alice with one of two approvals", destroyOver(alice, key))
	restAs(t, s, "cleo").must(200, "POST", "/v1/approvals/"+third+"/approve", `{}`, `"given":2`)
	if err := destroyOver(alice, key); err != nil {
		t.Errorf("alice with two approvals: %v", err)
	}
}

// What administrators do over REST waits too, and what approvals rest on is changed with the
// same approvals only. An approver whom the requester has made is none.
func TestApprovalOverREST(t *testing.T) {
	t.Parallel()
	s, alice, bob, anna := startCustodians(t)
	key := crownJewel(t, alice)
	waiting := func(method, path, body string) string {
		t.Helper()
		got := anna.must(403, method, path, body, `"ApprovalNeeded"`)
		id, _ := got.body["approvalId"].(string)
		if id == "" {
			t.Fatalf("%s %s: %s; want an approvalId", method, path, got.text)
		}
		return id
	}
	document := `{"statements":[{"principal":"*","actions":["delete"],"effect":"allow"}]}`
	save := `{"document":` + document + `}`
	loosen := waiting("PUT", "/v1/policies/two-person-destroy", save)
	waiting("POST", "/v1/policies/two-person-destroy/detach", `{"keyGroup":"crown-jewels"}`)
	waiting("DELETE", "/v1/policies/two-person-destroy", "")
	waiting("POST", "/v1/users", `{"name":"mallory","groups":["custodians"]}`)
	anna.must(201, "POST", "/v1/users", `{"name":"harmless","groups":["printers"]}`)
	_, err := kmiptest.Do(alice, &kmip.DeleteAttribute, &operation.DeleteAttributeInput{ID: core.ID(key), Name: core.AttributeName{Tag: core.TagObjectGroup}})
	if kmiptest.Reason(err) != core.ReasonPermissionDenied {
		t.Errorf("the owner takes the key out of the group: %v; want Permission Denied", err)
	}
	bob.must(200, "POST", "/v1/approvals/"+loosen+"/approve", `{}`)
	if got := waiting("PUT", "/v1/policies/two-person-destroy", strings.Replace(save, "allow", "deny", 1)); got == loosen {
		t.Error("the approval of one document is that of another one")
	}
	anna.must(200, "PUT", "/v1/policies/two-person-destroy", save)
	anna.must(200, "PUT", "/v1/policies/two-person-destroy", save) // nothing rests on it any more

	anna.must(201, "POST", "/v1/users", `{"name":"helper","groups":["custodians"],"password":"correct horse battery"}`)
	rule := `{"statements":[{"principal":"*","actions":["Save Policy","Save User"],"effect":"deny","unless":{"approvals":{"needed":1,"from":["user:helper","user:bob"]}}}],"role":"admin"}`
	anna.must(201, "POST", "/v1/policies", `{"name":"admins","document":`+rule+`}`)
	id := waiting("PATCH", "/v1/users/harmless", `{"password":"another long password"}`)
	s.Certify(certs.Request{Name: "helper", Tenant: "default"})
	restAs(t, s, "helper").must(403, "POST", "/v1/approvals/"+id+"/approve", `{}`, "no independent approver")
	bob.must(200, "POST", "/v1/approvals/"+id+"/approve", `{}`)
	anna.must(200, "PATCH", "/v1/users/harmless", `{"password":"another long password"}`)
	waiting("PATCH", "/v1/users/harmless", `{"password":"another long password"}`)
	out, err := s.Command("approval", "list", "--dir", s.Dir)
	if err != nil || !strings.Contains(out, "default/anna | Save User | user harmless | admins@1/1: 0 of 1") {
		t.Errorf("approval list: %v\n%s; want the request that waits", err, out)
	}
}
