package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// gated denies Get until bob has approved it.
type gated struct{ tenantPolicy }

var gateOfGet = core.Gate{Statement: "p@1/two", Denies: true, GateTerms: core.GateTerms{Approvals: &core.ApprovalTerms{Needed: 1, From: []string{"user:bob"}}}}

func (g gated) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	if r.Action != core.ActionGet || slices.Contains(r.Granted, gateOfGet.Statement) {
		return g.tenantPolicy.Decide(ctx, r)
	}
	return core.Decision{Scope: "own", Reasons: []string{"test"}, Gates: []core.Gate{gateOfGet}}, nil
}

// approvalSite is a node with the verbs of approvals.
type approvalSite struct {
	node
	verbs     *admin.ApprovalVerbs
	upkeep    *admin.TokenVerbs
	directory *directory.Directory
}

// newApprovalSite starts a node whose policy is gated, on the store of a world.
func newApprovalSite(t *testing.T, w *world) *approvalSite {
	t.Helper()
	return newApprovalSiteBy(t, w, gated{})
}

// newApprovalSiteBy is newApprovalSite for another policy.
func newApprovalSiteBy(t *testing.T, w *world, policy core.Policy) *approvalSite {
	t.Helper()
	d := directory.New(directory.Ports{Store: w.store, Clock: w.clock, Log: slog.New(slog.DiscardHandler)})
	desk := directory.NewApprovals(d, directory.NewAccessFacts(d), func(*core.DirectoryEntry) ([]core.Gate, error) { return nil, nil })
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	e := engine.New(engine.Ports{Store: w.store, HSM: w.hsm, Policy: policy, Approvals: desk, Journal: plainJournal{}, Formats: plainFormats{}, Clock: w.clock}, engine.Settings{})
	v := admin.New(e, admin.Ports{Directory: d, Approvals: desk})
	return &approvalSite{newNode(e), admin.NewApprovalVerbs(v), admin.NewTokenVerbs(v, admin.TokenSettings{}), d}
}

// waits asks for a key and returns the approval for which the request waits.
func waits(t *testing.T, n *approvalSite, c *core.Caller, in operation.GetInput) string {
	t.Helper()
	_, err := n.Get(ctx, c, &in)
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Code != core.ApprovalNeeded || e.Approval == "" {
		t.Fatalf("Get: %v; want ApprovalNeeded with the ID of an approval", err)
	}
	return e.Approval
}

// Many requests on two nodes race for one approval: one of them gets the key.
func TestAnApprovalIsUsedOnce(t *testing.T) {
	w := newWorld(t)
	one := newApprovalSite(t, w)
	in := operation.GetInput{ID: core.ID(w.aesKey())}
	for round := range 5 {
		id := waits(t, one, w.alice, in)
		if _, err := one.verbs.Approve(ctx, w.bob, admin.ApprovalInput{ID: id}); err != nil {
			t.Fatal(err)
		}
		two := newApprovalSite(t, w)
		var got atomic.Int64
		coretest.AtOnce(16, func(i int) {
			_, err := []*approvalSite{one, two}[i%2].Get(ctx, w.alice, &operation.GetInput{ID: in.ID})
			switch code := core.CodeOf(err); {
			case err == nil:
				got.Add(1)
			case code != core.ApprovalNeeded && code != core.PermissionDenied:
				t.Errorf("a request that lost: %v; want PermissionDenied or ApprovalNeeded", err)
			}
		})
		if got.Load() != 1 {
			t.Errorf("round %d: one approval let %d requests pass, want 1", round, got.Load())
		}
		third := newApprovalSite(t, w) // which knows what both have stored
		if _, err := third.verbs.Read(ctx, w.bob, "", id); core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("a used approval: %v; want ItemNotFound", err)
		}
		w.clock.now += 86_401 // what the losers ask for has expired
	}
}

