package engine_test

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// with is an engine on the same store with a quota, as after a restart.
func (w *world) with(q core.Quota) {
	w.Settings.Quota = q
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
}

func aesInput(more ...any) *operation.CreateInput {
	return &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(append([]any{core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES),
		core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(allUses)}, more...)...)}
}

func residentInput() *operation.CreateInput {
	in := aesInput(core.TagExtractable, core.Bool(false))
	in.Attributes = append(in.Attributes, core.Attribute{Vendor: rules.CustodyAttribute.Vendor, Name: rules.CustodyAttribute.Name, Value: core.Text(string(core.ModeResident))})
	return in
}

// The count is that of the rows, whatever was done to them.
func counted(t *testing.T, w *world, tenant string) core.Usage {
	t.Helper()
	var sum core.Usage
	for _, o := range w.store.objects {
		if o.Tenant == tenant {
			sum = sum.Add(engine.UsageOf(o))
		}
	}
	got, err := w.store.Usage(context.Background(), tenant)
	if err != nil || got != sum {
		t.Errorf("the count of %s is %+v, its rows have %+v (%v)", tenant, got, sum, err)
	}
	return got
}

// A tenant gets no more objects than its quota, also from 50 callers at once and
// after a restart; another tenant's quota is its own.
func TestQuotaOfObjects(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.with(core.Quota{Objects: 10})
	var made atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			switch _, err := w.Create(ctx, w.alice, aesInput()); {
			case err == nil:
				made.Add(1)
			case core.CodeOf(err) != core.QuotaExceeded || !strings.Contains(err.Error(), "quota of 10"):
				t.Errorf("refused with %v", err)
			}
		})
	}
	all.Wait()
	if made.Load() != 10 {
		t.Errorf("%d objects were made, want 10", made.Load())
	}
	counted(t, w, "default")
	w.with(core.Quota{Objects: 10})
	if _, err := w.Create(ctx, w.bob, aesInput()); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := w.Create(ctx, w.out, aesInput()); err != nil {
		t.Errorf("another tenant: %v", err)
	}
	found, err := w.Locate(ctx, w.alice, &operation.LocateInput{MaximumItems: -1})
	if err != nil || len(found.IDs) != 10 {
		t.Fatal(err)
	}
	if _, err := w.Destroy(ctx, w.alice, &operation.DestroyInput{ID: core.ID(found.IDs[0])}); err != nil {
		t.Fatalf("a tenant at its quota destroys a key: %v", err)
	}
	if _, err := w.Create(ctx, w.alice, aesInput()); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("the row of a destroyed object stays, and counts: %v", err)
	}
	if u := counted(t, w, "default"); u.Objects != 10 {
		t.Errorf("%+v", u)
	}
	w.with(core.Quota{Objects: 12})
	if _, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC), core.TagCryptographicUsageMask, core.Mask(core.MaskSign))}); err != nil {
		t.Errorf("a pair is two objects: %v", err)
	}
	w.with(core.Quota{Objects: 13})
	if _, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC), core.TagCryptographicUsageMask, core.Mask(core.MaskSign))}); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("a pair is two objects, and one is left: %v", err)
	}
	if _, err := w.Create(ctx, w.alice, aesInput()); err != nil {
		t.Errorf("what a refused operation held was not given back: %v", err)
	}
}

// Resident keys are counted while they are in the token: a destroyed one makes
// room, and one that is refused is never made there.
func TestQuotaOfResidentKeys(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.with(core.Quota{ResidentKeys: 2})
	var ids []string
	for range 2 {
		out, err := w.Create(ctx, w.alice, residentInput())
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, out.ID)
	}
	before := len(w.hsm.tokens)
	if _, err := w.Create(ctx, w.alice, residentInput()); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("a third resident key: %v", err)
	}
	if len(w.hsm.tokens) != before || len(w.store.intents) != 0 {
		t.Errorf("the refused key left %d token objects and %d intents", len(w.hsm.tokens)-before, len(w.store.intents))
	}
	if _, err := w.Create(ctx, w.alice, aesInput()); err != nil {
		t.Errorf("a wrapped key: %v", err)
	}
	if _, err := w.Destroy(ctx, w.alice, &operation.DestroyInput{ID: core.ID(ids[0])}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Create(ctx, w.alice, residentInput()); err != nil {
		t.Errorf("after one was destroyed: %v", err)
	}
	if u := counted(t, w, "default"); u.ResidentKeys != 2 || u.Objects != 4 {
		t.Errorf("%+v", u)
	}
}

