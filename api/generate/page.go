package main

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"slices"
	"strconv"
	"strings"

	yaml "go.yaml.in/yaml/v4"
)

//go:embed page.html
var page string

// shownOperation is an operation as the page and the table show it.
type shownOperation struct {
	*operation
	Method, Path string
	Parameters   []*parameter
	Body, Answer *schema
	Raw          string // the media type of an answer that is no JSON
	Status       string // of a success
	Problems     string // the statuses of refusals
	Who          string // may ask
}

type shownMember struct {
	Name     string
	Required bool
	Schema   *schema
}

func (s *specification) shown() (all []shownOperation) {
	s.each(func(method, path string, o *operation) {
		status, answer := s.success(o)
		one := shownOperation{operation: o, Method: method, Path: path, Body: s.body(o), Answer: s.answer(o), Status: status, Who: s.who(o)}
		for _, p := range o.Parameters {
			one.Parameters = append(one.Parameters, s.parameter(p))
		}
		if media := answer.Content.Names; one.Answer == nil && len(media) > 0 {
			one.Raw = media[0]
		}
		one.Problems = strings.Join(slices.DeleteFunc(slices.Clone(o.Responses.Names), func(status string) bool { return status < "400" }), ", ")
		all = append(all, one)
	})
	return all
}

// who returns in words what proves who asks.
func (s *specification) who(o *operation) string {
	choices := s.Security
	if o.Security != nil {
		choices = *o.Security
	}
	if len(choices) == 0 {
		return "everybody"
	}
	words := map[string]string{"mutualTLS": "certificate", "bearer": "token"}
	var all []string
	for _, choice := range choices {
		var proofs []string
		for _, name := range s.Components.SecuritySchemes.Names {
			if _, needed := choice[name]; needed {
				proofs = append(proofs, words[name])
			}
		}
		if proofs == nil {
			proofs = []string{"what the body proves"}
		}
		all = append(all, strings.Join(proofs, " and "))
	}
	return strings.Join(all, ", or ")
}

// members returns the members of an object.
func members(of *schema) (all []shownMember) {
	if !of.isStruct() {
		return nil
	}
	for _, name := range of.Properties.Names {
		all = append(all, shownMember{name, slices.Contains(of.Required, name), of.Properties.byName[name]})
	}
	return all
}

// inWords returns in words what a value must be, as HTML.
func (s *specification) inWords(of *schema) template.HTML {
	if of.Ref != "" {
		name := component(of.Ref)
		return template.HTML(fmt.Sprintf(`<a href="#schema-%s">%[1]s</a>`, template.HTMLEscapeString(name)))
	}
	if len(of.OneOf) > 0 && of.OneOf[0].Ref != "" {
		return s.inWords(&schema{Ref: of.OneOf[0].Ref}) + " or " + s.inWords(&schema{Ref: of.OneOf[1].Ref})
	}
	if of.Type.name == "array" {
		return "array of " + s.inWords(of.Items) + template.HTML(template.HTMLEscapeString(counted(of.MinItems, of.MaxItems, "elements")))
	}
	if of.Additional != nil && of.Additional.schema != nil {
		return "object of " + s.inWords(of.Additional.schema) + template.HTML(template.HTMLEscapeString(counted(of.MinProperties, of.MaxProperties, "members")))
	}
	return template.HTML(template.HTMLEscapeString(bounds(of)))
}

// bounds returns in words what a value that refers to no other schema must be.
func bounds(of *schema) string {
	var text string
	switch {
	case of.isStruct():
		text = counted(of.MinProperties, of.MaxProperties, "members")
		for _, one := range of.AnyOf {
			text += " or " + strings.Join(one.Required, " and ")
		}
		for _, one := range of.OneOf {
			text += " or either " + strings.Join(one.Required, " and ")
		}
		if rest, choice := strings.CutPrefix(text, " or "); choice {
			return rest + " must be given."
		}
		return strings.TrimPrefix(text, ", ")
	case of.Enum != nil:
		return "one of " + strings.Join(of.Enum, ", ")
	case of.ContentEncoding == "base64":
		text = "base64"
	case of.Format == "date-time":
		return "time" + nullable(of)
	case of.Type.name == "string":
		text = "text"
	case of.Type.name == "array":
		text = "array"
	case of.Type.name == "integer" && of.Maximum != 0:
		return fmt.Sprintf("integer from %d to %d", of.Minimum, of.Maximum)
	case of.Type.name == "integer" && of.Minimum != 0:
		return fmt.Sprintf("integer of at least %d", of.Minimum)
	case of.Type.name == "object":
		return "JSON object"
	default:
		return of.Type.name
	}
	text += counted(of.MinLength, of.MaxLength, "characters") + counted(of.MinItems, of.MaxItems, "elements") + nullable(of)
	if of.Pattern != "" {
		text += ", matching " + of.Pattern
	}
	return text
}

func nullable(of *schema) string {
	if of.Type.nullable {
		return ", or null"
	}
	return ""
}

