package admin

import (
	"context"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
	"github.com/keyreeve/keyreeve/engine/families"
)

// AttachInput names a key policy and what it is attached to: an object, or a holder such
// as "user:alice", "role:ops", "group:tapes" or "keyGroup:payroll".
type AttachInput struct {
	Tenant string // "": the caller's
	Policy string
	Object string // as [findKey] reads it; the policy concerns the whole family. "": Holder is given
	Holder string
}

// AttachPolicy attaches a key policy and returns all that are attached then. It succeeds
// if it is attached already.
func (v *Verbs) AttachPolicy(ctx context.Context, c *core.Caller, in AttachInput) ([]string, error) {
	return v.changeAttachment(ctx, c, core.ActionAttachPolicy, in, v.attachObject, v.attachHolder)
}

// DetachPolicy detaches a key policy and returns those that are still attached. It
// succeeds if it is not attached.
func (v *Verbs) DetachPolicy(ctx context.Context, c *core.Caller, in AttachInput) ([]string, error) {
	return v.changeAttachment(ctx, c, core.ActionDetachPolicy, in, v.detachObject, v.detachHolder)
}

// maxAttachTries bounds how often a policy is attached to a key, or detached from it, again
// because a version of the key was changed meanwhile.
const maxAttachTries = 10

// attachmentChange returns the writes that attach or detach a policy, and the policies
// that are attached then.
type attachmentChange func(k *engine.Call, tenant, target, policy string) ([]core.Write, []string, error)

func (v *Verbs) changeAttachment(ctx context.Context, c *core.Caller, action core.Action, in AttachInput, ofObject, ofHolder attachmentChange) (attached []string, err error) {
	target, changed := in.Object, ofObject
	if target == "" {
		target, changed = in.Holder, ofHolder
	}
	err = v.runRequest(ctx, c, action, "policy "+core.ClientText(in.Policy)+", "+core.ClientText(target), &in, func(k *engine.Call) error {
		if (in.Object == "") == (in.Holder == "") {
			return core.Errorf(core.InvalidField, "name an object or a holder such as role:ops, and not both")
		}
		tenant, err := engine.AskedTenant(k, in.Tenant)
		if err != nil {
			return err
		}
		if action == core.ActionAttachPolicy {
			if _, err := v.directory.Version(core.EntryPolicy, tenant, in.Policy); err != nil {
				return absent(err, core.EntryPolicy, in.Policy)
			}
		} else if err := requireApprovals(v, k, tenant, []string{in.Policy}, nil, nil); err != nil {
			return err
		}
		for try := 1; ; try++ {
			writes, after, err := changed(k, tenant, target, in.Policy)
			attached = after
			if err != nil || len(writes) == 0 {
				return err
			}
			err = v.store(k, writes...)
			if in.Object == "" || core.CodeOf(err) != core.Conflict || try == maxAttachTries {
				return err
			}
		}
	})
	if err != nil {
		return nil, err
	}
	return attached, nil
}

// attachObject names a policy in the rows of a key family.
func (v *Verbs) attachObject(k *engine.Call, tenant, id, policy string) ([]core.Write, []string, error) {
	return v.changeObject(k, tenant, id, func(o *core.ManagedObject) (core.Attributes, error) {
		attached := o.Policies()
		switch {
		case slices.Contains(attached, policy):
			return nil, nil
		case len(attached) >= core.MaxAttached:
			return nil, core.Errorf(core.InvalidField, "object %s has %d policies; it can have no more", core.ClientText(id), len(attached))
		}
		return o.Attributes.Add(core.Attribute{Vendor: core.PolicyAttribute.Vendor, Name: core.PolicyAttribute.Name, Value: core.Text(policy)}), nil
	})
}

// detachObject removes a policy from the rows of a key family.
func (v *Verbs) detachObject(k *engine.Call, tenant, id, policy string) ([]core.Write, []string, error) {
	return v.changeObject(k, tenant, id, func(o *core.ManagedObject) (core.Attributes, error) {
		for i := range o.Attributes {
			if a := &o.Attributes[i]; core.PolicyAttribute.Names(a) && a.Value.Text == policy {
				gone := a.Ref()
				gone.Index, gone.Indexed = a.Index, true
				return o.Attributes.Without(gone), nil
			}
		}
		return nil, nil
	})
}

