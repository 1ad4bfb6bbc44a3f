package engine

import "github.com/keyreeve/keyreeve/core"

// Load reads an object of the caller's tenant, from the cache where it may.
func (k *Call) Load(id string) (*core.ManagedObject, error) {
	tenant := k.Caller.Principal.Tenant
	o, gen := k.Engine.objects.lookUp(tenant, id, k.leaseTime())
	if o != nil {
		return o, nil
	}
	read := k.leaseTime()
	o, err := k.Ports.Store.Object(k.Ctx, tenant, id)
	if err != nil {
		return nil, withIdentifier(err, id)
	}
	k.Engine.objects.fillFromStore(o, gen, read)
	return o, nil
}

// LoadKeysOf makes sure that the keys are loaded which an object was sealed under:
// another node may have made them since.
func (k *Call) LoadKeysOf(o *core.ManagedObject) error {
	return k.Engine.Tenants.loadEpoch(k.Ctx, o.Tenant, o.Material.Epoch)
}

// leaseTime is the time that leases of snapshots are reckoned in: not the wall
// clock's, which may be set back and would make them longer.
func (k *Call) leaseTime() int64 {
	if k.Engine.objects.lease == 0 {
		return 0
	}
	return k.Ports.Clock.Mono()
}

func withIdentifier(err error, id string) error {
	if core.CodeOf(err) == core.ItemNotFound {
		return core.Errorf(core.ItemNotFound, "no object has the Unique Identifier %s", core.ClientText(id))
	}
	return err
}

// Object finds the object that a request names and asks the policy whether the
// operation may touch it.
func (k *Call) Object(id core.Identifier) (*core.ManagedObject, error) {
	if id.Text == "" {
		return nil, core.Errorf(core.ItemNotFound, "%s names no Unique Identifier and the ID Placeholder is empty", k.Action)
	}
	k.Record.Object = core.ClientText(id.Text)
	o, err := k.Load(id.Text)
	if err != nil {
		return nil, err
	}
	if _, err := k.Decide(k.Action, o); err != nil {
		return nil, err
	}
	k.AddGrant(core.RoleTarget, k.Action, o.ID, nil)
	return o, nil
}
