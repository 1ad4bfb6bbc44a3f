package client

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"text/tabwriter"
	"unicode"

	yaml "go.yaml.in/yaml/v4"
	"golang.org/x/term"

	"github.com/keyreeve/keyreeve/core/jsontext"
)

// show prints an answer: its text as JSON or YAML, or as table makes it readable.
func (s *server) show(answer []byte, table func() (string, error)) error {
	text, err := s.document(answer)
	if text == "" && err == nil {
		text, err = table()
	}
	if err == nil {
		_, err = io.WriteString(os.Stdout, text)
	}
	return err
}

// document returns an answer as JSON or YAML, or "" if people shall read it.
func (s *server) document(answer []byte) (string, error) {
	switch s.form {
	case "json":
		var line bytes.Buffer
		if err := json.Compact(&line, answer); err != nil {
			return "", err
		}
		return jsontext.ForTerminal(line.String()) + "\n", nil
	case "yaml":
		n, err := ordered(answer)
		if err != nil {
			return "", err
		}
		b, err := yaml.Dump(n)
		var out strings.Builder
		for line := range strings.Lines(string(b)) {
			out.WriteString(jsontext.ForTerminal(strings.TrimSuffix(line, "\n")) + "\n")
		}
		return out.String(), err
	}
	return "", nil
}

// Texts that need no quotation marks in YAML, and those of them that old readers take for
// something else than a text.
var (
	plainYAML = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9._/-]*( [A-Za-z0-9._/-]+)*$`)
	boolYAML  = regexp.MustCompile(`(?i)^(y|yes|n|no|on|off|true|false|null)$`)
)

// ordered reads JSON and keeps the order of its members.
func ordered(text []byte) (*yaml.Node, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	return nextNode(d)
}

// nextNode reads the next value.
func nextNode(d *json.Decoder) (*yaml.Node, error) {
	t, err := d.Token()
	if err != nil {
		return nil, err
	}
	switch t := t.(type) {
	case json.Delim:
		n := &yaml.Node{Kind: yaml.MappingNode, Tag: "!!map"}
		if t == '[' {
			n.Kind, n.Tag = yaml.SequenceNode, "!!seq"
		}
		for d.More() {
			child, err := nextNode(d) // of an object, names and values in turn
			if err != nil {
				return nil, err
			}
			n.Content = append(n.Content, child)
		}
		_, err := d.Token()
		return n, err
	case string:
		n := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!str", Value: t}
		if !plainYAML.MatchString(t) || boolYAML.MatchString(t) {
			n.Style = yaml.DoubleQuotedStyle // in which escapes mean what they mean in JSON
		}
		return n, nil
	case json.Number:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!int", Value: t.String()}, nil
	case bool:
		return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!bool", Value: fmt.Sprint(t)}, nil
	}
	return &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Value: "null"}, nil
}

// members returns a table with a row for each member of an object.
func members(answer []byte) (string, error) {
	n, err := ordered(answer)
	if err != nil {
		return "", err
	}
	var rows [][]string
	for i := 0; i+1 < len(n.Content); i += 2 {
		rows = append(rows, []string{n.Content[i].Value, plainText(n.Content[i+1])})
	}
	return table(rows), nil
}

// plainText returns a value as people read it.
func plainText(n *yaml.Node) string {
	var parts []string
	for i, child := range n.Content {
		switch {
		case n.Kind == yaml.SequenceNode:
			parts = append(parts, plainText(child))
		case i%2 == 1:
			parts = append(parts, n.Content[i-1].Value+"="+plainText(child))
		}
	}
	return n.Value + strings.Join(parts, ", ")
}

// table lays out rows in columns. It makes what is in them harmless to a terminal.
func table(rows [][]string) string {
	var out strings.Builder
	w := tabwriter.NewWriter(&out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(w, strings.Join(harmless(row), "\t"))
	}
	w.Flush()
	var lines strings.Builder
	for line := range strings.Lines(out.String()) {
		lines.WriteString(strings.TrimRight(line, " \n") + "\n")
	}
	return lines.String()
}

// harmless replaces what a terminal could act on by spaces.
func harmless(texts []string) []string {
	out := make([]string, len(texts))
	for i, text := range texts {
		out[i] = strings.Map(func(r rune) rune {
			if !unicode.IsPrint(r) {
				return ' '
			}
			return r
		}, text)
	}
	return out
}

// bold makes the first line of a table bold, on a terminal that shall have colors
// (https://no-color.org).
func bold(text string) string {
	first, rest, ok := strings.Cut(text, "\n")
	if !ok || os.Getenv("NO_COLOR") != "" || os.Getenv("TERM") == "dumb" || !term.IsTerminal(int(os.Stdout.Fd())) {
		return text
	}
	return "\x1b[1m" + first + "\x1b[0m\n" + rest
}

// errUnprintable is why bytes are not written to a terminal.
var errUnprintable = errors.New("the result is no text that a terminal can show; write it into a file with --out, or into a pipe")

// write writes a result into a file, or to standard output for "" and "-".
func write(path string, content []byte) error {
	if path == "" || path == "-" {
		if term.IsTerminal(int(os.Stdout.Fd())) && strings.ContainsFunc(string(content), func(r rune) bool {
			return r == unicode.ReplacementChar || !unicode.IsPrint(r) && !strings.ContainsRune("\n\t", r)
		}) {
			return errUnprintable
		}
		_, err := os.Stdout.Write(content)
		return err
	}
	return writeFile(path, func(w io.Writer) error {
		_, err := w.Write(content)
		return err
	})
}
