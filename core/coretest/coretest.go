// Package coretest gives tests the facts of the OASIS standard in machine-readable form,
// to compare our tables with. The files are not part of the project: they were made
// independently, from the published texts. It also has doubles and places that tests of
// several packages need. Only tests use it.
package coretest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/csvtable"
)

// JSON reads a file of facts into v. It skips the test if there is no such file.
func JSON(t testing.TB, name string, v any) {
	t.Helper()
	if err := json.Unmarshal(readFacts(t, name), v); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

// CSV reads a table of facts. The keys of each row are the names in the first row.
func CSV(t testing.TB, name string) []map[string]string {
	t.Helper()
	rows, err := csvtable.Read(bytes.NewReader(readFacts(t, name)))
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return rows
}

// Version returns the version that the facts call "1.4", or 0 for an unknown one.
func Version(text string) core.Version {
	for _, v := range core.Versions {
		if v.String() == text {
			return v
		}
	}
	return 0
}

// Root is the folder of the module. A test runs in the folder of its package, so it is the
// nearest folder above that has a go.mod.
func Root() string {
	dir, err := os.Getwd()
	for err == nil {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			return dir
		}
		if dir == filepath.Dir(dir) {
			break
		}
		dir = filepath.Dir(dir)
	}
	panic("no folder above the working folder has a go.mod: run the tests by go test in the module")
}

func readFacts(t testing.TB, name string) []byte {
	t.Helper()
	shared := os.Getenv("KEYREEVE_SHARED")
	if shared == "" {
		shared = filepath.Join(Root(), "..", "shared")
	}
	b, err := os.ReadFile(filepath.Join(shared, "oasis", "facts", name))
	if err != nil {
		t.Skipf("the facts of the standard are not there: set KEYREEVE_SHARED to the folder that holds oasis/facts/%s", name)
	}
	return b
}

// Retired reports whether b has only the bytes that core.Retire leaves.
func Retired(b []byte) bool {
	left := byte(0)
	if core.Poison {
		left = core.PoisonByte
	}
	return !slices.ContainsFunc(b, func(c byte) bool { return c != left })
}

// HeapBytes returns how many bytes the heap has after a garbage collection.
func HeapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
