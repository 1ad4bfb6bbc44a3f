package store_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// Close closes all connections. The last one copies the WAL into the database and removes
// it, so that a copy of the file is complete.
func TestCloseLeavesNoWAL(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := withOneObject(t, "sqlite:"+path).Close(); err != nil {
		t.Fatal(err)
	}
	for _, end := range []string{"-wal", "-shm"} {
		if _, err := os.Stat(path + end); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is still there after Close: %v", end, err)
		}
	}
}