// changeObject returns the writes of all versions of a key family, none if edit returns nil
// for each, and the policies that the object has then.
func (v *Verbs) changeObject(k *engine.Call, tenant, id string, edit func(*core.ManagedObject) (core.Attributes, error)) (writes []core.Write, policies []string, err error) {
	o, err := findKey(k, tenant, id)
	if err != nil {
		return nil, nil, err
	}
	k.Involve(o.ID, core.RoleTarget)
	changes, o, err := families.ChangeAll(k.Ctx, k.Ports.Store, o, edit)
	if err != nil {
		return nil, nil, err
	}
	for _, c := range changes {
		writes = append(writes, engine.SuccessorWrites(c.Old, c.Next, k.Now)...)
	}
	return writes, o.Policies(), nil
}

// findKey returns what a reference of the REST door names in a tenant: of a key, the newest
// version, unless the reference has a number or is the identifier of a later version.
func findKey(k *engine.Call, tenant, reference string) (*core.ManagedObject, error) {
	return findVersion(k, tenant, reference, core.ActionGetAttributes)
}

// findVersion is findKey for the version that a request with an action uses.
func findVersion(k *engine.Call, tenant, reference string, action core.Action) (*core.ManagedObject, error) {
	id, err := rules.ParseKeyReference(reference)
	if err != nil {
		return nil, err
	}
	o, err := engine.VersionFor(k, tenant, id, action)
	if core.CodeOf(err) == core.ItemNotFound {
		return nil, noObject(tenant, reference)
	}
	return o, err
}

// noObject is the answer for an object that does not exist, and for one that the caller
// may not see.
func noObject(tenant, id string) error {
	return core.Errorf(core.ItemNotFound, "for tenant %s there is no object %s", core.ClientText(tenant), core.ClientText(id))
}

// PoliciesOfObject lists the key policies that are attached to an object itself.
func (v *Verbs) PoliciesOfObject(ctx context.Context, c *core.Caller, tenant, id string) (attached []string, err error) {
	err = v.run(ctx, c, core.ActionReadPolicies, "attached to "+core.ClientText(id), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, tenant)
		if err != nil {
			return err
		}
		o, err := findKey(k, tenant, id)
		if err != nil {
			return err
		}
		k.Involve(o.ID, core.RoleTarget)
		attached = o.Policies()
		return nil
	})
	return attached, err
}

// attachHolder names a policy in the list of a holder.
func (v *Verbs) attachHolder(k *engine.Call, tenant, holder, policy string) ([]core.Write, []string, error) {
	return v.changeHolder(k, tenant, holder, func(attached []string) []string {
		if i, found := slices.BinarySearch(attached, policy); !found {
			return slices.Insert(slices.Clone(attached), i, policy)
		}
		return attached
	})
}

// detachHolder removes a policy from the list of a holder.
func (v *Verbs) detachHolder(k *engine.Call, tenant, holder, policy string) ([]core.Write, []string, error) {
	return v.changeHolder(k, tenant, holder, func(attached []string) []string {
		if i, found := slices.BinarySearch(attached, policy); found {
			return slices.Delete(slices.Clone(attached), i, i+1)
		}
		return attached
	})
}

// holderKinds are the kinds of holders, as prefixes of their names.
var holderKinds = []string{core.UserHolder, core.RoleHolder, core.GroupHolder, core.ObjectGroupHolder}

// changeHolder returns the write of a holder's list, none if edit changes nothing, and the
// list.
func (v *Verbs) changeHolder(k *engine.Call, tenant, holder string, edit func([]string) []string) ([]core.Write, []string, error) {
	if !slices.ContainsFunc(holderKinds, func(kind string) bool { return strings.HasPrefix(holder, kind) && len(holder) > len(kind) }) {
		return nil, nil, core.Errorf(core.InvalidField, "%q is no holder of policies; write user:NAME, role:NAME, group:NAME or keyGroup:NAME", core.ClientText(holder))
	}
	attached, version, err := v.attachedTo(tenant, holder)
	if err != nil {
		return nil, nil, err
	}
	next := edit(attached)
	if slices.Equal(next, attached) {
		return nil, attached, nil
	}
	body, err := core.EncodeBody(&directory.Attachment{Policies: next})
	if err != nil {
		return nil, nil, err
	}
	e, err := v.entry(k, change{kind: core.EntryAttachment, tenant: tenant, id: holder, expected: version, body: body})
	if err != nil {
		return nil, nil, err
	}
	return []core.Write{core.SaveDirectoryEntry{Entry: e}}, next, nil
}

