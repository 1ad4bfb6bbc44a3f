package uses

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Check fails if the caller may not use an object as the request describes (KMIP 1.4
// §4.10, 2.1 §6.1.7).
func (v *Verbs) Check(ctx context.Context, c *core.Caller, in *core.CheckInput) (core.CheckOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionCheck, in, checkUse)
}

func checkUse(k *engine.Call, in *core.CheckInput) (out core.CheckOutput, err error) {
	o, err := k.FindObject(in.ID)
	if err != nil {
		return out, err
	}
	if o.Type == core.ObjectTypeTemplate {
		return out, core.Errorf(core.IllegalOperation, "object %s is a Template, which Check does not apply to", o.ID)
	}
	if o.StateAt(k.Now).Gone() {
		return out, core.Errorf(core.ObjectDestroyed, "object %s is destroyed", o.ID)
	}
	if in.Mask != nil {
		if err := rules.CheckMask(o, *in.Mask); err != nil {
			return out, err
		}
	}
	if in.UsageLimitsCount != nil {
		if v, ok := o.Attributes.Get(core.TagUsageLimits); ok && core.UsageLimitsOf(v).Count < *in.UsageLimitsCount {
			return out, core.Errorf(core.UsageLimitExceeded, "the Usage Limits of object %s leave less than %d", o.ID, *in.UsageLimitsCount)
		}
	}
	if in.LeaseTime != nil && int64(*in.LeaseTime) > o.Attributes.Num(core.TagLeaseTime) {
		return out, core.Errorf(core.PermissionDenied, "a lease of %d seconds is longer than object %s allows", *in.LeaseTime, o.ID)
	}
	return core.CheckOutput{ID: o.ID}, nil
}
