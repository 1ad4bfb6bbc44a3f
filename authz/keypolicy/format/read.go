package format

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Parse reads a document. It fails with InvalidField and the path of the first fault: an
// unknown, doubled or wrongly spelled member, an unknown action or principal, a malformed
// address or time, an empty list, or more than the bounds allow.
func Parse(text []byte) (*Document, error) {
	tree, err := parseTree(text)
	if err != nil {
		return nil, err
	}
	r := &reader{}
	d := r.document(tree)
	if r.fault != nil {
		return nil, r.fault
	}
	return d, nil
}

// reader turns nodes into a document. It keeps the first fault, and goes on with empty
// values after it.
type reader struct{ fault error }

func (r *reader) refuse(n node, format string, args ...any) {
	if r.fault == nil {
		r.fault = faultAt(n.path, format, args...)
	}
}

// expect reports whether a node is of a kind, and refuses it otherwise.
func (r *reader) expect(n node, kind nodeKind) bool {
	if n.kind != kind {
		r.refuse(n, "it is %s; it must be %s", kindNames[n.kind], kindNames[kind])
	}
	return n.kind == kind && r.fault == nil
}

// object returns a function that looks up the members of an object. Only the known ones
// may be there.
func (r *reader) object(n node, known ...string) func(name string) node {
	if r.expect(n, objectNode) {
		for _, name := range sortedKeys(n.members) {
			if !slices.Contains(known, name) {
				r.refuse(n.members[name], "there is no such member here; %s", suggest(name, known))
			}
		}
	}
	return func(name string) node {
		if m, ok := n.members[name]; ok {
			return m
		}
		return node{path: joinPath(n.path, name)}
	}
}

const maxSuggested = 50 // names in a message

// suggest returns the known name that differs only in case, or all of them.
func suggest(name string, known []string) string {
	for _, k := range known {
		if strings.EqualFold(k, name) {
			return "write " + k
		}
	}
	if len(known) > maxSuggested {
		return "the names are those of the standard, such as " + known[0]
	}
	return "it is one of " + strings.Join(known, ", ")
}

// nameOf reads a string that is not empty, not too long, without control characters, and
// without spaces at its ends, which nobody sees.
func (r *reader) nameOf(n node, most int) string {
	if !r.expect(n, textNode) {
		return ""
	}
	if n.text == "" || len(n.text) > most || strings.ContainsFunc(n.text, isUnfit) || strings.TrimSpace(n.text) != n.text {
		r.refuse(n, "it must have 1 to %d bytes, no control characters, and no space at its ends", most)
	}
	return n.text
}

// isUnfit reports whether a name may not have a character: one that does not show, or the
// one that stands for bytes that are no text.
func isUnfit(c rune) bool { return c == '\ufffd' || !strconv.IsPrint(c) }

// readList reads one item or a list of items, which may not be empty.
func readList[T any](r *reader, n node, read func(node) T) (out []T) {
	if n.kind != listNode {
		return []T{read(n)}
	}
	if len(n.items) == 0 {
		r.refuse(n, "the list is empty; leave the member out, or name something")
	}
	for _, item := range n.items {
		out = append(out, read(item))
	}
	return out
}

func (r *reader) namesOf(n node) []string {
	return readList(r, n, func(n node) string { return r.nameOf(n, maxNameBytes) })
}

// choice reads one of some names.
func (r *reader) choice(n node, from []string) string {
	s := r.nameOf(n, maxNameBytes)
	if r.fault == nil && !slices.Contains(from, s) {
		r.refuse(n, "%q is unknown; %s", core.ClientText(s), suggest(s, from))
	}
	return s
}

func (r *reader) flagOf(n node) bool {
	return n.kind != missingNode && r.expect(n, flagNode) && n.flag
}

func (r *reader) document(n node) *Document {
	known := []string{"name", "description", "exclusive", "statements", "tests"}
	for _, k := range targetKinds {
		known = append(known, string(k))
	}
	get := r.object(n, known...)
	d := &Document{Exclusive: r.flagOf(get("exclusive")), Targets: r.targets(n, get)}
	if m := get("name"); m.kind != missingNode {
		d.Name = r.identifier(m)
	}
	if m := get("description"); m.kind != missingNode {
		d.Description = r.nameOf(m, maxTextBytes)
	}
	statements := get("statements")
	if r.expect(statements, listNode) && len(statements.items) == 0 {
		r.refuse(statements, "the list is empty; a policy without statements says nothing")
	}
	for i, item := range statements.items {
		d.Statements = append(d.Statements, r.statement(item, i))
	}
	r.sidsDiffer(d, statements)
	if m := get("tests"); m.kind != missingNode {
		d.Tests = r.readTests(m)
	}
	return d
}

