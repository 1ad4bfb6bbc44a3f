package custody

import (
	"context"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// Custody keeps and uses keys in an HSM. It implements [core.HSM].
type Custody struct {
	*Installation
	*clearText

	options  Options
	member   hsm.Member
	ivs      ivSource
	oracle   pkcs1Oracle
	refusals []string
	stop     chan struct{} // ends the expiry of copies
}

// notEnforced begins the refusals that rule out class N and X in mode wrapped.
const notEnforced = "classes N and X are refused in mode wrapped: "

// refuseClass refuses a class whose templates the self-test found not enforced.
func (c *Custody) refuseClass(s core.KeySpec) error {
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
func (c *Custody) Random(ctx context.Context, dst []byte) error { return c.member.Random(ctx, dst) }

// Seed adds to the HSM's random pool.
func (c *Custody) Seed(ctx context.Context, seed []byte) error { return c.member.Seed(ctx, seed) }

// Forget drops what is kept of an object outside its row.
func (c *Custody) Forget(tenant, id string) {
	c.copies.drop(tenant, id)
	c.member.Forget(tenant, id)
}

// Health reports the state of the HSM by real operations.
func (c *Custody) Health(ctx context.Context) core.HSMHealth {
	h := c.member.Health(ctx)
	h.Refusals = append(append([]string{}, c.refusals...), h.Refusals...)
	h.CachedCopies = c.copies.count()
	return h
}

// Close closes the HSM and zeroes the copies. If calls hang in the HSM, nothing is
// closed: the process ends anyway.
func (c *Custody) Close(ctx context.Context) error {
	if err := c.member.Close(ctx); err != nil {
		return err
	}
	select {
	case <-c.stop:
	default:
		close(c.stop)
		c.copies.close()
	}
	return nil
}

// expireEvery is how often copies that nobody asks for are ended.
const expireEvery = 5 * time.Second

// expireCopies ends what is too old, until the custody is closed.
func (c *Custody) expireCopies() {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-c.stop:
			return
		case now := <-tick.C:
			c.copies.expire(now)
		}
	}
}
