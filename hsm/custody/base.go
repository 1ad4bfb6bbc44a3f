package custody

import (
	"context"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// keyBase is what making and using keys have in common.
type keyBase struct {
	*Installation
	*clearText
	options  Options
	member   hsm.Member
	refusals []string
}

// notEnforced begins the refusals that rule out class N and X in mode wrapped.
const notEnforced = "classes N and X are refused in mode wrapped: "

// refuseClass refuses a class whose templates the self-test found not enforced.
func (c *keyBase) refuseClass(s core.KeySpec) error {
	if s.Class == core.ClassC || s.Mode != core.ModeWrapped {
		return nil
	}
	for _, r := range c.refusals {
		if why, ok := strings.CutPrefix(r, notEnforced); ok {
			return core.Errorf(core.UnsupportedByHSM, "this HSM does not enforce what class %s promises (%s), so such keys can only be made resident (x-keyreeve-custody = resident)", s.Class, why)
		}
	}
	return nil
}

// Random fills dst with the HSM's random bytes, of which a key may be made.
func (c *keyBase) Random(ctx context.Context, dst []byte) error { return c.member.Random(ctx, dst) }

// Seed adds to the HSM's random pool.
func (c *keyBase) Seed(ctx context.Context, seed []byte) error { return c.member.Seed(ctx, seed) }
