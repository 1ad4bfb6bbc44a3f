package attributes

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// SetAlias gives an alias to a key family, which is decided as Modify Attribute on its newest
// version. An alias of another key moves, if the caller may remove it there. If the caller may not
// see that key, the code is ObjectAlreadyExists.
func (v *Verbs) SetAlias(ctx context.Context, c *core.Caller, in *operation.AliasInput) (operation.AliasOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionModifyAttribute, in, setAlias)
}

func setAlias(k *engine.Call, in *operation.AliasInput) (out operation.AliasOutput, err error) {
	if err := rules.CheckAlias(in.Alias); err != nil {
		return out, err
	}
	if in.Key.Version != 0 {
		return out, core.Errorf(core.InvalidField, "an alias names a key, not one version of it; leave the version out")
	}
	next, err := k.Change(familyOf(k, in.Key), func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error) {
		k.Record.Detail = "alias " + in.Alias
		next := o.Successor()
		if withAlias(in.Alias).Matches(o) {
			return next, nil
		}
		if err := mayHaveAlias(k, o); err != nil {
			return nil, err
		}
		if err := takeAlias(k, ch, in.Alias); err != nil {
			return nil, err
		}
		next.Attributes = o.Attributes.Add(core.AliasAttribute.With(core.Text(in.Alias)))
		if err := rules.CheckTotalSize(next.Attributes); err != nil {
			return nil, err
		}
		return next, engine.RequireMayRelabel(k, o, next)
	})
	return aliasOf(in.Alias, next), err
}

// familyOf returns a reference to the family of the object that id names.
func familyOf(k *engine.Call, id core.Identifier) core.Identifier {
	if o, err := k.LoadObject(id.Text); err == nil {
		id.Text = o.Family()
	}
	id.Family = true
	return id
}

// withAlias is the filter for the object that has an alias.
func withAlias(alias string) *core.Filter {
	return &core.Filter{WholeTenant: true, Attributes: core.Attributes{core.AliasAttribute.With(core.Text(alias))}}
}

// withoutAlias returns the successor of an object that has an alias no more.
func withoutAlias(o *core.ManagedObject, alias string) *core.ManagedObject {
	next := o.Successor()
	for _, a := range o.Attributes.All(core.AliasAttribute) {
		if a.Value.Text == alias {
			next.Attributes = o.Attributes.Without(core.AttributeName{Vendor: a.Vendor, Name: a.Name, Index: a.Index, Indexed: true})
		}
	}
	return next
}

// aliasOf returns the answer about an alias of o; nil: of none.
func aliasOf(alias string, o *core.ManagedObject) operation.AliasOutput {
	if o == nil {
		return operation.AliasOutput{}
	}
	return operation.AliasOutput{Alias: alias, ID: o.ID, Family: o.Family()}
}

// mayHaveAlias refuses an alias of an object that is no key, is destroyed or has too many.
func mayHaveAlias(k *engine.Call, o *core.ManagedObject) error {
	switch o.Type {
	case core.ObjectTypeSymmetricKey, core.ObjectTypePrivateKey, core.ObjectTypePublicKey, core.ObjectTypeSecretData:
	default:
		return core.Errorf(core.InvalidObjectType, "object %s is a %v; keys and Secret Data have aliases", o.ID, o.Type)
	}
	if len(o.Attributes.All(core.AliasAttribute)) >= rules.MaxAliases {
		return core.Errorf(core.InvalidField, "key %s has %d aliases; it can have no more", o.ID, rules.MaxAliases)
	}
	return engine.NotDestroyed(o, k.Now)
}