// An approval that has expired can be neither given nor used, and is pruned.
func TestApprovalsExpire(t *testing.T) {
	w := newWorld(t)
	n := newApprovalSite(t, w)
	in := operation.GetInput{ID: core.ID(w.aesKey())}
	given, late := waits(t, n, w.alice, in), waits(t, n, w.alice, operation.GetInput{ID: in.ID, Format: core.KeyFormatTypeRaw})
	if _, err := n.verbs.Approve(ctx, w.bob, admin.ApprovalInput{ID: given}); err != nil {
		t.Fatal(err)
	}
	w.clock.now += 86_400
	if _, err := n.verbs.Approve(ctx, w.bob, admin.ApprovalInput{ID: late}); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("approving what has expired: %v; want ItemNotFound", err)
	}
	if again := waits(t, n, w.alice, in); again == given {
		t.Error("an expired approval still counts")
	}
	if err := n.upkeep.Prune(ctx); err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{given, late} {
		if next := n.directory.NextVersion(core.EntryApproval, "default", id); next != 1 {
			t.Errorf("the expired approval %s has the next version %d, want none after pruning", id, next)
		}
	}
}

// gatedAction denies an action until bob has approved it.
type gatedAction struct {
	tenantPolicy
	action core.Action
}

func (g gatedAction) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	if r.Action != g.action || slices.Contains(r.Granted, gateOfGet.Statement) {
		return g.tenantPolicy.Decide(ctx, r)
	}
	return core.Decision{Scope: "own", Reasons: []string{"test"}, Gates: []core.Gate{gateOfGet}}, nil
}

// A request that names no time, or a time of its own, is the same when it is sent again after the
// approval, however much later.
func TestApprovalsFitLaterRequests(t *testing.T) {
	w := newWorld(t)
	key := w.aesKey()
	aes := attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(allUses))
	rsa := attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA), core.TagCryptographicLength, core.Int(2048))
	for what, c := range map[string]struct {
		action core.Action
		send   func(n *approvalSite) error
	}{
		"a rotation at a time": {core.ActionReKey, func(n *approvalSite) error {
			_, err := n.Rotate(ctx, w.alice, &operation.RotateInput{ID: core.ID(key), ActivateAt: 1_700_009_000})
			return err
		}},
		"a new key": {core.ActionCreate, func(n *approvalSite) error {
			out, err := n.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: aes, ActivateNow: true})
			if err == nil && out.Made.StateAt(w.clock.now) != core.Active {
				t.Errorf("the new key is %v, want Active", out.Made.StateAt(w.clock.now))
			}
			return err
		}},
		"a new pair": {core.ActionCreateKeyPair, func(n *approvalSite) error {
			out, err := n.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{Common: rsa, Private: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskSign)), Public: attrs(core.TagCryptographicUsageMask, core.Mask(core.MaskVerify)), ActivateNow: true})
			if err == nil && out.Private.StateAt(w.clock.now) != core.Active {
				t.Errorf("the new private key is %v, want Active", out.Private.StateAt(w.clock.now))
			}
			return err
		}},
	} {
		n := newApprovalSiteBy(t, w, gatedAction{action: c.action})
		e, ok := errors.AsType[*core.Error](c.send(n))
		if !ok || e.Approval == "" {
			t.Fatalf("%s: %v; want ApprovalNeeded", what, e)
		}
		if _, err := n.verbs.Approve(ctx, w.bob, admin.ApprovalInput{ID: e.Approval}); err != nil {
			t.Fatal(err)
		}
		w.clock.now += 60
		if err := c.send(n); err != nil {
			t.Errorf("%s, sent again when it was approved: %v", what, err)
		}
	}
	n := newApprovalSite(t, w)
	if _, err := n.Rotate(ctx, w.alice, &operation.RotateInput{ID: core.ID(key), ActivateAt: w.clock.now - 1}); core.CodeOf(err) != core.InvalidField {
		t.Errorf("a rotation in the past: %v; want InvalidField", err)
	}
}

// Each part of a request is bound: another parameter, key or requester needs an approval of
// its own, and the same request has one.
func TestApprovalsAreBoundToTheRequest(t *testing.T) {
	w := newWorld(t)
	n := newApprovalSite(t, w)
	id := w.aesKey()
	seen := map[string]string{}
	for what, try := range map[string]struct {
		caller *core.Caller
		in     operation.GetInput
	}{
		"alice":           {w.alice, operation.GetInput{ID: core.ID(id)}},
		"bob":             {w.bob, operation.GetInput{ID: core.ID(id)}},
		"another key":     {w.alice, operation.GetInput{ID: core.ID(w.aesKey())}},
		"a format":        {w.alice, operation.GetInput{ID: core.ID(id), Format: core.KeyFormatTypeRaw}},
		"another format":  {w.alice, operation.GetInput{ID: core.ID(id), Format: core.KeyFormatTypeOpaque}},
		"a compression":   {w.alice, operation.GetInput{ID: core.ID(id), Compression: 2}},
		"a specification": {w.alice, operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt}}},
		"another method":  {w.alice, operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodMACSign}}},
	} {
		approval := waits(t, n, try.caller, try.in)
		if other, doubled := seen[approval]; doubled {
			t.Errorf("%s and %s wait for one approval", what, other)
		}
		if seen[approval] = what; waits(t, n, try.caller, try.in) != approval {
			t.Errorf("%s: the same request waits twice", what)
		}
	}
}

