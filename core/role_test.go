package core_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// A body has one text. Any other text, even with the same meaning, is refused, so no two
// readers can see two bodies in one row.
func TestBodiesHaveOneForm(t *testing.T) {
	role := core.Role{Description: "a <role>", Actions: []string{"encrypt", "Get Attributes"}}
	text, err := core.EncodeBody(&role)
	if err != nil || string(text) != `{"description":"a <role>","actions":["encrypt","Get Attributes"]}` {
		t.Fatalf("the body is %s, %v", text, err)
	}
	var again core.Role
	if err := core.DecodeBody(text, &again); err != nil || again.Description != role.Description || len(again.Actions) != 2 {
		t.Errorf("the body is read as %+v, %v", again, err)
	}
	for what, other := range map[string]string{
		"another order":     `{"actions":["encrypt","Get Attributes"],"description":"a <role>"}`,
		"an unknown member": `{"description":"a <role>","actions":["encrypt","Get Attributes"],"more":1}`,
		"a member twice":    `{"description":"x","description":"a <role>","actions":["encrypt","Get Attributes"]}`,
		"another case":      `{"Description":"a <role>","actions":["encrypt","Get Attributes"]}`,
		"a space":           `{"description":"a <role>", "actions":["encrypt","Get Attributes"]}`,
		"something behind":  string(text) + "{}",
		"an unknown action": `{"actions":["encipher"]}`,
		"an action twice":   `{"actions":["encrypt","encrypt"]}`,
		"no action":         `{"actions":[]}`,
		"nothing":           ``,
	} {
		if err := core.DecodeBody([]byte(other), new(core.Role)); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %v; want Invalid Field", what, err)
		}
	}
}

// A role permits what its words stand for, and never an action on the server itself.
func TestRolePermits(t *testing.T) {
	verifier, everything := core.Role{Actions: []string{"verify"}}, core.Role{Actions: []string{core.EveryAction}}
	for _, a := range core.Actions() {
		if want := a == core.ActionSignatureVerify || a == core.ActionMACVerify; verifier.Permits(a) != want {
			t.Errorf("verify permits %v: %v", a, !want)
		}
		if want := a.Askable() && a.Kind() != core.AdministerAction; everything.Permits(a) != want {
			t.Errorf("a role with every action permits %v: %v", a, !want)
		}
	}
}
