package format

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/core"
)

const (
	maxDepth = 8       // of objects and lists in each other; the schema needs 7
	maxNodes = 100_000 // values in a document
	maxItems = 1000    // of one list or object
)

// node is one value of a JSON text, with its path. Only the fields of its kind are set.
type node struct {
	path    string // "statements[2].effect"
	kind    nodeKind
	text    string // of a string or a number
	flag    bool
	members map[string]node
	items   []node
}

type nodeKind uint8

const (
	missingNode nodeKind = iota // the member is not there
	nullNode
	textNode
	numberNode
	flagNode
	listNode
	objectNode
)

var kindNames = [...]string{"missing", "null", "a string", "a number", "true or false", "a list", "an object"}

// parseTree reads a JSON text. It refuses doubled members, deep nesting, trailing data,
// and texts that are not UTF-8.
func parseTree(text []byte) (node, error) {
	if len(text) > MaxBytes {
		return node{}, core.Errorf(core.InvalidField, "the policy has %d bytes; at most %d", len(text), MaxBytes)
	}
	if !utf8.Valid(text) {
		return node{}, core.Errorf(core.InvalidField, "the policy is not UTF-8")
	}
	var whole json.RawMessage
	if err := json.Unmarshal(text, &whole); err != nil {
		return node{}, syntaxError(text, err)
	}
	r := treeReader{Decoder: json.NewDecoder(bytes.NewReader(text))}
	r.UseNumber()
	return r.readNode("", 0)
}

// treeReader makes the nodes of a text and counts them.
type treeReader struct {
	*json.Decoder
	nodes int
}

func syntaxError(text []byte, err error) error {
	line := 1
	if e, ok := errors.AsType[*json.SyntaxError](err); ok {
		line += bytes.Count(text[:min(int(e.Offset), len(text))], []byte("\n"))
	}
	return core.Errorf(core.InvalidField, "line %d: the policy is not one JSON object: %s", line, core.ClientText(err.Error()))
}

func (r *treeReader) readNode(path string, depth int) (node, error) {
	if r.nodes++; depth > maxDepth || r.nodes > maxNodes {
		return node{}, faultAt(path, "the policy is nested too deeply or has too many values; at most %d levels and %d values", maxDepth, maxNodes)
	}
	token, err := r.Token()
	if err != nil {
		return node{}, faultAt(path, "it cannot be read: %s", core.ClientText(err.Error()))
	}
	switch t := token.(type) {
	case json.Delim:
		if t == '{' {
			return r.readMembers(path, depth)
		}
		return r.readItems(path, depth)
	case string:
		return node{path: path, kind: textNode, text: t}, nil
	case json.Number:
		return node{path: path, kind: numberNode, text: t.String()}, nil
	case bool:
		return node{path: path, kind: flagNode, flag: t}, nil
	}
	return node{path: path, kind: nullNode}, nil
}

func (r *treeReader) readMembers(path string, depth int) (node, error) {
	n := node{path: path, kind: objectNode, members: map[string]node{}}
	for r.More() {
		token, err := r.Token()
		name, ok := token.(string)
		if err != nil || !ok {
			return node{}, faultAt(path, "it cannot be read")
		}
		below := joinPath(path, name)
		if _, doubled := n.members[name]; doubled {
			return node{}, faultAt(below, "the member is there twice")
		}
		if len(n.members) == maxItems {
			return node{}, faultAt(path, "it has more than %d members", maxItems)
		}
		if n.members[name], err = r.readNode(below, depth+1); err != nil {
			return node{}, err
		}
	}
	_, err := r.Token() // the closing bracket
	return n, err
}

func (r *treeReader) readItems(path string, depth int) (node, error) {
	n := node{path: path, kind: listNode}
	for r.More() {
		if len(n.items) == maxItems {
			return node{}, faultAt(path, "it has more than %d items", maxItems)
		}
		item, err := r.readNode(fmt.Sprintf("%s[%d]", path, len(n.items)), depth+1)
		if err != nil {
			return node{}, err
		}
		n.items = append(n.items, item)
	}
	_, err := r.Token() // the closing bracket
	return n, err
}

func joinPath(above, name string) string {
	return strings.TrimPrefix(above+"."+core.ClientText(name), ".")
}

// faultAt returns the error about one place of the document.
func faultAt(path, format string, args ...any) error {
	if path == "" {
		path = "policy"
	}
	return core.Errorf(core.InvalidField, "%s: %s", path, fmt.Sprintf(format, args...))
}
