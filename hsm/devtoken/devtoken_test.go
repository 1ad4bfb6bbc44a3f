package devtoken

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core/coretest"
)

// A process that was killed while it made the token of a development folder leaves
// one that nobody has used. The next process makes it again, and there is one token.
// A token whose PIN was lost stays as it is.
func TestTokenIsMadeOnce(t *testing.T) {
	if _, err := SoftHSM(); err != nil {
		t.Skipf("%v (Debian: apt-get install softhsm2)", err)
	}
	dir := coretest.MemoryDir(t)
	if _, err := Make(dir); err != nil {
		t.Fatal(err)
	}
	pin, tokens := filepath.Join(dir, "pin"), filepath.Join(dir, "tokens")
	first := onlyToken(t, tokens)
	if _, err := Make(dir); err != nil || onlyToken(t, tokens) != first {
		t.Fatalf("a token that was complete was made again: %v", err)
	}

	if err := os.Rename(pin, filepath.Join(dir, newPIN)); err != nil { // as if killed just before this was undone
		t.Fatal(err)
	}
	if _, err := Make(dir); err != nil {
		t.Fatalf("after a kill: %v", err)
	}
	second := onlyToken(t, tokens)
	if second == first {
		t.Error("a token that was not completed is used")
	}

	if err := os.Remove(pin); err != nil {
		t.Fatal(err)
	}
	if _, err := Make(dir); err == nil || !strings.Contains(err.Error(), pin) {
		t.Errorf("without the PIN's file: %v; want an error that names it", err)
	}
	if onlyToken(t, tokens) != second {
		t.Error("a token whose PIN was lost did not stay")
	}
}

// onlyToken returns the name of the one token of a folder.
func onlyToken(t *testing.T, tokens string) string {
	t.Helper()
	all, err := os.ReadDir(tokens)
	if err != nil || len(all) != 1 {
		t.Fatalf("%d tokens, %v; want 1", len(all), err)
	}
	return all[0].Name()
}