// takeAlias adds to ch that the key that has an alias loses it. The caller must be allowed to
// delete it there.
func takeAlias(k *engine.Call, ch *core.Change, alias string) error {
	holder, err := findAlias(k, alias)
	if core.CodeOf(err) == core.ItemNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	if sees, err := k.Permits(core.ActionGetAttributes, holder, core.Asked{}); err != nil || !sees {
		if err == nil {
			err = core.Errorf(core.ObjectAlreadyExists, "the alias %s is taken", alias)
		}
		return err
	}
	k.Involve(holder.ID, core.RoleChanged)
	if _, err = k.Decide(core.ActionDeleteAttribute, holder); err != nil {
		return err
	}
	if err := engine.RequireAvailable(core.ActionDeleteAttribute, holder); err != nil {
		return err
	}
	next := withoutAlias(holder, alias)
	if err := engine.RequireMayRelabel(k, holder, next); err != nil {
		return err
	}
	k.AddGrant(core.RoleChanged, core.ActionDeleteAttribute, holder.ID, nil)
	engine.ChangeBeside(k, ch, holder, next)
	return nil
}

// findAlias returns the object that has an alias, as it is stored.
func findAlias(k *engine.Call, alias string) (*core.ManagedObject, error) {
	f := withAlias(alias)
	found, err := k.Ports.Store.Candidates(k.Ctx, k.Caller.Principal.Tenant, *f, 0, core.CandidatePage)
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		if !f.Matches(o) {
			continue
		}
		if o, err = k.Ports.Store.Object(k.Ctx, o.Tenant, o.ID); err == nil && !f.Matches(o) {
			err = core.Errorf(core.Conflict, "the alias %s moves at this moment; try again", alias)
		}
		return o, err
	}
	return nil, noAlias(alias)
}

// noAlias is the answer for an alias that does not exist, and for one of a key that the caller
// may not see.
func noAlias(alias string) error {
	return core.Errorf(core.ItemNotFound, "there is no alias %s", core.ClientText(alias))
}

// RemoveAlias takes an alias from its key, which is decided as Delete Attribute.
func (v *Verbs) RemoveAlias(ctx context.Context, c *core.Caller, in *operation.AliasInput) (operation.AliasOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionDeleteAttribute, in, removeAlias)
}

func removeAlias(k *engine.Call, in *operation.AliasInput) (out operation.AliasOutput, err error) {
	return onAlias(k, in.Alias, func(id core.Identifier) (*core.ManagedObject, error) {
		return k.Change(id, func(o *core.ManagedObject, _ *core.Change) (*core.ManagedObject, error) {
			if k.Record.Detail = "alias " + in.Alias; !withAlias(in.Alias).Matches(o) {
				return nil, noAlias(in.Alias)
			}
			next := withoutAlias(o, in.Alias)
			return next, engine.RequireMayRelabel(k, o, next)
		})
	})
}

// FindAlias returns which key has an alias, which is decided as Get Attributes.
func (v *Verbs) FindAlias(ctx context.Context, c *core.Caller, in *operation.AliasInput) (operation.AliasOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionGetAttributes, in, showAlias)
}

func showAlias(k *engine.Call, in *operation.AliasInput) (operation.AliasOutput, error) {
	k.Record.Detail = "alias " + core.ClientText(in.Alias)
	return onAlias(k, in.Alias, k.FindObject)
}

// onAlias calls do with the object that has an alias, and returns the answer about it. If the
// caller may not see the object, there is no such alias.
func onAlias(k *engine.Call, alias string, do func(core.Identifier) (*core.ManagedObject, error)) (operation.AliasOutput, error) {
	if err := rules.CheckAlias(alias); err != nil {
		return operation.AliasOutput{}, err
	}
	o, err := findAlias(k, alias)
	if err != nil {
		return operation.AliasOutput{}, err
	}
	changed, err := do(core.ID(o.ID))
	if core.CodeOf(err) == core.ItemNotFound || core.CodeOf(err) == core.PermissionDenied && !engine.MaySee(k, o) {
		err = noAlias(alias)
	}
	if err != nil {
		return operation.AliasOutput{}, err
	}
	return aliasOf(alias, changed), nil
}
