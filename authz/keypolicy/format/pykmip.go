package format

import (
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// ImportPyKMIP turns an operation policy file of PyKMIP into one document for each policy
// in it, sorted by name. Such a file has {"name": {"preset": {"SYMMETRIC_KEY": {"GET":
// "ALLOW_OWNER"}}, "groups": {"group": {...}}}}; older ones have the object types directly
// in the policy.
//
// The documents are exclusive, because PyKMIP denies what a policy does not list. They
// have no targets. It fails with InvalidField and the path of the first fault: an unknown
// type, operation or permission, a policy that permits nothing, or a preset that permits
// something beside groups. It is for clients without groups, which a key policy cannot say.
func ImportPyKMIP(text []byte) ([]Document, error) {
	tree, err := parseTree(text)
	if err != nil {
		return nil, err
	}
	r := &reader{}
	var out []Document
	if r.expect(tree, objectNode) {
		for _, name := range sortedKeys(tree.members) {
			out = append(out, r.importPolicy(name, tree.members[name]))
		}
	}
	if r.fault != nil {
		return nil, r.fault
	}
	return out, nil
}

func (r *reader) importPolicy(name string, n node) Document {
	d := Document{Name: name, Description: "imported from an operation policy of PyKMIP", Exclusive: true}
	if err := CheckIdentifier(name); err != nil {
		r.refuse(n, "the name of the policy %s", err)
	}
	sections := pykmipSections{}
	if r.expect(n, objectNode) {
		r.importSections(n, &sections)
	}
	for _, s := range sections {
		for _, effect := range [...]struct {
			permission string
			owned      bool
		}{{"ALLOW_ALL", false}, {"ALLOW_OWNER", true}} {
			d.Statements = append(d.Statements, s.statements(effect.permission, effect.owned)...)
		}
	}
	if r.fault == nil && (len(d.Statements) == 0 || len(d.Statements) > MaxStatements) {
		r.refuse(n, "the policy becomes %d statements; it must be 1 to %d", len(d.Statements), MaxStatements)
	}
	d.numberStatements()
	return d
}

func (d *Document) numberStatements() {
	for i := range d.Statements {
		d.Statements[i].SID = positionSID(i)
	}
}

// pykmipSection has the permissions of one principal: by object type, then by operation.
type pykmipSection struct {
	principal   string
	permissions map[string]map[string]string
}

type pykmipSections []pykmipSection

func (r *reader) importSections(n node, out *pykmipSections) {
	preset, hasPreset := n.members["preset"]
	groups, hasGroups := n.members["groups"]
	if !hasPreset && !hasGroups { // the older form
		*out = append(*out, r.importSection(Anyone, n))
		return
	}
	r.object(n, "preset", "groups")
	if hasPreset {
		section := r.importSection(Anyone, preset)
		if hasGroups && section.permitsAnything() {
			r.refuse(preset, "it permits something to clients without groups, which a key policy cannot say; import preset and groups as two policies, and attach each where it belongs")
		}
		*out = append(*out, section)
	}
	if hasGroups && r.expect(groups, objectNode) {
		for _, name := range sortedKeys(groups.members) {
			m := groups.members[name]
			principal := r.principal(node{path: m.path, kind: textNode, text: "group:" + name})
			*out = append(*out, r.importSection(principal, m))
		}
	}
}

func (r *reader) importSection(principal string, n node) pykmipSection {
	s := pykmipSection{principal, map[string]map[string]string{}}
	if !r.expect(n, objectNode) {
		return s
	}
	for _, name := range sortedKeys(n.members) {
		m := n.members[name]
		kind := r.pykmipName(m, name, pykmipTypes, "object type")
		if !r.expect(m, objectNode) {
			return s
		}
		s.permissions[kind] = map[string]string{}
		for _, operation := range sortedKeys(m.members) {
			at := m.members[operation]
			s.permissions[kind][r.pykmipName(at, operation, pykmipOperations, "operation")] = r.choice(at, []string{"ALLOW_ALL", "ALLOW_OWNER", "DISALLOW_ALL"})
		}
	}
	return s
}

func (s *pykmipSection) permitsAnything() bool {
	return len(s.statements("ALLOW_ALL", false))+len(s.statements("ALLOW_OWNER", true)) > 0
}

// pykmipName returns the name of the standard for a name of PyKMIP.
func (r *reader) pykmipName(n node, name string, names map[string]string, what string) string {
	if names[name] == "" {
		r.refuse(n, "%q is no %s that is known here", core.ClientText(name), what)
	}
	return names[name]
}

// statements returns one statement for all object types that have the same operations
// under a permission.
func (s *pykmipSection) statements(permission string, owned bool) (out []Statement) {
	for _, kind := range sortedKeys(s.permissions) {
		var actions []string
		for _, action := range sortedKeys(s.permissions[kind]) {
			if s.permissions[kind][action] == permission {
				actions = append(actions, action)
			}
		}
		i := slices.IndexFunc(out, func(other Statement) bool { return slices.Equal(other.Actions, actions) })
		switch {
		case actions == nil:
		case i >= 0:
			out[i].Conditions.Object["type"] = append(out[i].Conditions.Object["type"], kind)
		default:
			object := map[string][]string{"type": {kind}}
			if owned {
				object[ownedMember] = []string{"true"}
			}
			out = append(out, Statement{Principals: []string{s.principal}, Actions: actions, Effect: Allow, Conditions: Conditions{Facts: Facts{Object: object}}})
		}
	}
	return out
}

// Names of PyKMIP, which spells those of the standard in capitals with underscores.
var pykmipTypes, pykmipOperations = pykmipNames()

func pykmipNames() (types, operations map[string]string) {
	types, operations = map[string]string{"OPAQUE_DATA": core.ObjectTypeOpaqueObject.String()}, map[string]string{}
	for _, name := range enumNames(core.TagObjectType) {
		types[pykmipSpelling(name)] = name
	}
	for _, a := range core.Actions() {
		if a.Info().Operation != 0 {
			operations[pykmipSpelling(a.String())] = a.String()
		}
	}
	return types, operations
}

// pykmipSpelling turns "Re-key Key Pair" into REKEY_KEY_PAIR.
func pykmipSpelling(name string) string {
	return strings.ToUpper(strings.NewReplacer("-", "", " ", "_", "#", "").Replace(name))
}
