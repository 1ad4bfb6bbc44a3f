package attributes

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// Versions lists versions of the key that a reference names, the newest first. The named one and
// each that is listed are decided as Get Attributes. A version that the caller may not read is left out.
func (v *Verbs) Versions(ctx context.Context, c *core.Caller, in *operation.VersionsInput) ([]operation.LocatedObject, error) {
	return engine.Run(v.engine, ctx, c, core.ActionGetAttributes, in, v.listVersions)
}

func (v *Verbs) listVersions(k *engine.Call, in *operation.VersionsInput) (out []operation.LocatedObject, err error) {
	named, err := k.FindObject(in.Key)
	if err != nil {
		return nil, err
	}
	head, err := k.LoadObject(named.Family())
	if err != nil {
		return nil, err
	}
	beyond := int64(0)
	if in.After != "" {
		last, err := k.LoadObject(in.After)
		if core.CodeOf(err) == core.ItemNotFound || err == nil && last.Family() != head.ID {
			err = core.Errorf(core.InvalidField, "the list cannot go on here: its last object is no version of this key; begin again")
		}
		if err != nil || last.ID == head.ID {
			return nil, err
		}
		beyond = last.Seq
	}
	for more := true; more && len(out) < in.Limit; {
		var page []*core.ManagedObject
		if page, beyond, err = v.pageOfVersions(k, head, beyond); err != nil {
			return nil, err
		}
		if more = beyond != 0; !more {
			page = append(page, head)
		}
		if out, err = addReadable(k, out, page, in.Limit); err != nil {
			return nil, err
		}
	}
	k.Record.Detail = countOfObjects(len(out))
	return out, nil
}

// pageOfVersions reads some versions after the first one, the newest first. It returns where the
// next page begins; 0: there are no more. It waits for its turn and a place, as searches do.
func (v *Verbs) pageOfVersions(k *engine.Call, head *core.ManagedObject, beyond int64) ([]*core.ManagedObject, int64, error) {
	if err := fair.TurnOf(k.Ctx).Yield(k.Ctx); err != nil {
		return nil, 0, err
	}
	place, err := v.pages.Acquire(k.Ctx)
	if err != nil {
		return nil, 0, err
	}
	defer place.Release()
	f := core.Filter{WholeTenant: true, Attributes: core.Attributes{core.FamilyAttribute.With(core.Text(head.ID))}}
	page, err := k.Ports.Store.Candidates(k.Ctx, head.Tenant, f, beyond, core.CandidatePage)
	if err != nil {
		return nil, 0, err
	}
	next := int64(0)
	if len(page) == core.CandidatePage {
		next = page[len(page)-1].Seq
	}
	return slices.DeleteFunc(page, func(o *core.ManagedObject) bool { return !f.Matches(o) }), next, nil
}

// addReadable adds those objects of a page to out whose attributes the caller may read, until
// there are as many as limit.
func addReadable(k *engine.Call, out []operation.LocatedObject, page []*core.ManagedObject, limit int) ([]operation.LocatedObject, error) {
	for _, o := range page {
		if len(out) == limit {
			break
		}
		may, err := k.Permits(core.ActionGetAttributes, o, core.Asked{})
		if err != nil {
			return nil, err
		}
		if !may {
			continue
		}
		if err := k.ReserveMemory(engine.AnswerBytes(o)); err != nil {
			return nil, err
		}
		shown := operation.LocatedObject{ID: o.ID, Owner: o.Owner, Group: o.Group}
		if shown.Attributes, err = k.ShownAttributes(o); err != nil {
			return nil, err
		}
		out = append(out, shown)
	}
	return out, nil
}
