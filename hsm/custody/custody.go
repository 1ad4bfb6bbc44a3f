package custody

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// Custody keeps and uses keys in an HSM. It implements [core.HSM].
type Custody struct {
	*keyBase
	*keyMaker
	*keyUser
	stop context.CancelFunc // ends the expiry of copies
}

// Forget drops the copy and the handle of an object.
func (c *Custody) Forget(tenant, id string) {
	c.copies.forget(tenant, id)
	c.member.Forget(tenant, id)
}

// ForgetTenant drops the copies and the handles of a tenant.
func (c *Custody) ForgetTenant(tenant string) {
	c.copies.forgetTenant(tenant)
	c.member.ForgetTenant(tenant)
}

// Health reports the state of the HSM by real operations.
func (c *Custody) Health(ctx context.Context) core.HSMHealth {
	h := c.member.Health(ctx)
	h.Refusals = append(append([]string{}, c.refusals...), h.Refusals...)
	h.CachedCopies = c.copies.length()
	return h
}

// Close closes the HSM and zeroes the copies. If calls hang in the HSM, nothing is
// closed: the process ends anyway.
func (c *Custody) Close(ctx context.Context) error {
	if err := c.member.Close(ctx); err != nil {
		return err
	}
	c.stop()
	c.copies.unmapArena()
	return nil
}
