package storetest

import (
	"crypto/sha256"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// Files describes each file of a folder: its mode, owner, size and content, and with
// times also its time of modification.
func Files(t *testing.T, dir string, times bool) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		info, serr := os.Lstat(path)
		if err != nil || serr != nil {
			return fmt.Errorf("%v, %v", err, serr)
		}
		var sum [32]byte
		if info.Mode().IsRegular() {
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			sum = sha256.Sum256(b)
		}
		owner := info.Sys().(*syscall.Stat_t)
		out[path] = fmt.Sprintf("%v %d:%d %d %x", info.Mode(), owner.Uid, owner.Gid, info.Size(), sum)
		if times {
			out[path] += fmt.Sprint(" ", info.ModTime().UnixNano())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
