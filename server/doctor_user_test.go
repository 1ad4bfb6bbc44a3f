package server

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The doctor of another user does not load the library of the token.
func TestDoctorIsTheServersUser(t *testing.T) {
	dir := t.TempDir()
	var c Config
	c.Dir, c.Store.URL = dir, "sqlite:"+filepath.Join(dir, "db")
	if err := os.WriteFile(filepath.Join(dir, "db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	own := os.Geteuid()
	if err := c.anothersFiles(own); err != nil {
		t.Errorf("the server's user: %v", err)
	}
	for _, dir := range []string{dir, "/none"} { // by the folder, and by the database alone
		c.Dir = dir
		if err := c.anothersFiles(own + 1); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("as user %d", own)) {
			t.Errorf("another user: %v; want a refusal that says whose they are", err)
		}
	}
}