// Bytes are attributes and sealed keys. What makes an object larger is refused;
// what ends one never is.
func TestQuotaOfBytes(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.with(core.Quota{})
	id := w.aesKey()
	has := counted(t, w, "default")
	w.with(core.Quota{Bytes: has.Bytes + 3000})
	add := func() error {
		_, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Vendor: "x", Name: engine.NewID(), Value: core.Text(strings.Repeat("b", 1000))}})
		return err
	}
	for range 2 {
		if err := add(); err != nil {
			t.Fatal(err)
		}
	}
	if err := add(); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("an attribute too many: %v", err)
	}
	if _, err := w.Create(ctx, w.alice, aesInput(core.TagContactInformation, core.Text(strings.Repeat("c", 3000)))); core.CodeOf(err) != core.QuotaExceeded {
		t.Errorf("an object too large: %v", err)
	}
	w.with(core.Quota{Bytes: 1})
	if _, err := w.Revoke(ctx, w.alice, &operation.RevokeInput{ID: core.ID(id), Code: core.RevocationReasonCodeKeyCompromise}); err != nil {
		t.Errorf("revoking at the quota: %v", err)
	}
	if _, err := w.Destroy(ctx, w.alice, &operation.DestroyInput{ID: core.ID(id)}); err != nil {
		t.Errorf("destroying at the quota: %v", err)
	}
	counted(t, w, "default")
}

// What a batch takes back is not counted, and what fails holds nothing.
func TestQuotaAfterUndoAndFailure(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.with(core.Quota{Objects: 2})
	for range 3 {
		undo := *w.alice
		undo.Undo = &core.Undo{}
		for range 2 {
			if _, err := w.Create(ctx, &undo, aesInput()); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.UndoBatch(ctx, &undo, undo.Undo); err != nil {
			t.Fatal(err)
		}
	}
	for range 5 {
		w.store.refuse = core.Errorf(core.StoreUnavailable, "full")
		if _, err := w.Create(ctx, w.alice, aesInput()); core.CodeOf(err) == core.QuotaExceeded || err == nil {
			t.Errorf("a store that fails: %v", err)
		}
		w.store.refuse = nil
		w.hsm.fail = core.Errorf(core.TokenUnavailable, "away")
		if _, err := w.Create(ctx, w.alice, aesInput()); core.CodeOf(err) != core.TokenUnavailable {
			t.Errorf("a token that fails: %v", err)
		}
		w.hsm.fail = nil
	}
	for range 2 {
		if _, err := w.Create(ctx, w.alice, aesInput()); err != nil {
			t.Errorf("after failures and undone batches: %v", err)
		}
	}
	if u := counted(t, w, "default"); u.Objects != 2 {
		t.Errorf("%+v", u)
	}
}

// A principal that asks for too many operations within a second is told so, with a
// record; another principal, and another tenant, are not.
func TestQuotaOfRequests(t *testing.T) {
	w, ctx := newWorld(t), context.Background()
	w.with(core.Quota{PrincipalRequests: 5, TenantRequests: 8})
	query := func(c *core.Caller, n int) (ok, refused int) {
		for range n {
			switch _, err := w.DiscoverVersions(ctx, c, &operation.DiscoverVersionsInput{}); core.CodeOf(err) {
			case core.TooManyRequests:
				refused++
			default:
				if err != nil {
					t.Errorf("%v", err)
				}
				ok++
			}
		}
		return ok, refused
	}
	const many = 5000 // more than a second's, however slow the machine
	if ok, refused := query(w.alice, many); ok < 5 || refused == 0 {
		t.Errorf("one principal had %d operations and %d refusals", ok, refused)
	}
	if ok, _ := query(w.bob, 1); ok != 1 {
		t.Error("another principal of the tenant was refused")
	}
	if ok, _ := query(w.out, 5); ok != 5 {
		t.Errorf("another tenant had %d of 5", ok)
	}
	if _, refused := query(w.bob, many); refused == 0 {
		t.Error("the tenant has no bound of its own")
	}
	w.with(core.Quota{})
	if _, refused := query(w.alice, 100); refused != 0 {
		t.Errorf("without a quota %d were refused", refused)
	}
}
