package custody_test

import (
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

// A database and a token that do not belong together are refused, and the
// sentence names the installations of both.
func TestInstallationsBelongTogether(t *testing.T) {
	tok := hsmtest.Open(t, hsmtest.Config(t))
	mine, other := hsmtest.Installation, strings.Repeat("cd", 16)
	err := tok.OpenInstallation(ctx, other)
	if core.CodeOf(err) != core.TokenUnavailable || !strings.Contains(err.Error(), other) || !strings.Contains(err.Error(), mine) {
		t.Errorf("an installation that the token has not: %v", err)
	}
	for _, bad := range []string{"", "x", "../0", mine + "/0", strings.ToUpper("abcdef" + mine[6:]), mine[:31]} {
		if err := tok.OpenInstallation(ctx, bad); err == nil {
			t.Errorf("installation %q was opened", bad)
		}
		if _, err := tok.MakeSystemSet(ctx, bad); err == nil {
			t.Errorf("installation %q was made", bad)
		}
	}
	if _, err := tok.MakeSystemSet(ctx, mine); core.CodeOf(err) != core.ObjectAlreadyExists {
		t.Errorf("a second system set of one installation: %v", err)
	}
	checks, err := tok.MakeSystemSet(ctx, other)
	if err != nil {
		t.Fatal(err)
	}
	if err := tok.ConfirmInstallation(ctx, core.Installation{ID: mine, Checks: checks}); err == nil {
		t.Error("the check values of another installation were taken")
	}
	if err := tok.ConfirmInstallation(ctx, core.Installation{ID: other, Checks: checks}); err == nil {
		t.Error("another installation than the one that is open was confirmed")
	}
	if err := tok.ConfirmInstallation(ctx, core.Installation{ID: mine}); err == nil {
		t.Error("an installation without check values was confirmed")
	}
}
