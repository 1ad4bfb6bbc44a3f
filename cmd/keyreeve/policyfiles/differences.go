package policyfiles

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
)

// members are the members of a JSON object, compact.
type members map[string]json.RawMessage

// Differences lists what a document changes in an old one, which is nil if there is none: a
// line for each statement and each test that is added (+), removed (-) or changed (~), and
// for the members of the policy itself. Statements are compared by their sid. The order of
// statements does not count.
func Differences(old, next *format.Document) ([]string, error) {
	before, err := partsOf(old)
	if err != nil {
		return nil, err
	}
	after, err := partsOf(next)
	if err != nil {
		return nil, err
	}
	return compareParts(before, after), nil
}

// partsOf returns the statements and tests of a document, and the policy itself.
func partsOf(d *format.Document) (map[string]members, error) {
	if d == nil {
		return nil, nil
	}
	text, err := d.Text()
	if err != nil {
		return nil, err
	}
	var whole members
	var lists struct{ Statements, Tests []members }
	if err := json.Unmarshal(text, &whole); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(text, &lists); err != nil {
		return nil, err
	}
	delete(whole, "statements")
	delete(whole, "tests")
	parts := map[string]members{"policy": whole}
	for i := range d.Statements {
		parts["statement "+d.Statements[i].SID] = lists.Statements[i]
	}
	for i := range d.Tests {
		parts[testName(parts, d.Tests[i].Name, i)] = lists.Tests[i]
	}
	return parts, nil
}

// testName names a test by its name, or by its position if the name is taken or missing.
func testName(parts map[string]members, name string, i int) string {
	if label := "test " + name; name != "" && parts[label] == nil {
		return label
	}
	return fmt.Sprintf("test number %d", i+1)
}

func compareParts(before, after map[string]members) (lines []string) {
	for _, part := range namesInEither(before, after) {
		old, existed := before[part]
		next, exists := after[part]
		switch {
		case !existed && len(next) > 0:
			lines = append(lines, "+ "+part+": "+next.oneLineText())
		case !exists && len(old) > 0:
			lines = append(lines, "- "+part+": "+old.oneLineText())
		default:
			lines = append(lines, compareMembers(part, old, next)...)
		}
	}
	return lines
}

func compareMembers(part string, old, next members) (lines []string) {
	for _, name := range namesInEither(old, next) {
		if was, is := compactText(old[name]), compactText(next[name]); was != is {
			lines = append(lines, fmt.Sprintf("~ %s: %s %s -> %s", part, name, was, is))
		}
	}
	return lines
}

func namesInEither[V any](a, b map[string]V) []string {
	names := slices.AppendSeq(slices.Collect(maps.Keys(a)), maps.Keys(b))
	slices.Sort(names)
	return slices.Compact(names)
}

func compactText(raw json.RawMessage) string {
	var b bytes.Buffer
	if raw == nil || json.Compact(&b, raw) != nil {
		return "(nothing)"
	}
	return b.String()
}

// oneLineText returns the members as one line, sorted by name.
func (m members) oneLineText() string {
	b, err := json.Marshal(m)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// membersOf returns the members of a role or a user.
func membersOf(v any) (m members, err error) {
	text, err := format.IndentedText(v)
	if err != nil {
		return nil, err
	}
	return m, json.Unmarshal(text, &m)
}
