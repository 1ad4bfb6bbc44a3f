// Command generate makes from openapi.yaml what must not differ from it: the Go types and the
// table of operations of package api, the page of /docs, and the table in docs/REST.md.
// Run it by `go generate ./api`.
//
// It knows the part of OpenAPI 3.1 that the specification uses, and fails on anything else.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	yaml "go.yaml.in/yaml/v4"
)

// ordered is a mapping in the order of its document.
type ordered[T any] struct {
	Names  []string
	byName map[string]T
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (o *ordered[T]) UnmarshalYAML(node *yaml.Node) error {
	o.byName = map[string]T{}
	for i := 0; i < len(node.Content); i += 2 {
		var value T
		if err := decodeStrictly(node.Content[i+1], &value); err != nil {
			return fmt.Errorf("%s: %w", node.Content[i].Value, err)
		}
		o.Names = append(o.Names, node.Content[i].Value)
		o.byName[node.Content[i].Value] = value
	}
	return nil
}

// decodeStrictly fails on a field that out does not have.
func decodeStrictly(node *yaml.Node, out any) error {
	text, err := yaml.Marshal(node)
	if err != nil {
		return err
	}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	return d.Decode(out)
}

// specification is the part of the document that is used.
type specification struct {
	OpenAPI string `yaml:"openapi"`
	Info    struct {
		Title, Version, Summary, Description string
		License                              struct{ Name, Identifier string }
	}
	Servers  []struct{ URL, Description string }
	Security []map[string][]string
	Tags     []struct{ Name, Description string }
	Paths    ordered[ordered[*operation]]

	Components struct {
		SecuritySchemes ordered[securityScheme] `yaml:"securitySchemes"`
		Parameters      ordered[*parameter]
		Headers         ordered[*header]
		Responses       ordered[*response]
		Schemas         ordered[*schema]
	}
}

type securityScheme struct{ Type, Scheme, Description string }

type operation struct {
	OperationID string `yaml:"operationId"`
	Summary     string
	Description string
	Tags        []string
	Security    *[]map[string][]string
	Parameters  []*parameter
	RequestBody *struct {
		Required bool
		Content  ordered[media]
	} `yaml:"requestBody"`
	Responses ordered[*response]
	Action    string `yaml:"x-action"`
	MaxBody   int    `yaml:"x-max-body"`
}

type media struct{ Schema *schema }

type parameter struct {
	Ref         string `yaml:"$ref"`
	Name, In    string
	Description string
	Required    bool
	Schema      *schema
}

type header struct {
	Ref         string `yaml:"$ref"`
	Description string
	Schema      *schema
}

type response struct {
	Ref         string `yaml:"$ref"`
	Description string
	Headers     ordered[*header]
	Content     ordered[media]
}

type schema struct {
	Ref             string `yaml:"$ref"`
	Description     string
	Type            types
	Format          string
	ContentEncoding string `yaml:"contentEncoding"`
	Pattern         string
	Enum            []string
	Const           string
	Properties      ordered[*schema]
	Required        []string
	Items           *schema
	Additional      *additional `yaml:"additionalProperties"`
	PropertyNames   *schema     `yaml:"propertyNames"`
	MinLength       int64       `yaml:"minLength"`
	MaxLength       int64       `yaml:"maxLength"`
	Minimum         int64
	Maximum         int64
	MinItems        int64    `yaml:"minItems"`
	MaxItems        int64    `yaml:"maxItems"`
	MinProperties   int64    `yaml:"minProperties"`
	MaxProperties   int64    `yaml:"maxProperties"`
	AnyOf           []choice `yaml:"anyOf"`
	OneOf           []choice `yaml:"oneOf"`
	Default         yaml.Node
	Examples        []yaml.Node
	GoType          string `yaml:"x-go-type"`

	name string // of a component
}

// choice is a member that must be given if no other choice is, or what an answer can be.
type choice struct {
	Ref      string `yaml:"$ref"`
	Required []string
}

// types is one type, or a type and null.
type types struct {
	name     string
	nullable bool
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (t *types) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		t.name = node.Value
		return nil
	}
	if len(node.Content) != 2 || node.Content[1].Value != "null" {
		return fmt.Errorf("line %d: a type is one name, or a name and null", node.Line)
	}
	t.name, t.nullable = node.Content[0].Value, true
	return nil
}

// additional says what other members an object has: none, or some of one schema.
type additional struct {
	none   bool
	schema *schema
}

// UnmarshalYAML implements [yaml.Unmarshaler].
func (a *additional) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind == yaml.ScalarNode {
		a.none = node.Value == "false"
		return nil
	}
	return decodeStrictly(node, &a.schema)
}

func readSpecification(path string) (*specification, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	s := &specification{}
	d := yaml.NewDecoder(bytes.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(s); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	for _, name := range s.Components.Schemas.Names {
		s.Components.Schemas.byName[name].name = name
	}
	return s, nil
}

// component returns the name in a reference.
func component(ref string) string { return ref[strings.LastIndexByte(ref, '/')+1:] }

// find returns what a reference leads to.
func find[T any](o ordered[T], ref string) T {
	found, ok := o.byName[component(ref)]
	if !ok {
		fail("nothing is at %s", ref)
	}
	return found
}

func (s *specification) schema(of *schema) *schema {
	if of != nil && of.Ref != "" {
		return find(s.Components.Schemas, of.Ref)
	}
	return of
}

func (s *specification) parameter(of *parameter) *parameter {
	if of.Ref != "" {
		return find(s.Components.Parameters, of.Ref)
	}
	return of
}

func (s *specification) response(of *response) *response {
	if of.Ref != "" {
		return find(s.Components.Responses, of.Ref)
	}
	return of
}

func (s *specification) header(of *header) *header {
	if of.Ref != "" {
		return find(s.Components.Headers, of.Ref)
	}
	return of
}

// body returns the schema of a request's body; nil if there is none.
func (s *specification) body(of *operation) *schema {
	if of.RequestBody == nil {
		return nil
	}
	return of.RequestBody.Content.byName["application/json"].Schema
}

// success returns the answer of a success and its status.
func (s *specification) success(of *operation) (string, *response) {
	for _, status := range of.Responses.Names {
		if status < "300" {
			return status, s.response(of.Responses.byName[status])
		}
	}
	fail("%s has no success", of.OperationID)
	return "", nil
}

// answer returns the schema of a successful answer; nil if it is no JSON.
func (s *specification) answer(of *operation) *schema {
	_, r := s.success(of)
	return r.Content.byName["application/json"].Schema
}

// isOpen reports whether an operation needs no proof of who asks.
func (o *operation) isOpen() bool { return o.Security != nil && len(*o.Security) == 0 }

// each calls f for each operation, in the order of the document.
func (s *specification) each(f func(method, path string, o *operation)) {
	for _, path := range s.Paths.Names {
		item := s.Paths.byName[path]
		for _, method := range item.Names {
			f(strings.ToUpper(method), path, item.byName[method])
		}
	}
}