// counted returns in words how many there may be.
func counted(least, most int64, of string) string {
	switch {
	case most == 0 && least == 0:
		return ""
	case most == 0:
		return fmt.Sprintf(", at least %d %s", least, of)
	case least == 0:
		return fmt.Sprintf(", at most %d %s", most, of)
	}
	return fmt.Sprintf(", %d to %d %s", least, most, of)
}

// examples returns the examples of a body as JSON.
func (s *specification) examples(of *schema) (all []string) {
	for _, node := range s.schema(of).Examples {
		all = append(all, jsonOf(&node))
	}
	return all
}

// jsonOf returns a value as JSON on one line, in the order of the document.
func jsonOf(node *yaml.Node) string {
	var parts []string
	switch node.Kind {
	case yaml.MappingNode:
		for i := 0; i < len(node.Content); i += 2 {
			parts = append(parts, strconv.Quote(node.Content[i].Value)+": "+jsonOf(node.Content[i+1]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	case yaml.SequenceNode:
		for _, one := range node.Content {
			parts = append(parts, jsonOf(one))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	}
	if node.Tag == "!!str" {
		text, err := json.Marshal(node.Value)
		if err != nil {
			fail("%v", err)
		}
		return string(text)
	}
	return node.Value
}

type shownRefusal struct {
	Status      string
	Description string
}

// refusals returns the statuses of all refusals and what they mean.
func (s *specification) refusals() (all []shownRefusal) {
	seen := map[string]bool{}
	s.each(func(_, _ string, o *operation) {
		for _, status := range o.Responses.Names {
			if r := o.Responses.byName[status]; r.Ref != "" && !seen[status] {
				seen[status] = true
				all = append(all, shownRefusal{status, s.response(r).Description})
			}
		}
	})
	slices.SortFunc(all, func(a, b shownRefusal) int { return strings.Compare(a.Status, b.Status) })
	return all
}

// writePage writes the page of /docs. It is readable without scripts, and has no other asset.
func writePage(s *specification) {
	t, err := template.New("page").Funcs(template.FuncMap{
		"paragraphs": func(text string) []string { return strings.Split(strings.TrimSpace(text), "\n\n") },
		"operations": func(tag string) []shownOperation {
			return slices.DeleteFunc(s.shown(), func(o shownOperation) bool { return o.Tags[0] != tag })
		},
		"security":  func(name string) securityScheme { return s.Components.SecuritySchemes.byName[name] },
		"component": func(name string) *schema { return s.Components.Schemas.byName[name] },
		"refusals":  s.refusals, "value": s.inWords, "examples": s.examples, "members": members, "bounds": bounds,
	}).Parse(page)
	if err != nil {
		fail("%v", err)
	}
	var b bytes.Buffer
	if err := t.Execute(&b, s); err != nil {
		fail("%v", err)
	}
	write("reference.html", b.Bytes())
}

// The lines of docs/REST.md between which its table is.
const (
	tableBegins = "<!-- from api/openapi.yaml, by go generate ./api -->\n"
	tableEnds   = "<!-- end -->\n"
)

// writeTable writes the table of routes in a document.
func writeTable(s *specification, document string) {
	text, err := os.ReadFile(document)
	if err != nil {
		fail("%v", err)
	}
	before, rest, begins := strings.Cut(string(text), tableBegins)
	_, after, ends := strings.Cut(rest, tableEnds)
	if !begins || !ends {
		fail("%s lacks the lines %q and %q", document, tableBegins, tableEnds)
	}
	var b strings.Builder
	b.WriteString(before + tableBegins + "| route | body or query | answer |\n|---|---|---|\n")
	listed := map[string]bool{}
	for _, o := range s.shown() {
		var takes []string
		for _, p := range o.Parameters {
			if p.In == "query" {
				takes = append(takes, memberInTable(p.Name, p.Required))
			}
		}
		takes = append(takes, s.membersInTable(o.Body)...)
		answer := ""
		switch {
		case o.Raw != "":
			answer = "`" + o.Raw + "`"
		case o.Answer != nil && o.Answer.Ref == "":
			answer = component(o.Answer.OneOf[0].Ref) + " or " + component(o.Answer.OneOf[1].Ref)
		case o.Answer != nil:
			answer = s.schema(o.Answer).name
			if !listed[answer] {
				listed[answer] = true
				answer += ": " + strings.Join(s.membersInTable(o.Answer), ", ")
			}
		}
		if o.Status != "200" {
			answer = strings.TrimSuffix(o.Status+", "+answer, ", ")
		}
		fmt.Fprintf(&b, "| %s %s | %s | %s |\n", o.Method, o.Path, strings.Join(takes, ", "), answer)
	}
	b.WriteString(tableEnds + after)
	write(document, []byte(b.String()))
}

// membersInTable returns the members of a body.
func (s *specification) membersInTable(of *schema) (all []string) {
	if of == nil {
		return nil
	}
	for _, m := range members(s.schema(of)) {
		all = append(all, memberInTable(m.Name, m.Required))
	}
	return all
}

func memberInTable(name string, required bool) string {
	if required {
		return name
	}
	return name + "?"
}
