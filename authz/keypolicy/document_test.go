package keypolicy

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

const manual = "../../docs/KEY-POLICIES.md"

// The policies in the document are accepted and pass their tests. Its words are the table
// in core, and it names each field of the conditions.
func TestDocumentOfKeyPolicies(t *testing.T) {
	raw, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	examples := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(examples) < 2 {
		t.Errorf("%s has %d examples, want 2 or more", manual, len(examples))
	}
	for i, e := range examples {
		p, _, err := Compile([]byte(e[1]), Options{Name: map[bool]string{true: "seed"}[i == 0], Version: 1})
		if err == nil {
			err = newMatcher(t, MatcherOptions{}).RunTests(t.Context(), p)
		}
		if err != nil {
			t.Errorf("example %d: %v", i+1, err)
		}
	}
	var rows []string
	for _, w := range core.ActionWords() {
		var names []string
		for _, a := range w.Actions {
			names = append(names, a.String())
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s |", w.Word, strings.Join(names, ", ")))
	}
	for _, row := range rows {
		if !strings.Contains(text, row+"\n") {
			t.Errorf("%s lacks the row\n%s", manual, row)
		}
	}
	_, words, _ := strings.Cut(text, "| word | actions |\n|---|---|\n")
	words, _, _ = strings.Cut(words, "\n\n")
	for _, row := range strings.Split(words, "\n") {
		if !slices.Contains(rows, row) {
			t.Errorf("%s has a row that core does not have:\n%s", manual, row)
		}
	}
	for _, f := range format.FixedFields() {
		if name := f[strings.Index(f, ".")+1:]; !strings.Contains(text, "`"+name+"`") {
			t.Errorf("%s does not name %s", manual, f)
		}
	}
}
