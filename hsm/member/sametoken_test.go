package member

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/devtoken"
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
		if info, err := lib.GetTokenInfo(s); err == nil && info.Label == devtoken.Label {
			out = append(out, info.SerialNumber)
		}
	}
	return out
}

// Of several tokens with one label none is logged in to without a serial, and
// with one only the token that has it.
func TestTokensWithOneLabel(t *testing.T) {
	dir := tokenDir(t)
	cfg, err := DevToken(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := devtoken.InitToken(cfg.Module, dir); err != nil { // a second one; the PIN is its own now
		t.Fatal(err)
	}
	all := serials(t, cfg.Module)
	if len(all) != 2 {
		t.Fatalf("there are %d tokens", len(all))
	}
	asked := 0
	countedPIN(&cfg, &asked)
	tok, err := Open(cfg)
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
	if _, err := Open(cfg); core.CodeOf(err) != core.TokenUnavailable || asked > 0 {
		t.Errorf("a serial that no token has: %v, and the PIN was asked for %d times", err, asked)
	}
	opened := 0
	for _, cfg.Serial = range all {
		if tok, err := Open(cfg); err == nil {
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
	tok, err := Open(cfg)
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
	tok.conn.broken.Store(true)
	err = tok.conn.reconnect()
	if core.CodeOf(err) != core.TokenUnavailable || !strings.Contains(fmt.Sprint(err), "serial") || asked != was {
		t.Errorf("a token with the same label and another serial: %v, and the PIN was asked for %d times more", err, asked-was)
	}
	swap()
	tok.conn.recovery.tried = tok.conn.recovery.tried.Add(-reconnectEvery)
	if err := tok.conn.reconnect(); err != nil || asked != was+1 {
		t.Errorf("the token of before: %v, and the PIN was asked for %d times more", err, asked-was)
	}
}
