package keypolicy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Each recipe of docs/authorization.md is a policy that passes its own tests, and it has
// tests.
func TestRecipes(t *testing.T) {
	files, err := filepath.Glob("../../docs/recipes/*.json")
	if err != nil || len(files) < 8 {
		t.Fatalf("docs/recipes has %d files, %v; want 8", len(files), err)
	}
	list, err := os.ReadFile("../../docs/authorization.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		p, _, err := Compile(text, Options{Version: 1})
		if err == nil {
			err = newMatcher(t, MatcherOptions{}).RunTests(t.Context(), p)
		}
		switch {
		case err != nil:
			t.Errorf("%s: %v", file, err)
		case len(p.document.Tests) < 3:
			t.Errorf("%s has %d tests, want at least 3", file, len(p.document.Tests))
		case !strings.Contains(string(list), "(recipes/"+filepath.Base(file)+")"):
			t.Errorf("docs/authorization.md does not list %s", file)
		}
	}
}