// targets reads the one member that says to which a policy is attached.
func (r *reader) targets(n node, get func(string) node) (out Targets) {
	for _, kind := range targetKinds {
		m := get(string(kind))
		if m.kind == missingNode {
			continue
		}
		if out.Kind != "" {
			r.refuse(m, "the policy has %s already; it has targets of one kind", out.Kind)
		}
		out = Targets{Kind: kind, Names: r.namesOf(m)}
		if len(out.Names) > maxTargets {
			r.refuse(m, "the policy names %d targets; at most %d are allowed; attach it to a key group or a role", len(out.Names), maxTargets)
		}
	}
	return out
}

// identifier reads the name of a policy or statement. Records show it between "@" and
// "/", so it has letters, digits, dots, hyphens and underscores alone.
func (r *reader) identifier(n node) string {
	s := r.nameOf(n, core.MaxNameBytes)
	if err := CheckIdentifier(s); r.fault == nil && err != nil {
		r.refuse(n, "%s", err)
	}
	return s
}

// CheckIdentifier returns an error unless s is fit to be the name of a policy or a
// statement. What is attached by its name has the same rule.
func CheckIdentifier(s string) error {
	if !core.ValidName(s) {
		return fmt.Errorf("%q must have 1 to %d letters, digits, dots, hyphens and underscores, and begin with a letter or digit", core.ClientText(s), core.MaxNameBytes)
	}
	return nil
}

func (r *reader) sidsDiffer(d *Document, statements node) {
	seen := map[string]bool{}
	for i, s := range d.Statements {
		if seen[s.SID] {
			r.refuse(statements.items[i], "another statement has the sid %q; without sid it is the position, from 1", s.SID)
		}
		seen[s.SID] = true
	}
}

func (r *reader) statement(n node, position int) Statement {
	get := r.object(n, "sid", "principal", "principals", "actions", "effect", "conditions", unlessMember)
	s := Statement{SID: positionSID(position), Principals: r.principals(n, get), Actions: r.actions(get("actions")),
		Effect: Effect(r.choice(get("effect"), []string{string(Allow), string(Deny)}))}
	if m := get("sid"); m.kind != missingNode {
		s.SID = r.identifier(m)
	}
	if m := get("conditions"); m.kind != missingNode {
		s.Conditions = r.conditions(m)
		s.Gate = gateAmongConditions(r, m, s.Effect)
	}
	if m := get(unlessMember); m.kind != missingNode {
		s.Gate = gateOfDenial(r, m, s.Effect)
	}
	gateFits(r, get("actions"), &s)
	return s
}

// positionSID is the sid of a statement that has none of its own.
func positionSID(position int) string { return strconv.Itoa(position + 1) }

// principals reads the member principal or principals; exactly one must be there.
func (r *reader) principals(n node, get func(string) node) []string {
	one, many := get("principal"), get("principals")
	if one.kind == missingNode {
		one, many = many, one
	}
	if one.kind == missingNode || many.kind != missingNode {
		r.refuse(n, "it must have one of the members principal and principals")
		return nil
	}
	return readList(r, one, r.principal)
}

// Anyone is the principal that stands for everybody.
const Anyone = "*"

// principalKinds are the prefixes of principals. A client is a user whom a certificate
// proved; a token is one token.
var principalKinds = []string{"user", "role", "group", "client", "token"}

func (r *reader) principal(n node) string {
	s := r.nameOf(n, maxNameBytes)
	kind, name, _ := strings.Cut(s, ":")
	switch {
	case r.fault != nil || s == Anyone:
	case name == "" || strings.TrimSpace(name) != name || !slices.Contains(principalKinds, kind):
		r.refuse(n, "%q is no principal; write user:, role:, group:, client: or token: and a name, or *", core.ClientText(s))
	case strings.Contains(name, Anyone):
		r.refuse(n, "%q has a * in its name; names have no wildcards", core.ClientText(s))
	}
	return s
}

// actions reads a list. A single string is refused: other evaluators overlook it, so a
// denial would not apply there.
func (r *reader) actions(n node) []string {
	if !r.expect(n, listNode) {
		return nil
	}
	return readList(r, n, r.action)
}

func (r *reader) action(n node) string {
	s := r.nameOf(n, maxNameBytes)
	if r.fault == nil && core.ActionsNamed(s) == nil {
		r.refuse(n, "%q is no action; %s", core.ClientText(s), suggestAction(s))
	}
	return s
}

func suggestAction(name string) string {
	if name == "wrap" || name == "unwrap" {
		return "a wrapping key needs encrypt, and one that unwraps needs decrypt"
	}
	if core.ActionsNamed(strings.ToLower(name)) != nil {
		return "write " + strings.ToLower(name)
	}
	if a, ok := core.ActionByName(name); ok && a.Askable() {
		return "write " + a.String()
	}
	var words []string
	for _, w := range core.ActionWords() {
		words = append(words, w.Word)
	}
	return suggest(name, append(words, core.EveryAction)) + ", or the name of an action"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
