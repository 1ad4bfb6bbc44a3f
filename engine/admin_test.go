package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// targetsNamed accepts each document and takes it as the holder to attach to. One that is
// empty or JSON has none.
type targetsNamed struct{ core.KeyPolicies }

func (targetsNamed) CheckKeyPolicy(_ context.Context, _ string, document []byte, _ func(string) bool) (core.KeyPolicyFacts, error) {
	if string(document) == "panic" {
		panic("a fault of the evaluator")
	}
	if len(document) == 0 || document[0] == '{' {
		return core.KeyPolicyFacts{}, nil
	}
	return core.KeyPolicyFacts{Holders: []string{string(document)}}, nil
}

// refusing permits everything but one action.
type refusing struct {
	tenantPolicy
	action core.Action
}

func (p refusing) Decide(_ context.Context, r *core.AccessRequest) (core.Decision, error) {
	return core.Decision{Allow: r.Action != p.action, Scope: "own", Reasons: []string{"test"}}, nil
}

// administered returns the verbs of administrators of a world, whose policy refuses one
// action.
func administered(t *testing.T, w *world, refused core.Action) (*admin.Verbs, *directory.Directory) {
	t.Helper()
	w.Ports.Policy = refusing{action: refused}
	return administeredBy(t, w, targetsNamed{})
}

// administeredBy returns the verbs of administrators of a world with key policies.
func administeredBy(t *testing.T, w *world, keys core.KeyPolicies) (*admin.Verbs, *directory.Directory) {
	t.Helper()
	d := directory.New(directory.Ports{Store: w.store, Clock: w.clock, Log: slog.New(slog.DiscardHandler)})
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	return admin.New(w.Engine, admin.Ports{Directory: d, KeyPolicies: keys}), d
}

// A document that names its targets attaches nothing for a caller who may not attach.
// Without targets, or if all is attached already, Save Policy is enough.
func TestSavingAPolicyIsNoWayToAttachIt(t *testing.T) {
	w := newWorld(t)
	v, d := administered(t, w, core.ActionAttachPolicy)
	save := func(v *admin.Verbs, document string) error {
		_, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "p", Document: []byte(document)})
		return err
	}
	if err := save(v, "role:clerk"); core.CodeOf(err) != core.PermissionDenied || d.NextVersion(core.EntryPolicy, "default", "p") != 1 {
		t.Errorf("a document with a target: %v, next version %d; want Permission Denied and nothing stored", err, d.NextVersion(core.EntryPolicy, "default", "p"))
	}
	if err := save(v, ""); err != nil {
		t.Errorf("a document without targets: %v", err)
	}
	w.Ports.Policy = refusing{}
	if err := save(v, "role:clerk"); err != nil {
		t.Errorf("a caller who may attach: %v", err)
	}
	w.Ports.Policy = refusing{action: core.ActionAttachPolicy}
	if err := save(v, "role:clerk"); err != nil {
		t.Errorf("what is attached already: %v", err)
	}
}

// Administrators who attach policies to one holder at once lose none of them: each is
// attached, or its administrator gets an error.
func TestNoAttachmentIsLost(t *testing.T) {
	w := newWorld(t)
	v, d := administered(t, w, 0)
	const policies = 8
	name := func(i int) string { return fmt.Sprintf("p%02d", i) }
	for i := range policies {
		if _, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: name(i)}); err != nil {
			t.Fatal(err)
		}
	}
	for round := range 300 {
		holder, errs := fmt.Sprint("role:clerk", round), make([]error, policies)
		coretest.AtOnce(policies, func(i int) {
			_, errs[i] = v.AttachPolicy(ctx, w.alice, admin.AttachInput{Policy: name(i), Holder: holder})
		})
		e, err := d.Get(core.EntryAttachment, "default", holder)
		if err != nil {
			t.Fatal(err)
		}
		for i, err := range errs {
			if err == nil && !strings.Contains(string(e.Body), name(i)) {
				t.Fatalf("%s was attached, and the list is %s", name(i), e.Body)
			}
		}
	}
}

// What administrators of a tenant ask for counts for the quota of requests, as all else
// does. The administrator on the server's machine is always served.
func TestAdministratorsHaveQuotas(t *testing.T) {
	w := newWorld(t)
	w.with(core.Quota{PrincipalRequests: 5})
	v, _ := administered(t, w, 0)
	list := func(c *core.Caller, tenant string) (refused int) {
		for range 5000 { // more than a second's, however slow the machine
			if _, err := v.ListPolicies(ctx, c, tenant, "", 10); core.CodeOf(err) == core.TooManyRequests {
				refused++
			}
		}
		return refused
	}
	if list(w.alice, "") == 0 {
		t.Error("an administrator of a tenant has no bound")
	}
	machine := &core.Caller{Principal: &core.Principal{Tenant: core.SystemTenant, ID: "root", Method: core.MethodSystem}, Door: core.DoorAdmin}
	if n := list(machine, "default"); n != 0 {
		t.Errorf("the administrator on the server's machine was refused %d times", n)
	}
}

// A panic in a verb of administrators is an error with a record, as in all others.
func TestPanicOfAdministrationIsRecorded(t *testing.T) {
	w := newWorld(t)
	w.Ports.Log = slog.New(slog.DiscardHandler)
	v, _ := administered(t, w, 0)
	before := len(w.store.entries)
	if _, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "p", Document: []byte("panic")}); core.CodeOf(err) != core.Internal {
		t.Errorf("a panic: %v; want Internal", err)
	}
	if len(w.store.entries) != before+1 || !strings.Contains(string(w.store.entries[before].Body), "Save Policy failed") {
		t.Errorf("%d records; want one of a Save Policy that failed", len(w.store.entries)-before)
	}
}

// A history lists all versions however many there are, without documents, so that large
// ones cannot fill the memory. One version is read with its document.
func TestHistoryHasNoDocuments(t *testing.T) {
	w := newWorld(t)
	v, _ := administered(t, w, 0)
	const versions = 40
	for i := range versions {
		if _, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "p", Document: fmt.Appendf(nil, "role:r%d", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for limit, want := range map[int]int{1000: versions, versions: versions, 33: 33, 16: 16, 1: 1} {
		all, err := v.PolicyHistory(ctx, w.alice, "", "p", 0, limit)
		if err != nil || len(all) != want {
			t.Fatalf("%d versions, %v; want %d", len(all), err, want)
		}
		for i, one := range all {
			if one.Version != int64(versions-i) || one.Document != nil {
				t.Errorf("place %d has version %d and a document of %d bytes; want version %d without one", i, one.Version, len(one.Document), versions-i)
			}
		}
	}
	one, err := v.ReadPolicyVersion(ctx, w.alice, "", "p", 3)
	if err != nil || string(one.Document) != "role:r2" {
		t.Errorf("version 3 is %q, %v", one.Document, err)
	}
	for _, version := range []int64{0, -1, versions + 1, 1<<63 - 1} {
		if one, err := v.ReadPolicyVersion(ctx, w.alice, "", "p", version); core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("version %d is %+v, %v; want Item Not Found", version, one, err)
		}
	}
}
