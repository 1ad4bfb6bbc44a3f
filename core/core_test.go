package core_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Every pair of state and event is tried, so that a transition added by
// mistake fails here as surely as one removed.
func TestTransitions(t *testing.T) {
	allowed := 0
	for from := core.PreActive; from <= core.DestroyedCompromised; from++ {
		for on := core.Activate; on <= core.Destroy; on++ {
			to, err := from.Next(on)
			if err != nil {
				if to != from || core.CodeOf(err) != core.WrongState {
					t.Errorf("%v on %v: got %v, %v; a refusal must leave the state and say WrongState", on, from, to, err)
				}
				continue
			}
			allowed++
		}
	}
	if want := 9; allowed != want { // the arrows between states in KMIP 1.4 §3.22
		t.Errorf("%d transitions are allowed, want %d", allowed, want)
	}
}

// A code without a name would make an audit record that says nothing.
func TestEveryCodeHasAName(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range core.Codes() {
		if c.String() == "" || seen[c.String()] {
			t.Errorf("code %d has the name %q", c, c)
		}
		seen[c.String()] = true
	}
	if core.WrongState.String() != "WrongState" || core.Busy.String() != "Busy" || core.Sensitive.String() != "Sensitive" {
		t.Error("names and codes are out of step")
	}
}

func TestAttributesKeepSnapshots(t *testing.T) {
	a := core.Attributes{{Tag: core.TagName, Value: core.Text("one")}, {Tag: core.TagComment, Value: core.Text("c")}}
	b := a.Add(core.Attribute{Tag: core.TagName, Value: core.Text("two")})
	c := b.Set(core.TagComment, core.Text("d")).Without(core.AttributeName{Tag: core.TagName, Index: 0, Indexed: true})
	if len(a) != 2 || a.Text(core.TagComment) != "c" || len(b) != 3 || b[1].Index != 1 {
		t.Errorf("a change reached an old list: %v, %v", a, b)
	}
	if len(c) != 2 || c.Text(core.TagName) != "two" || c.Text(core.TagComment) != "d" {
		t.Errorf("the changed list is %v", c)
	}
}

// Every attribute is a tag, and every enumeration's values are known both ways.
func TestTablesAgree(t *testing.T) {
	for _, r := range core.AttributeRules() {
		if i := r.Tag.Info(); i == nil || i.Name != r.Name {
			t.Errorf("attribute %s is no tag of that name", r.Name)
		}
	}
	for _, e := range core.Enums() {
		for _, v := range e.Values {
			for _, n := range []string{v.Name, v.XML} {
				if got, ok := e.ByName(n); !ok || (got != v.Value && e.Lookup(got).Name != v.Name) {
					t.Errorf("%s %s is not found by its name", e.Name, n)
				}
			}
		}
	}
}
