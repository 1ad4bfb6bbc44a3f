package engine_test

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

func uniqueWorld(t *testing.T) *world {
	w := newWorld(t)
	w.Settings.Defaults.UniqueNames = true
	w.Ports.Store = slowStore{w.store}
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	return w
}

func (w *world) named(n string) error {
	_, err := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm,
		core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt), core.TagName, name(n))})
	return err
}

// Of many who want one Name at once, one gets it.
func TestUniqueNamesUnderConcurrency(t *testing.T) {
	w := uniqueWorld(t)
	var made, refused atomic.Int32
	var all sync.WaitGroup
	for range 40 {
		all.Go(func() {
			switch err := w.named("one"); {
			case err == nil:
				made.Add(1)
			case core.CodeOf(err) == core.NonUniqueNameAttribute:
				refused.Add(1)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 || refused.Load() != 39 {
		t.Errorf("%d objects have the Name, %d were refused; want 1 and 39", made.Load(), refused.Load())
	}
}

// A Name is taken however many destroyed objects had it before, by Modify and
// Add Attribute too; it goes with Re-key, and is free again after Destroy.
func TestUniqueNames(t *testing.T) {
	w := uniqueWorld(t)
	var id string
	for range core.CandidatePage + 5 {
		id = w.aesKey(core.TagName, name("disk"))
		if err := w.step(w.alice, "destroy", id); err != nil {
			t.Fatal(err)
		}
	}
	id = w.aesKey(core.TagName, name("disk"), core.TagActivationDate, core.Date(1))
	if err := w.named("disk"); core.CodeOf(err) != core.NonUniqueNameAttribute {
		t.Errorf("behind many that are destroyed the Name is given twice: %v", err)
	}
	other := w.aesKey(core.TagName, name("other"))
	_, added := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(other), Attribute: core.Attribute{Tag: core.TagName, Value: name("disk")}})
	_, modified := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(other), Name: core.AttributeName{Tag: core.TagName}, New: core.Attribute{Tag: core.TagName, Value: name("disk")}})
	for what, err := range map[string]error{"added": added, "modified": modified} {
		if core.CodeOf(err) != core.NonUniqueNameAttribute {
			t.Errorf("a Name that is taken was %s: %v", what, err)
		}
	}
	out, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(id)})
	if err != nil {
		t.Fatalf("Re-key of a key with a Name: %v", err)
	}
	if _, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(out.ID), Attributes: attrs(core.TagName, name("other"))}); core.CodeOf(err) != core.NonUniqueNameAttribute {
		t.Errorf("Re-key to a Name that is taken: %v", err)
	}
	if _, err := w.CreateKeyPair(ctx, w.alice, &operation.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC),
		core.TagCryptographicUsageMask, core.Mask(core.MaskSign), core.TagName, name("pair"))}); err != nil {
		t.Errorf("both halves of a pair may have one Name: %v", err)
	}
}
