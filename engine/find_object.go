package engine

import "github.com/keyreeve/keyreeve/core"

// FindObject loads the object that a request names and asks the policy whether the
// caller may do the operation on it. The object becomes the target of the record. An
// object that does not exist, or is another tenant's, is an error of code ItemNotFound.
// For an object that is archived or disabled see [RequireAvailable].
func (k *Call) FindObject(id core.Identifier) (*core.ManagedObject, error) {
	if id.Family {
		return findKey(k, id)
	}
	if id.Text == "" {
		return nil, core.Errorf(core.ItemNotFound, "%s names no Unique Identifier and the ID Placeholder is empty", k.Action)
	}
	k.Record.Object = core.ClientText(id.Text)
	return findAs(k, id.Text, core.RoleTarget)
}

// FindBeside is [Call.FindObject] for another object that the operation changes. The policy is
// asked about it as about the target.
func FindBeside(k *Call, id string) (*core.ManagedObject, error) {
	k.Involve(core.ClientText(id), core.RoleChanged)
	return findAs(k, id, core.RoleChanged)
}

func findAs(k *Call, id string, role core.ObjectRole) (*core.ManagedObject, error) {
	o, err := k.LoadObject(id)
	if err != nil {
		return nil, err
	}
	if _, err := k.Decide(k.Action, o); err != nil {
		return nil, err
	}
	k.AddGrant(role, k.Action, o.ID, nil)
	if err := RequireAvailable(k.Action, o); err != nil {
		return nil, err
	}
	return k.access.Object, nil // a gate may have counted the use in it
}

// LoadObject reads an object of the caller's tenant, from the cache if possible. It does
// not ask the policy.
func (k *Call) LoadObject(id string) (*core.ManagedObject, error) {
	return LoadObjectOf(k, k.Caller.Principal.Tenant, id)
}

// LoadObjectOf is [Call.LoadObject] for any tenant.
func LoadObjectOf(k *Call, tenant, id string) (*core.ManagedObject, error) {
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

// LoadKeysOf loads the tenant's keys that seal an object, if they are not loaded. Another
// node may have made them since.
func (k *Call) LoadKeysOf(o *core.ManagedObject) error {
	return k.Engine.Tenants.loadEpoch(k.Ctx, o.Tenant, o.Material.Epoch)
}

// leaseTime returns the time by which leases of snapshots are measured. It is not the
// wall clock, because that may be set back, which would make leases longer.
func (k *Call) leaseTime() int64 {
	if k.Engine.objects.lease == 0 {
		return 0
	}
	return k.Ports.Clock.Mono()
}

// withIdentifier adds the identifier to an error of code ItemNotFound.
func withIdentifier(err error, id string) error {
	if core.CodeOf(err) == core.ItemNotFound {
		return core.Errorf(core.ItemNotFound, "no object has the Unique Identifier %s", core.ClientText(id))
	}
	return err
}
