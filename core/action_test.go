package core

import (
	"strings"
	"testing"
)

// The table beside KMIP's enumeration: every operation has exactly one row, with the
// standard's name, and a name belongs to one row.
func TestActionsAreTheOperations(t *testing.T) {
	rows, names := map[Operation]int{}, map[string]Action{}
	for _, a := range Actions() {
		row := a.Info()
		if row.Name == "" || row.Kind == "" || a.String() != row.Name {
			t.Errorf("action %d has the row %+v", a, row)
		}
		for _, name := range []string{row.Name, row.xmlName()} {
			name = strings.ToLower(name)
			if other, taken := names[name]; taken && other != a {
				t.Errorf("%v and %v are both named %s", other, a, name)
			}
			names[name] = a
		}
		if row.Operation == 0 {
			continue
		}
		rows[row.Operation]++
		if ActionOf(row.Operation) != a || row.Name != row.Operation.String() || !a.Askable() {
			t.Errorf("%v is the action of %v, which is %v", a, row.Operation, ActionOf(row.Operation))
		}
	}
	for _, v := range enumOperation.Values {
		if rows[Operation(v.Value)] != 1 {
			t.Errorf("%s has %d rows in the table of actions, want 1", v.Name, rows[Operation(v.Value)])
		}
	}
}

// Every name that a record can have finds its action, in any letter case.
func TestActionByName(t *testing.T) {
	for _, a := range append(Actions(), ActionOf(0x80000001)) {
		for _, name := range []string{a.String(), strings.ToUpper(a.String()), strings.ToLower(a.String())} {
			if got, ok := ActionByName(name); !ok || got != a {
				t.Errorf("%q is %v, %v; want %v", name, got, ok, a)
			}
		}
	}
	for _, name := range []string{"", "Gett", "0x", "0xG", "0x123456789"} {
		if got, ok := ActionByName(name); ok {
			t.Errorf("%q is %v; want none", name, got)
		}
	}
	if a, _ := ActionByName("createkeypair"); a != ActionCreateKeyPair {
		t.Errorf("the XML form CreateKeyPair is %v", a)
	}
}

// An operation that KMIP does not have is recorded by its number and never asked for.
func TestUnknownOperation(t *testing.T) {
	for op, want := range map[Operation]string{0x80000001: "0x80000001", 9999: "0x0000270F", 0: "Message"} {
		if a := ActionOf(op); a.String() != want || a.Askable() {
			t.Errorf("operation %d is recorded as %q, askable %v; want %q", op, a, a.Askable(), want)
		}
	}
	if a := Action(0); a.Info() != nil || a.Askable() || a.String() != "" || a.Kind() != "" {
		t.Error("the zero action is one")
	}
}