// A client cannot fill the directory with requests that wait, not even by withdrawing them,
// and does not keep others from asking.
func TestRequestsThatWaitAreBounded(t *testing.T) {
	w := newWorld(t)
	n := newApprovalSite(t, w)
	key := core.ID(w.aesKey())
	refusedAfter := func(c *core.Caller, withdraw bool) int {
		for i := range 300 {
			_, err := n.Get(ctx, c, &operation.GetInput{ID: key, Format: core.KeyFormatType(100 + i)})
			if core.CodeOf(err) == core.QuotaExceeded {
				return i
			}
			e, _ := errors.AsType[*core.Error](err)
			if withdraw {
				if err := n.verbs.Deny(ctx, c, admin.ApprovalInput{ID: e.Approval}); err != nil {
					t.Fatal(err)
				}
			}
		}
		return -1
	}
	if waiting := refusedAfter(w.alice, false); waiting != 20 {
		t.Errorf("%d requests of one principal wait, want 20", waiting)
	}
	if kept := refusedAfter(w.bob, true); kept != 200 {
		t.Errorf("%d requests were made and withdrawn, want 200", kept)
	}
	all, err := n.verbs.List(ctx, w.bob, "", "", 1000)
	if err != nil || len(all) != 20 || !slices.IsSortedFunc(all, func(a, b admin.StoredApproval) int { return strings.Compare(a.ID, b.ID) }) {
		t.Errorf("the list has %d approvals, %v; want 20, sorted", len(all), err)
	}
	if page, err := n.verbs.List(ctx, w.bob, "", all[4].ID, 3); err != nil || fmt.Sprint(page[0].ID, page[2].ID, len(page)) != fmt.Sprint(all[5].ID, all[7].ID, 3) {
		t.Errorf("a page after the fifth: %d, %v", len(page), err)
	}
}

// Nobody sees or ends the requests of others without being an approver, and another tenant's
// do not exist.
func TestWhoSeesApprovals(t *testing.T) {
	w := newWorld(t)
	n := newApprovalSite(t, w)
	id := waits(t, n, w.alice, operation.GetInput{ID: core.ID(w.aesKey())})
	for who, c := range map[string]*core.Caller{"eve": w.eve, "another tenant's": w.out} {
		if _, err := n.verbs.Approve(ctx, c, admin.ApprovalInput{ID: id}); core.CodeOf(err) != core.ItemNotFound && core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("%s approves: %v; want a refusal", who, err)
		}
		if err := n.verbs.Deny(ctx, c, admin.ApprovalInput{ID: id}); core.CodeOf(err) != core.ItemNotFound && core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("%s denies: %v; want a refusal", who, err)
		}
	}
	if _, err := n.verbs.Approve(ctx, w.alice, admin.ApprovalInput{ID: id}); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("alice approves her own request: %v; want PermissionDenied", err)
	}
	if again := waits(t, n, w.alice, operation.GetInput{ID: core.ID(w.aesKey())}); again == id {
		t.Error("the request for another key has the same approval")
	}
	if err := n.verbs.Deny(ctx, w.alice, admin.ApprovalInput{ID: id}); err != nil {
		t.Errorf("alice withdraws: %v", err)
	}
}