// attachedTo lists the policies of a holder, sorted, and returns the version of the list; 0
// if there is none.
func (d *entries) attachedTo(tenant, holder string) ([]string, int64, error) {
	e, err := d.directory.Get(core.EntryAttachment, tenant, holder)
	if core.CodeOf(err) == core.ItemNotFound {
		return nil, 0, nil
	}
	if err != nil {
		return nil, 0, err
	}
	var a directory.Attachment
	if err := core.DecodeBody(e.Body, &a); err != nil {
		return nil, 0, err
	}
	return a.Policies, e.Version, nil
}

// holdersOf lists holders and objects to which a policy is attached: all holders, and some
// objects.
func (d *entries) holdersOf(k *engine.Call, tenant, policy string) ([]string, error) {
	names, err := d.attachmentsOf(tenant, policy)
	if err != nil {
		return nil, err
	}
	objects, err := objectsWith(k, tenant, policy, maxHoldersNamed)
	for _, id := range objects {
		names = append(names, "object "+id)
	}
	return names, err
}

// objectsWith lists up to limit objects to which a policy is attached, the newest first.
// The store may return others too, so it is asked until there are no more.
func objectsWith(k *engine.Call, tenant, policy string, limit int) (ids []string, err error) {
	wanted := core.Attribute{Vendor: core.PolicyAttribute.Vendor, Name: core.PolicyAttribute.Name, Value: core.Text(policy)}
	f := core.Filter{Now: k.Now, Attributes: core.Attributes{wanted}, WholeTenant: true}
	for beyond := int64(0); ; {
		page, err := k.Ports.Store.Candidates(k.Ctx, tenant, f, beyond, core.CandidatePage)
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			if beyond = o.Seq; f.Matches(o) {
				ids = append(ids, o.ID)
			}
		}
		if len(page) < core.CandidatePage || len(ids) >= limit {
			return ids[:min(len(ids), limit)], nil
		}
	}
}

// MaxTargets bounds the objects that [Verbs.TargetsOfPolicy] lists.
const MaxTargets = 10_000

// Targets are what a key policy is attached to.
type Targets struct {
	Holders []string // such as "role:ops"
	Objects []string // Unique Identifiers, the newest object first; at most MaxTargets
}

// TargetsOfPolicy lists to what a key policy is attached.
func (v *Verbs) TargetsOfPolicy(ctx context.Context, c *core.Caller, tenant, policy string) (out Targets, err error) {
	err = v.run(ctx, c, core.ActionReadPolicies, "attachments of policy "+core.ClientText(policy), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, tenant)
		if err != nil {
			return err
		}
		if _, err := v.directory.Version(core.EntryPolicy, tenant, policy); err != nil {
			return absent(err, core.EntryPolicy, policy)
		}
		if out.Holders, err = v.attachmentsOf(tenant, policy); err != nil {
			return err
		}
		out.Objects, err = objectsWith(k, tenant, policy, MaxTargets)
		return err
	})
	if err != nil {
		return Targets{}, err
	}
	return out, nil
}

// attachmentsOf lists the holders to which a policy is attached.
func (d *entries) attachmentsOf(tenant, policy string) (names []string, err error) {
	for after := ""; ; {
		page, err := d.directory.List(core.EntryAttachment, tenant, after, attachmentPage)
		if err != nil {
			return nil, err
		}
		for _, e := range page {
			var a directory.Attachment
			if err := core.DecodeBody(e.Body, &a); err != nil {
				return nil, err
			}
			if slices.Contains(a.Policies, policy) {
				names = append(names, e.ID)
			}
			after = e.ID
		}
		if len(page) < attachmentPage {
			break
		}
	}
	return names, nil
}

// attachmentPage is how many attachments are read at once.
const attachmentPage = 1000
