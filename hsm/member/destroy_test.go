package member

import (
	"os"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// newResidents makes a site with resident keys of the given ids.
func newResidents(t *testing.T, ids ...string) (*testSite, map[string]core.TokenObject) {
	t.Helper()
	s, _ := newTenantSite(t)
	made := map[string]core.TokenObject{}
	for i, id := range ids {
		k := core.Key{Tenant: "default", ID: id, Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Mask: core.MaskEncrypt}
		token := append([]byte("resident-object"), byte(i))
		if _, _, err := s.Generate(bg, k, core.KeySpec{Kind: core.KeyAES, Class: core.ClassN, Mode: core.ModeResident, Bits: 256, Format: core.KeyFormatTypeRaw, CKAID: token}); err != nil {
			t.Fatal(err)
		}
		made[id] = core.TokenObject{Tenant: "default", ID: id, CKAID: token}
	}
	return s, made
}

// objectFiles counts the objects that lie on the disk of SoftHSM2, whatever it
// says itself.
func objectFiles(t *testing.T) int {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(filepath.Dir(os.Getenv("SOFTHSM2_CONF")), "tokens", "*", "*.object"))
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

// readOnly runs f while nothing can be removed from the token's folder. Root
// would ignore permissions, so the thread gives its powers over files away.
func readOnly(t *testing.T, f func()) {
	t.Helper()
	conf := os.Getenv("SOFTHSM2_CONF")
	folders, _ := filepath.Glob(filepath.Join(filepath.Dir(conf), "tokens", "*"))
	if len(folders) != 1 {
		t.Fatalf("%d folders of tokens", len(folders))
	}
	const nobody = 65534
	if os.Getuid() == 0 {
		files, _ := filepath.Glob(filepath.Join(folders[0], "*"))
		own, _ := filepath.Glob(filepath.Join(filepath.Dir(conf), "*"))
		for _, path := range append(files, own...) {
			if err := os.Chown(path, nobody, nobody); err != nil {
				t.Fatal(err)
			}
		}
		for _, dir := range []string{filepath.Dir(conf), filepath.Dir(folders[0]), folders[0]} {
			if err := os.Chmod(dir, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := syscall.Setfsuid(nobody); err != nil {
			t.Fatal(err)
		}
		defer syscall.Setfsuid(0)
		f()
		return
	}
	if err := os.Chmod(folders[0], 0o555); err != nil {
		t.Fatal(err)
	}
	defer os.Chmod(folders[0], 0o755)
	f()
}

// SoftHSM2 drops an object from its memory when it cannot remove the file. The
// object is then not taken for gone: neither at once, nor after the library was
// started again and found it, but only when it is.
func TestDestroyOnReadOnlyFolder(t *testing.T) {
	site, made := newResidents(t, "victim", "other")
	before := objectFiles(t)
	readOnly(t, func() {
		for try := range 4 {
			if err := site.DestroyObject(bg, made["victim"]); core.CodeOf(err) != core.TokenUnavailable || err == nil {
				t.Errorf("try %d: the folder is read-only and the answer is %v", try, err)
			}
		}
	})
	if n := objectFiles(t); n != before {
		t.Fatalf("%d objects are on the disk, want %d: the folder was not read-only, so the test shows nothing", n, before)
	}
	if starts := site.module.conn.starts.Load(); starts != 1 {
		t.Errorf("the library was started %d times to look, want once within a minute", starts)
	}
	site.module.doubts.next = time.Time{} // a minute later
	if err := site.DestroyObject(bg, made["victim"]); err != nil {
		t.Errorf("when the folder can be written: %v", err)
	}
	if n := objectFiles(t); n != before-1 {
		t.Errorf("%d objects are on the disk, want %d", n, before-1)
	}
	if err := site.DestroyObject(bg, made["victim"]); err != nil {
		t.Errorf("once more: %v", err)
	}
	left, err := site.Objects(bg)
	if err != nil || len(left) != 1 || left[0].ID != "other" {
		t.Errorf("left are %+v, %v", left, err)
	}
}
