package engine_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/batchundo"
)

// totalled permits some operations only by a statement with a total.
type totalled struct {
	tenantPolicy
	gate    core.Gate
	others  []core.Gate
	actions []core.Action
	asked   int
}

func (p *totalled) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	if !slices.Contains(p.actions, r.Action) || slices.Contains(r.Granted, p.gate.Statement) {
		return p.tenantPolicy.Decide(ctx, r)
	}
	p.asked++
	return core.Decision{Scope: "own", Reasons: []string{"test"}, Gates: append(slices.Clone(p.others), p.gate)}, nil
}

// A request is decided again for each statement with terms. So many that this would take long
// are refused at once.
func TestManyTermsAreRefused(t *testing.T) {
	w, p := totalledWorld(t, 100, core.ActionEncrypt)
	id := w.inState(core.Active)
	for _, c := range []struct {
		others int
		passes bool // in few decisions
	}{{63, true}, {64, false}, {5000, false}} {
		p.others, p.asked = nil, 0
		for i := range c.others {
			p.others = append(p.others, core.Gate{Statement: fmt.Sprint("q@1/", i), GateTerms: core.GateTerms{Rate: &core.RateTerms{Uses: 1000, Per: 3600}}})
		}
		_, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Data: []byte("x")})
		if (err == nil) != c.passes || err != nil && core.CodeOf(err) != core.PermissionDenied || p.asked > 65 {
			t.Errorf("with %d other terms: %v, after %d decisions; want that it passes: %v", c.others, err, p.asked, c.passes)
		}
	}
}

// totalledWorld is a world whose statement permits so many uses of a key.
func totalledWorld(t *testing.T, total int64, actions ...core.Action) (*world, *totalled) {
	t.Helper()
	w, p := newWorld(t), &totalled{gate: core.Gate{Statement: "p@1/total", GateTerms: core.GateTerms{TotalUse: total}}, actions: actions}
	w.Ports.Policy = p
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	return w, p
}

// counts lists the counts of uses that an object has.
func (w *world) counts(id string) (counts []string) {
	w.t.Helper()
	o, err := w.store.Object(ctx, "default", id)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, a := range o.Attributes.All(core.UsesAttribute) {
		counts = append(counts, a.Value.Text)
	}
	return counts
}

// encryptOnce reports whether a caller may use a key, and fails the test on another error than
// the limit.
func (w *world) encryptOnce(n node, id string) bool {
	w.t.Helper()
	_, err := n.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Data: []byte("x")})
	if err != nil && core.CodeOf(err) != core.UsageLimitExceeded {
		w.t.Errorf("a use beyond the total: %v; want UsageLimitExceeded", err)
	}
	return err == nil
}

// Many at once, on one node and on two that share a store: as many uses pass as the statement
// permits, of each key, and none more after a restart.
func TestTotalsAreExact(t *testing.T) {
	for _, shared := range []bool{false, true} {
		w, _ := totalledWorld(t, 40, core.ActionEncrypt)
		w.store.shared = shared
		nodes := []node{newNode(engine.New(w.Ports, w.Settings))}
		nodes = append(nodes, nodes[0])
		if shared {
			nodes[1] = newNode(engine.New(w.Ports, w.Settings))
		}
		id, other := w.inState(core.Active), w.inState(core.Active)
		passed := make([]bool, 70)
		coretest.AtOnce(len(passed), func(i int) { passed[i] = w.encryptOnce(nodes[i%2], id) })
		n := 0
		for _, p := range passed {
			if p {
				n++
			}
		}
		if got := w.counts(id); n != 40 || !slices.Equal(got, []string{"p@1/total=40"}) {
			t.Errorf("shared %v: %d uses passed and %v is stored; want 40", shared, n, got)
		}
		if w.encryptOnce(newNode(engine.New(w.Ports, w.Settings)), id) {
			t.Error("a use passes after a restart")
		}
		if !w.encryptOnce(nodes[0], other) {
			t.Error("another key has no uses of its own")
		}
	}
}