// A principal whose user or enrolled client the requester has once changed approves nothing for
// it, even if somebody else has changed that entry since.
func TestApproversAreIndependent(t *testing.T) {
	for _, kind := range []core.EntryKind{core.EntryUser, core.EntryClient} {
		w := newWorld(t)
		n := newApprovalSite(t, w)
		id := waits(t, n, w.alice, operation.GetInput{ID: core.ID(w.aesKey())})
		for version, author := range []string{"default/carl", "default/alice", "default/carl"} {
			if err := n.directory.Save(ctx, &core.DirectoryEntry{Kind: kind, Tenant: "default", ID: "bob", Version: int64(version + 1), At: w.clock.now, Author: author, Body: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := n.verbs.Approve(ctx, w.bob, admin.ApprovalInput{ID: id}); core.CodeOf(err) != core.PermissionDenied || !strings.Contains(err.Error(), "made or changed") {
			t.Errorf("bob, whose %s alice has changed, approves alice's request: %v; want PermissionDenied", kind, err)
		}
	}
}

// The administrator on the server's machine is the only role:system. A certificate can claim
// the role, if its authority may name all roles.
func TestRoleSystemApprovesAtTheSocketOnly(t *testing.T) {
	need := directory.ApprovalNeed{Statement: "two@1/1", ApprovalTerms: core.ApprovalTerms{Needed: 1, From: []string{"role:system"}}}
	socket := core.Principal{Tenant: core.SystemTenant, ID: "socket", Roles: []string{"system"}, Method: core.MethodSystem}
	if !need.NamesApprover(&socket) {
		t.Error("the administrator on the server's machine cannot approve for role:system")
	}
	client := core.Principal{Tenant: "acme", ID: "mallory", Roles: []string{"system"}, Strength: core.StrengthCertificate}
	if need.NamesApprover(&client) {
		t.Error("a client whose certificate claims the role system approves for role:system")
	}
}

// Of an entry only the newest 100 versions are kept. Nobody is known not to have made or changed one
// whose first versions are gone, so its principal approves nothing, also if somebody else has stored
// all that are left.
func TestApproversWithPrunedHistoryAreNotIndependent(t *testing.T) {
	for versions, independent := range map[int]bool{1: true, 16: true, 17: true, core.KeptVersions: true, core.KeptVersions + 1: false, core.KeptVersions + 16: false} {
		w := newWorld(t)
		n := newApprovalSite(t, w)
		id := waits(t, n, w.alice, operation.GetInput{ID: core.ID(w.aesKey())})
		for version := range versions {
			if err := n.directory.Save(ctx, &core.DirectoryEntry{Kind: core.EntryUser, Tenant: "default", ID: "bob", Version: int64(version + 1), At: w.clock.now, Author: "default/carl", Body: []byte("{}")}); err != nil {
				t.Fatal(err)
			}
		}
		_, err := n.verbs.Approve(ctx, w.bob, admin.ApprovalInput{ID: id})
		if (err == nil) != independent || err != nil && core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("bob, whose user has %d versions by carl, approves alice's request: %v; want that this is possible: %v", versions, err, independent)
		}
	}
}

// gatedDisable denies Disable until bob has approved it.
type gatedDisable struct{ tenantPolicy }

func (g gatedDisable) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	if r.Action != core.ActionDisable || slices.Contains(r.Granted, gateOfGet.Statement) {
		return g.tenantPolicy.Decide(ctx, r)
	}
	return core.Decision{Scope: "own", Reasons: []string{"test"}, Gates: []core.Gate{gateOfGet}}, nil
}

// An approval that a request uses up is not what the request has made.
func TestAnApprovalIsNotWhatWasMade(t *testing.T) {
	w := newWorld(t)
	n := newApprovalSiteBy(t, w, gatedDisable{})
	in := &operation.LifeInput{ID: core.ID(w.aesKey())}
	_, err := n.Disable(ctx, w.alice, in)
	e, ok := errors.AsType[*core.Error](err)
	if !ok || e.Approval == "" {
		t.Fatalf("Disable: %v; want the ID of an approval", err)
	}
	if _, err := n.verbs.Approve(ctx, w.bob, admin.ApprovalInput{ID: e.Approval}); err != nil {
		t.Fatal(err)
	}
	c := *w.alice
	c.Once = &core.Once{NewEntry: func(made string) (*core.DirectoryEntry, error) {
		t.Errorf("the request is said to have made %s", made)
		return nil, core.Errorf(core.InvalidField, "nothing was made")
	}}
	if _, err := n.Disable(ctx, &c, in); err != nil {
		t.Error(err)
	}
}
