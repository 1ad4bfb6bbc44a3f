package format

import (
	"github.com/keyreeve/keyreeve/core"
)

func (r *reader) readTests(n node) []Test {
	if !r.expect(n, listNode) {
		return nil
	}
	if len(n.items) > MaxTests {
		r.refuse(n, "it has %d tests; at most %d", len(n.items), MaxTests)
	}
	return readList(r, n, r.readTest)
}

func (r *reader) readTest(n node) Test {
	get := r.object(n, "name", "principal", "principals", "action", "given", "expect")
	t := Test{Principals: r.principals(n, get), Action: r.testedAction(get("action")),
		Expect: Outcome(r.choice(get("expect"), []string{string(Allows), string(Denies), string(Nothing)}))}
	if m := get("name"); m.kind != missingNode {
		t.Name = r.nameOf(m, maxTextBytes)
	}
	if m := get("given"); m.kind != missingNode {
		r.readGiven(m, &t)
	}
	return t
}

// readGiven reads the facts of the request of a test. It has the members of a condition, but
// one address, and a time "at".
func (r *reader) readGiven(n node, t *Test) {
	get := r.object(n, append([]string{"ipAddress", "at", grantedMember}, factMembers...)...)
	t.Facts = r.readFacts(get)
	if m := get("ipAddress"); m.kind != missingNode {
		addr := r.addressRange(m)
		if r.fault == nil && !addr.IsSingleIP() {
			r.refuse(m, "it is a range; a request comes from one address")
		}
		t.Address = addr.Addr()
	}
	if m := get("at"); m.kind != missingNode {
		t.At = r.instant(m)
	}
	t.Granted = r.flagOf(get(grantedMember))
	r.refuseEmpty(n)
}

// testedAction reads a name of an action, or a word. All actions of the word must have the
// outcome.
func (r *reader) testedAction(n node) string {
	s := r.action(n)
	if r.fault == nil && s == core.EveryAction {
		r.refuse(n, "a test has a word for actions, or the name of one")
	}
	return s
}
