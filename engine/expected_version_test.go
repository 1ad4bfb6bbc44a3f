package engine_test

import (
	"errors"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// A change that expects a version is made on that one alone, whatever this node has in memory.
func TestChangeExpectsAVersion(t *testing.T) {
	w := newWorld(t)
	id := w.aesKey()
	change := func(n node, expected int64) (int64, error) {
		c := *w.alice
		c.ExpectedVersion = expected
		out, err := n.Disable(ctx, &c, &operation.LifeInput{ID: core.ID(id)})
		if err == nil {
			out, err = n.Enable(ctx, w.alice, &operation.LifeInput{ID: core.ID(id)})
		}
		if err != nil {
			return 0, err
		}
		return out.Changed.Version, nil
	}
	newest, err := change(w.node, 1)
	if err != nil {
		t.Fatal(err)
	}
	other := newNode(engine.New(engine.Ports{Store: w.store, HSM: w.hsm, Policy: tenantPolicy{}, Journal: plainJournal{}, Formats: plainFormats{}, Clock: w.clock}, engine.Settings{}))
	if _, err := other.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(id)}); err != nil { // it has version newest in memory now
		t.Fatal(err)
	}
	if newest, err = change(w.node, newest); err != nil {
		t.Fatal(err)
	}
	for _, expected := range []int64{1, newest - 1, newest - 2, newest + 1} {
		if _, err := change(other, expected); !errors.Is(err, engine.ErrOtherVersion) || core.CodeOf(err) != core.Conflict {
			t.Errorf("version %d is expected and %d is the newest: %v; want ErrOtherVersion", expected, newest, err)
		}
	}
	if _, err := change(other, newest); err != nil {
		t.Errorf("the newest version is expected, and this node has an older one in memory: %v", err)
	}
}
