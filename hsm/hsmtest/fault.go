package hsmtest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/hsm/member"
)

// Faults is a PKCS#11 module in front of SoftHSM2 that answers errors, or
// answers late, on demand.
type Faults struct {
	Module string // its path
	t      testing.TB
	rules  string
}

// FaultModule builds the module for this process and the processes that it starts. It
// skips the test if the module cannot be built. The source, testdata/fault.c, says what
// the module can do.
func FaultModule(t testing.TB) *Faults {
	t.Helper()
	source := filepath.Join(coretest.Root(), "hsm", "hsmtest", "testdata", "fault.c")
	flags, err := exec.Command("pkg-config", "--cflags", "p11-kit-1").Output()
	if err != nil {
		t.Skip("the fault module needs PKCS#11 headers (Debian: apt-get install pkg-config libp11-kit-dev)")
	}
	real, err := member.SoftHSM()
	if err != nil {
		t.Skipf("%v (Debian: apt-get install softhsm2)", err)
	}
	dir := Dir(t)
	f := &Faults{Module: filepath.Join(dir, "fault.so"), t: t, rules: filepath.Join(dir, "rules")}
	args := append([]string{"-O2", "-shared", "-fPIC", "-o", f.Module, source}, strings.Fields(string(flags))...)
	if out, err := exec.Command("gcc", args...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("FAULT_MODULE", real)
	t.Setenv("FAULT_CTL", f.rules)
	return f
}

// Logins counts the calls of C_Login since the module was built.
func (f *Faults) Logins() int {
	b, _ := os.ReadFile(f.rules + ".logins")
	return strings.Count(string(b), "\n")
}

// Rule makes functions answer a code after a delay in milliseconds, such as
// "C_Sign 0x30 0". "*" is every function; "C_Sign+" fails after the function had its
// effect. Rule without lines removes all faults.
func (f *Faults) Rule(lines ...string) {
	f.t.Helper()
	if err := os.WriteFile(f.rules+".new", []byte(strings.Join(append(lines, ""), "\n")), 0o600); err != nil {
		f.t.Fatal(err)
	}
	if err := os.Rename(f.rules+".new", f.rules); err != nil {
		f.t.Fatal(err)
	}
}
