package engine_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

func limitsOf(total int64, unit core.UsageLimitsUnit) core.Value {
	return core.Structure(core.Field{Tag: core.TagUsageLimitsTotal, Value: core.Long(total)}, core.Field{Tag: core.TagUsageLimitsUnit, Value: core.Enum(unit)})
}

// left is what the Usage Limits of an object still allow, as stored.
func (w *world) left(id string) int64 {
	o, err := w.store.Object(ctx, "default", id)
	if err != nil {
		w.t.Fatal(err)
	}
	v, _ := o.Attributes.Get(core.TagUsageLimits)
	return v.Field(core.TagUsageLimitsCount).Num
}

// slowStore takes as long for a commit as a disk.
type slowStore struct{ *memStore }

func (s slowStore) Commit(ctx context.Context, c *core.Change) error {
	time.Sleep(200 * time.Microsecond)
	return s.memStore.Commit(ctx, c)
}

// Many at once, on one node and on two that share a store: each use is counted
// once, none is refused before the limit, and none is let through behind it.
func TestUsageLimitsAreExactUnderConcurrency(t *testing.T) {
	for _, shared := range []bool{false, true} {
		w := newWorld(t)
		w.store.shared = shared
		w.Ports.Store = slowStore{w.store}
		w.serve(newNode(engine.New(w.Ports, w.Settings)))
		nodes := []node{w.node, w.node}
		if shared {
			nodes[1] = newNode(engine.New(w.Ports, w.Settings))
		}
		const total, asked = 100, 160
		id := w.inState(core.Active, core.TagUsageLimits, limitsOf(total, core.UsageLimitsUnitObject))
		codes := make([]core.Code, asked)
		var all sync.WaitGroup
		for i := range asked {
			all.Go(func() {
				_, err := nodes[i%2].Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Data: []byte("x")})
				if codes[i] = core.CodeOf(err); err == nil {
					codes[i] = core.Busy // none of those that can come
				}
			})
		}
		all.Wait()
		n := map[core.Code]int{}
		for _, c := range codes {
			n[c]++
		}
		if n[core.Busy] != total || n[core.UsageLimitExceeded] != asked-total || w.left(id) != 0 {
			t.Errorf("shared %v: of %d uses %d were allowed and %d refused by the limit of %d (all: %v); %d are left", shared, asked, n[core.Busy], n[core.UsageLimitExceeded], total, n, w.left(id))
		}
	}
}

// Who may use a key cannot take its limits off once they have been drawn upon,
// nor write the count.
func TestUsageLimitsStay(t *testing.T) {
	w := newWorld(t)
	limits := core.AttributeName{Tag: core.TagUsageLimits}
	id := w.inState(core.Active, core.TagUsageLimits, limitsOf(1, core.UsageLimitsUnitObject))
	if err := w.step(w.bob, "encrypt", id); err != nil {
		t.Fatal(err)
	}
	_, dropped := w.DeleteAttribute(ctx, w.bob, &operation.DeleteAttributeInput{ID: core.ID(id), Name: limits})
	_, changed := w.ModifyAttribute(ctx, w.bob, &operation.ModifyAttributeInput{ID: core.ID(id), Name: limits, New: core.Attribute{Tag: core.TagUsageLimits, Value: limitsOf(9, core.UsageLimitsUnitObject)}})
	_, set := w.SetAttribute(ctx, w.bob, &operation.SetAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Tag: core.TagUsageLimits, Value: limitsOf(9, core.UsageLimitsUnitObject)}})
	for what, err := range map[string]error{"deleted": dropped, "modified": changed, "set": set} {
		if core.CodeOf(err) != core.PermissionDenied {
			t.Errorf("limits that are used up were %s: %v", what, err)
		}
	}
	if err := w.step(w.bob, "encrypt", id); core.CodeOf(err) != core.UsageLimitExceeded {
		t.Errorf("a use beyond the limit: %v", err)
	}

	other := w.inState(core.Active)
	forged := core.UsageLimits{Total: 2, Count: 1000, Unit: core.UsageLimitsUnitObject}.Value()
	if _, err := w.SetAttribute(ctx, w.bob, &operation.SetAttributeInput{ID: core.ID(other), Attribute: core.Attribute{Tag: core.TagUsageLimits, Value: forged}}); err != nil || w.left(other) != 2 {
		t.Errorf("Set Attribute of a count of one's own: %v, %d are left, want 2", err, w.left(other))
	}
	if _, err := w.DeleteAttribute(ctx, w.bob, &operation.DeleteAttributeInput{ID: core.ID(other), Name: limits}); err != nil {
		t.Errorf("limits that nobody has drawn upon may go: %v", err)
	}
	for what, v := range map[string]core.Value{"no total": core.Structure(), "a negative total": limitsOf(-1, core.UsageLimitsUnitByte), "an unknown unit": limitsOf(1, 77)} {
		if _, err := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(other), Attribute: core.Attribute{Tag: core.TagUsageLimits, Value: v}}); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// Wrapping is protecting: it is drawn from the wrapping key's limits.
func TestWrappingIsAUse(t *testing.T) {
	w := newWorld(t)
	with := w.inState(core.Active, core.TagUsageLimits, limitsOf(3, core.UsageLimitsUnitObject))
	bytes := w.inState(core.Active, core.TagUsageLimits, limitsOf(100, core.UsageLimitsUnitByte))
	id := w.aesKey()
	get := func(with string, e core.EncodingOption) error {
		out, err := w.Get(ctx, w.alice, &operation.GetInput{ID: core.ID(id), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: e,
			Encryption: &core.WrappingKeyInfo{ID: with}}})
		out.Secret.Release()
		return err
	}
	for i, e := range []core.EncodingOption{core.EncodingOptionNoEncoding, core.EncodingOptionTTLVEncoding, 0, core.EncodingOptionNoEncoding} {
		if err := get(with, e); (err == nil) != (i < 3) || (err != nil && core.CodeOf(err) != core.UsageLimitExceeded) {
			t.Errorf("wrapping %d of 3: %v", i+1, err)
		}
	}
	for range 3 {
		if err := get(bytes, core.EncodingOptionNoEncoding); err != nil {
			t.Fatal(err)
		}
	}
	if w.left(bytes) != 100-3*32 {
		t.Errorf("%d bytes are left, want 4", w.left(bytes))
	}
}
