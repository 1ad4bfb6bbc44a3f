package hsm

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// countedPIN counts how often a PIN is asked for: none is tried that was not.
func countedPIN(cfg *Config, asked *int) {
	pin := cfg.PIN
	cfg.PIN = func() (string, error) { *asked++; return pin() }
}

// serials lists the serials of all tokens with the development label.
func serials(t *testing.T, module string) (out []string) {
	t.Helper()
	lib := p11.New(module)
	if err := lib.Initialize(); err != nil {
		t.Fatal(err)
	}
	defer lib.Destroy()
	defer lib.Finalize()
	slots, err := lib.GetSlotList(true)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slots {
		if info, err := lib.GetTokenInfo(s); err == nil && info.Label == devLabel {
			out = append(out, info.SerialNumber)
		}
	}
	return out
}

// tokenDir is a folder of a development token.
func tokenDir(t *testing.T) string {
	t.Helper()
	if _, err := SoftHSM(); err != nil {
		t.Skipf("%v (Debian: apt-get install softhsm2)", err)
	}
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = t.TempDir()
	}
	dir, err := os.MkdirTemp(base, "keyreeve-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// Of several tokens with one label none is logged in to without a serial, and
// with one only the token that has it.
func TestTokensWithOneLabel(t *testing.T) {
	dir := tokenDir(t)
	cfg, err := DevToken(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := initToken(cfg.Module, dir); err != nil { // a second one; the PIN is its own now
		t.Fatal(err)
	}
	all := serials(t, cfg.Module)
	if len(all) != 2 {
		t.Fatalf("there are %d tokens", len(all))
	}
	asked := 0
	countedPIN(&cfg, &asked)
	tok, err := Open(bg, cfg)
	if core.CodeOf(err) != core.TokenUnavailable || asked > 0 {
		t.Errorf("two tokens of one label: %v, and the PIN was asked for %d times", err, asked)
	}
	if tok != nil {
		tok.Close(bg)
	}
	for _, want := range append(all, "hsm.serial") {
		if err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not name %s", err, want)
		}
	}
	cfg.Serial = "none"
	if _, err := Open(bg, cfg); core.CodeOf(err) != core.TokenUnavailable || asked > 0 {
		t.Errorf("a serial that no token has: %v, and the PIN was asked for %d times", err, asked)
	}
	opened := 0
	for _, cfg.Serial = range all {
		if tok, err := Open(bg, cfg); err == nil {
			opened++
			if got := tok.Health(bg).Serial; got != cfg.Serial {
				t.Errorf("serial %s was asked for and %s opened", cfg.Serial, got)
			}
			tok.Close(bg)
		}
	}
	if opened != 1 {
		t.Errorf("%d tokens opened by serial and the PIN of one", opened)
	}
}

// A reconnect tries no PIN on a token of the same label that took the place of
// the one before.
func TestReconnectKeepsTheToken(t *testing.T) {
	first, second := tokenDir(t), tokenDir(t)
	if _, err := DevToken(second); err != nil {
		t.Fatal(err)
	}
	cfg, err := DevToken(first)
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	countedPIN(&cfg, &asked)
	tok, err := Open(bg, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer tok.Close(bg)
	was := asked
	swap := func() {
		for _, p := range [][2]string{{first, first + ".old"}, {second, first}, {first + ".old", second}} {
			if err := os.Rename(filepath.Join(p[0], "tokens"), filepath.Join(p[1], "tokens")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := os.Mkdir(first+".old", 0o700); err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(first + ".old")
	swap()
	tok.broken.Store(true)
	err = tok.reconnect()
	if core.CodeOf(err) != core.TokenUnavailable || !strings.Contains(fmt.Sprint(err), "serial") || asked != was {
		t.Errorf("a token with the same label and another serial: %v, and the PIN was asked for %d times more", err, asked-was)
	}
	swap()
	tok.tried = tok.tried.Add(-reconnectEvery)
	if err := tok.reconnect(); err != nil || asked != was+1 {
		t.Errorf("the token of before: %v, and the PIN was asked for %d times more", err, asked-was)
	}
}

// A database and a token that do not belong together are refused, and the
// sentence names the installations of both.
func TestInstallationsBelongTogether(t *testing.T) {
	tok, _ := siteToken(t)
	mine, other := tok.installation, strings.Repeat("cd", 16)
	err := tok.OpenInstallation(bg, other)
	if core.CodeOf(err) != core.TokenUnavailable || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), mine) {
		t.Errorf("an installation that the token has not: %v", err)
	}
	for _, bad := range []string{"", "x", "../0", mine + "/0", strings.ToUpper(mine), mine[:31]} {
		if err := tok.OpenInstallation(bg, bad); err == nil {
			t.Errorf("installation %q was opened", bad)
		}
		if _, err := tok.MakeSystemSet(bg, bad); err == nil {
			t.Errorf("installation %q was made", bad)
		}
	}
	if _, err := tok.MakeSystemSet(bg, mine); core.CodeOf(err) != core.ObjectAlreadyExists {
		t.Errorf("a second system set of one installation: %v", err)
	}
	checks, err := tok.MakeSystemSet(bg, other)
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.ConfirmInstallation(bg, core.Installation{ID: mine, Checks: checks}); err == nil {
		t.Error("the check values of another installation were taken")
	}
	if err := tok.ConfirmInstallation(bg, core.Installation{ID: other, Checks: checks}); err == nil {
		t.Error("another installation than the one that is open was confirmed")
	}
	if err := tok.ConfirmInstallation(bg, core.Installation{ID: mine}); err == nil {
		t.Error("an installation without check values was confirmed")
	}
}