// A new version of the policy counts from 0, and the version before it permits no more, on a node
// that has not read the new one. A replacement has the counts of the old key.
func TestTotalsOfVersionsAndReplacements(t *testing.T) {
	w, p := totalledWorld(t, 1, core.ActionEncrypt)
	id := w.inState(core.Active)
	use := func(version int, id string) bool {
		p.gate.Statement = fmt.Sprintf("p@%d/total", version)
		return w.encryptOnce(w.node, id)
	}
	if !use(9, id) || use(9, id) || !use(10, id) || use(10, id) || use(9, id) {
		t.Errorf("the versions permit other uses than one each, the newest alone; the counts are %v", w.counts(id))
	}
	if got := w.counts(id); !slices.Equal(got, []string{"p@10/total=1"}) {
		t.Errorf("the counts are %v; want that of the newest version alone", got)
	}
	fresh, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(id)})
	if err != nil {
		t.Fatal(err)
	}
	if use(10, fresh.ID) {
		t.Error("Re-key gives another use")
	}
	name := core.UsesAttribute
	if _, err := w.DeleteAttribute(ctx, w.alice, &operation.DeleteAttributeInput{ID: core.ID(id), Name: name}); core.CodeOf(err) != core.AttributeReadOnly {
		t.Errorf("a client deletes the count: %v; want AttributeReadOnly", err)
	}
	if _, err := w.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Vendor: name.Vendor, Name: name.Name, Value: core.Text("p@10/total=0")}}); core.CodeOf(err) != core.AttributeReadOnly {
		t.Errorf("a client sets the count: %v; want AttributeReadOnly", err)
	}
}

// An operation that changes the object uses its right once, also the last one.
func TestTotalOfAChange(t *testing.T) {
	w, _ := totalledWorld(t, 2, core.ActionSetAttribute)
	id := w.aesKey()
	for i := range 3 {
		_, err := w.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Vendor: "x", Name: "n", Value: core.Text(fmt.Sprint(i))}})
		if (err == nil) != (i < 2) || err != nil && core.CodeOf(err) != core.UsageLimitExceeded {
			t.Errorf("change %d: %v; want two to pass", i+1, err)
		}
	}
}

// brokenCounts stores no change without a record: none that counts a use.
type brokenCounts struct{ *memStore }

func (s brokenCounts) Commit(ctx context.Context, ch *core.Change) error {
	if len(core.WritesOf[core.UpdateObject](ch)) > 0 {
		return errors.New("the disk is full")
	}
	return s.memStore.Commit(ctx, ch)
}

// A count that cannot be stored or read permits nothing, and neither does one more than an object
// can have.
func TestFailingTotalsRefuse(t *testing.T) {
	w, _ := totalledWorld(t, 5, core.ActionEncrypt)
	ports := w.Ports
	ports.Store = brokenCounts{w.store}
	id := w.inState(core.Active)
	encrypt := func(n node) error {
		_, err := n.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Data: []byte("x")})
		return err
	}
	if err := encrypt(newNode(engine.New(ports, w.Settings))); err == nil {
		t.Error("a use passes whose count is not stored")
	}
	set := func(values ...string) {
		o, err := w.store.Object(ctx, "default", id)
		if err != nil {
			t.Fatal(err)
		}
		o.Attributes = o.Attributes.Without(core.UsesAttribute)
		for _, v := range values {
			o.Attributes = o.Attributes.Add(core.Attribute{Vendor: core.UsesAttribute.Vendor, Name: core.UsesAttribute.Name, Value: core.Text(v)})
		}
	}
	for _, broken := range []string{"", "p@1/total", "p@1/total=", "p@1/total=x", "p@1/total=-3", "p/total=1", "q@x/1=2", "p@1/total=99999999999999999999"} {
		set(broken)
		if err := encrypt(newNode(engine.New(w.Ports, w.Settings))); core.CodeOf(err) != core.Tampered {
			t.Errorf("the count %q: %v; want Tampered", broken, err)
		}
	}
	var many []string
	for i := range 64 {
		many = append(many, fmt.Sprintf("q%d@1/1=1", i))
	}
	set(many...)
	if w.encryptOnce(newNode(engine.New(w.Ports, w.Settings)), id) {
		t.Error("a use passes that an object has no room to count")
	}
	set(many[1:]...)
	if !w.encryptOnce(newNode(engine.New(w.Ports, w.Settings)), id) {
		t.Error("the last count of an object has no room")
	}
}

