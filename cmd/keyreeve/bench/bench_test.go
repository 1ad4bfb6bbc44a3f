package bench_test

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// bench runs the command, which ends with the test.
func bench(t *testing.T, temp string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, servertest.Binary(t), append([]string{"bench"}, args...)...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// Everything that is measured prints its line with what it is compared with. The figures say
// nothing: a measurement takes 5 ms.
func TestEveryMeasurement(t *testing.T) {
	t.Parallel()
	servertest.NeedToken(t)
	temp := coretest.MemoryDir(t)
	out, err := bench(t, temp, "--self", "--idle", "4", "--objects", "2,4", "--connections", "2", "--duration", "5ms")
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	const number = `[0-9.]+`
	ofSide := func(name string) string {
		return `  ` + number + ` of ` + name + ` \(` + number + ` to ` + number + `\)`
	}
	rest := func(name, kmip string) string {
		return name + ` .*` + ofSide("HTTP L3") + ofSide("HTTP L1") + ofSide("KMIP "+kmip) + `\n`
	}
	for _, line := range []string{
		`idle connection .*KiB each\n`, `one sync .*\n`, `L1 .*\n`, `L3 .*\n`, `insert .*\n`,
		`get .* of L1 .* of L3\n`, `encrypt .* of L3\n`, `create .* of a bare insert's .* of L3\n`, `sign .* of L3\n`, `discover .* of L3\n`,
		rest("rest-read", "get attributes"), rest("rest-encrypt", "encrypt"), rest("rest-decrypt", "decrypt"), rest("rest-create", "create active"), rest("rest-data-keys", "random, encrypt"),
		`get, 4 policies .*` + ofSide("a usual get") + `\n`, `get by password .*` + ofSide("a usual get") + `\n`,
		`L2 raw PKCS#11 .*\n`, `get, not cached .* of L2\n`, `locate in 2 .*\n`, `locate in 4 .* of that in 2 .*\n`,
	} {
		if !regexp.MustCompile(`(?m)^` + line).MatchString(out) {
			t.Errorf("no line is as %q", line)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("%v, %v are left", err, left)
	}
}

// What cannot be measured is refused before minutes are spent.
func TestFlagsOfBench(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ args, says string }{
		{"--self -o rest-write", "--operation rest-write is unknown"},
		{"--self -o get,decrypt", "--operation decrypt is unknown"},
		{"--self -c 0", "numbers from 1"},
		{"", "bench needs --self, or --dir"},
	} {
		if out, err := bench(t, t.TempDir(), strings.Fields(c.args)...); err == nil || !strings.Contains(out, c.says) {
			t.Errorf("%s: %v, %s; want %q", c.args, err, out, c.says)
		}
	}
}
