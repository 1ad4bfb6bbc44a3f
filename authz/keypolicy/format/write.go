package format

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Text returns a document that [Parse] reads as d, indented.
func (d *Document) Text() ([]byte, error) {
	out := members{}
	out.setText("name", d.Name)
	out.setText("description", d.Description)
	if d.Exclusive {
		out.setMember("exclusive", true)
	}
	out.setNames(string(d.Targets.Kind), d.Targets.Names)
	var statements, tests []any
	for i := range d.Statements {
		statements = append(statements, writeStatement(&d.Statements[i]))
	}
	for i := range d.Tests {
		tests = append(tests, writeTest(&d.Tests[i]))
	}
	out.setMember("statements", statements)
	if tests != nil {
		out.setMember("tests", tests)
	}
	return IndentedText(out)
}

// IndentedText returns a value as JSON of several lines that people edit: indented by two
// spaces, with "<", ">" and "&" as they are, and a line break at the end. It fails if JSON
// cannot express the value.
func IndentedText(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	err := e.Encode(v)
	return b.Bytes(), err
}

// members are the members of an object, in the order in which they are written.
type members []member

type member struct {
	name  string
	value any
}

// MarshalJSON is part of [json.Marshaler].
func (m members) MarshalJSON() ([]byte, error) {
	b := []byte("{")
	for i, x := range m {
		if i > 0 {
			b = append(b, ',')
		}
		name, err := json.Marshal(x.name)
		if err != nil {
			return nil, err
		}
		value, err := json.Marshal(x.value)
		if err != nil {
			return nil, err
		}
		b = append(append(append(b, name...), ':'), value...)
	}
	return append(b, '}'), nil
}

func (m *members) setMember(name string, value any) { *m = append(*m, member{name, value}) }

func (m *members) setText(name, text string) {
	if text != "" {
		m.setMember(name, text)
	}
}

// setNames writes one name as a string, as people do, and several as a list.
func (m *members) setNames(name string, names []string) {
	switch len(names) {
	case 0:
	case 1:
		m.setMember(name, names[0])
	default:
		m.setMember(name, names)
	}
}

// setNumbers writes one number as it is, and several as a list.
func (m *members) setNumbers(name string, texts []string) {
	var numbers []json.Number
	for _, text := range texts {
		numbers = append(numbers, json.Number(text))
	}
	if len(numbers) == 1 {
		m.setMember(name, numbers[0])
		return
	}
	m.setMember(name, numbers)
}

// parametersMember is the member of a condition that has numbers.
const parametersMember = "parameters"

// setFields writes a member of fields. flags are those that are true or false.
func (m *members) setFields(name string, fields map[string][]string, flags ...string) {
	if fields == nil {
		return
	}
	var out members
	for _, field := range sortedKeys(fields) {
		if slices.Contains(flags, field) {
			out.setMember(field, fields[field][0] == "true")
			continue
		}
		if name == parametersMember && field == lengthParameter {
			out.setNumbers(field, fields[field])
			continue
		}
		out.setNames(field, fields[field])
	}
	m.setMember(name, out)
}

func writeStatement(s *Statement) members {
	var out members
	out.setText("sid", s.SID)
	out.setNames("principal", s.Principals)
	out.setMember("actions", s.Actions)
	out.setMember("effect", s.Effect)
	c := writeConditions(&s.Conditions)
	if s.Gate != nil && s.Effect == Allow {
		c = append(c, writeGate(s.Gate)...)
	}
	if c != nil {
		out.setMember("conditions", c)
	}
	if s.Gate != nil && s.Effect == Deny {
		out.setMember(unlessMember, writeGate(s.Gate))
	}
	return out
}

func writeConditions(c *Conditions) (out members) {
	out.setNames("ipAddress", addressTexts(c.IPAddress))
	out.setNames("region", c.Region)
	if t := writeTime(&c.Time); t != nil {
		out.setMember("time", t)
	}
	return append(out, writeFacts(&c.Facts)...)
}

func addressTexts(ranges []netip.Prefix) (texts []string) {
	for _, p := range ranges {
		texts = append(texts, p.String())
	}
	return texts
}

func writeTime(t *Time) (out members) {
	if t.NotBefore != nil {
		out.setMember("notBefore", instantText(*t.NotBefore))
	}
	if t.NotAfter != nil {
		out.setMember("notAfter", instantText(*t.NotAfter))
	}
	if d := t.Daily; d != nil {
		daily := members{{"from", clockText(d.From)}, {"to", clockText(d.To)}, {"zone", d.Zone}}
		daily.setNames("weekdays", d.Weekdays)
		out.setMember("daily", daily)
	}
	return out
}

func instantText(at int64) string { return time.Unix(at, 0).UTC().Format(time.RFC3339) }

func clockText(seconds int) string {
	return fmt.Sprintf("%02d:%02d", seconds/3600, seconds/60%60)
}

func writeFacts(f *Facts) (out members) {
	out.setNames("door", f.Door)
	for name, strength := range strengths {
		if f.Strength == strength && strength != core.StrengthNone {
			out.setMember("strength", name)
		}
	}
	out.setFields("tags", f.Tags)
	out.setFields("object", f.Object, ownedMember)
	out.setFields("principal", f.Principal)
	out.setFields(parametersMember, f.Parameters, wrappedParameter)
	return out
}

func writeTest(t *Test) members {
	var out, given members
	out.setText("name", t.Name)
	out.setNames("principal", t.Principals)
	out.setMember("action", t.Action)
	if t.Address.IsValid() {
		given.setMember("ipAddress", t.Address.String())
	}
	if t.At != 0 {
		given.setMember("at", instantText(t.At))
	}
	if t.Granted {
		given.setMember(grantedMember, true)
	}
	if given = append(given, writeFacts(&t.Facts)...); given != nil {
		out.setMember("given", given)
	}
	out.setMember("expect", t.Expect)
	return out
}