// Undo gives no use back, because the answers of undone items have their payloads. It takes back
// what the batch has changed besides.
func TestUndoKeepsUsageLimits(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active, core.TagUsageLimits, limitsOf(10, core.UsageLimitsUnitObject))
	batch := *w.alice
	batch.Undo = &core.Undo{}
	for _, data := range []string{"x", "y"} {
		if _, err := w.Encrypt(ctx, &batch, &operation.EncryptInput{ID: core.ID(id), Data: []byte(data)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.SetAttribute(ctx, &batch, &operation.SetAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Vendor: "x", Name: "n", Value: core.Text("undone")}}); err != nil {
		t.Fatal(err)
	}
	if err := w.UndoBatch(ctx, &batch, batch.Undo); err != nil {
		t.Fatal(err)
	}
	o, err := w.store.Object(ctx, "default", id)
	if err != nil || o.Attributes.Find(core.AttributeName{Vendor: "x", Name: "n"}) >= 0 {
		t.Errorf("after Undo the object has the attribute, %v; want none", err)
	}
	if v, _ := o.Attributes.Get(core.TagUsageLimits); core.UsageLimitsOf(v).Count != 8 || core.UsageLimitsOf(v).Total != 10 {
		t.Errorf("after Undo the Usage Limits are %+v; want 8 of 10 left", core.UsageLimitsOf(v))
	}
}

// The totals of statements likewise.
func TestUndoKeepsTotals(t *testing.T) {
	w, _ := totalledWorld(t, 2, core.ActionEncrypt)
	id := w.inState(core.Active)
	batch := *w.alice
	batch.Undo = &core.Undo{}
	if _, err := w.SetAttribute(ctx, &batch, &operation.SetAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Vendor: "x", Name: "n", Value: core.Text("undone")}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Encrypt(ctx, &batch, &operation.EncryptInput{ID: core.ID(id), Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	e := engine.New(w.Ports, w.Settings)
	if err := batchundo.Undo(ctx, e, &batch, batch.Undo); err != nil {
		t.Fatal(err)
	}
	o, err := w.store.Object(ctx, "default", id)
	if err != nil || o.Attributes.Find(core.AttributeName{Vendor: "x", Name: "n"}) >= 0 {
		t.Errorf("after Undo the object has the attribute, %v; want none", err)
	}
	if got := w.counts(id); !slices.Equal(got, []string{"p@1/total=1"}) {
		t.Errorf("after Undo the counts are %v; want one use", got)
	}
}

// A use that counts, for a total or for Usage Limits, does not end its own approval when it takes so
// long that it is decided again, nor the one that another request waits with. A change of the object
// does.
func TestCountedUsesKeepApprovals(t *testing.T) {
	for what, limits := range map[string][]any{"a total": nil, "Usage Limits": {core.TagUsageLimits, limitsOf(10, core.UsageLimitsUnitObject)}} {
		w := newWorld(t)
		terms := core.GateTerms{Approvals: &core.ApprovalTerms{Needed: 1, From: []string{"user:bob"}}}
		if limits == nil {
			terms.TotalUse = 3
		}
		n := newApprovalSiteBy(t, w, &totalled{gate: core.Gate{Statement: "p@1/two", GateTerms: terms}, actions: []core.Action{core.ActionEncrypt}})
		id := w.inState(core.Active, limits...)
		encrypt := func(data string) (approval string, err error) {
			_, err = n.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Data: []byte(data)})
			if e, ok := errors.AsType[*core.Error](err); ok && e.Code == core.ApprovalNeeded {
				approval = e.Approval
			}
			return approval, err
		}
		approve := func(data string) string {
			approval, err := encrypt(data)
			if approval == "" {
				t.Fatalf("%s: the use of %s waits for no approval: %v", what, data, err)
			}
			if _, err := n.verbs.Approve(ctx, w.bob, admin.ApprovalInput{ID: approval}); err != nil {
				t.Fatal(err)
			}
			return approval
		}
		approve("slow")
		waiting := approve("later")
		w.hsm.slow = func() { w.clock.now++ }
		if _, err := encrypt("slow"); err != nil {
			t.Errorf("%s: an approved use that takes a second: %v", what, err)
		}
		w.hsm.slow = nil
		if _, err := encrypt("later"); err != nil {
			t.Errorf("%s: a use that was approved as %s before another one: %v", what, waiting, err)
		}
		if again, err := encrypt("slow"); again == "" {
			t.Errorf("%s: a second use by one approval: %v; want ApprovalNeeded", what, err)
		}
		before := approve("changed")
		if _, err := n.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID(id), Attribute: core.Attribute{Vendor: "x", Name: "n", Value: core.Text("y")}}); err != nil {
			t.Fatal(err)
		}
		if after, err := encrypt("changed"); after == "" || after == before {
			t.Errorf("%s: after a change of the key the approval is %q, %v; want another than %s", what, after, err, before)
		}
	}
}
