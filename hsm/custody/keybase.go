package custody

import (
	"context"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// keyBase is the common part of making keys and using keys.
type keyBase struct {
	*Installation
	*clearText
	options  Options
	member   hsm.Member
	refusals []string
}

// notEnforced is the start of the refusals that exclude classes N and X in mode wrapped.
const notEnforced = "classes N and X are refused in mode wrapped: "

// refuseClass refuses a class if the self-test found that the HSM does not enforce its
// templates.
func (c *keyBase) refuseClass(s core.KeySpec) error {
	if s.Class == core.ClassC || s.Mode != core.ModeWrapped {
		return nil
	}
	for _, r := range c.refusals {
		if why, ok := strings.CutPrefix(r, notEnforced); ok {
			return core.Errorf(core.UnsupportedByHSM, "this HSM does not enforce the promises of class %s (%s); keep such keys in it (x-keyreeve-custody = resident)", s.Class, why)
		}
	}
	return nil
}

// Random fills dst with random bytes of the HSM. Keys may be made of them.
func (c *keyBase) Random(ctx context.Context, dst []byte) error { return c.member.Random(ctx, dst) }

// Seed adds to the random pool of the HSM.
func (c *keyBase) Seed(ctx context.Context, seed []byte) error { return c.member.Seed(ctx, seed) }
