package authz

import (
	"context"
	"fmt"

	"github.com/keyreeve/keyreeve/core"
)

// canaries are questions whose answer no policy may change. They run at every
// load: at start, after a reload, after an upgrade of OPA.
func (a *Authorizer) canaries(ctx context.Context, p *policy) error {
	who := &core.Principal{Tenant: "canary-a", ID: "canary", Groups: []string{"g"}, Roles: []string{"admin"}, Method: "mtls"}
	theirs := &core.ManagedObject{Tenant: "canary-b", ID: "o", Owner: "canary", Group: "g", Version: 1, Type: core.ObjectTypeSymmetricKey}
	for _, op := range []core.Operation{core.OperationGet, core.OperationDecrypt, core.OperationDestroy, core.OperationLocate, core.OperationGetAttributes} {
		r := &core.AccessRequest{Operation: op, Principal: who, Object: theirs, State: core.Active, Door: core.DoorKMIP, Address: "127.0.0.1", Now: 1}
		d, err := a.evaluate(ctx, p, r)
		if err != nil {
			return fmt.Errorf("it does not decide %v of an object: %w", op, err)
		}
		if d.Allow {
			return fmt.Errorf("it allows %v of another tenant's object", op)
		}
	}
	none := &core.AccessRequest{Operation: core.OperationGet, Principal: who, Door: core.DoorKMIP, Now: 1}
	d, err := a.evaluate(ctx, p, none)
	if err != nil {
		return fmt.Errorf("it does not decide Get without an object: %w", err)
	}
	if d.Allow {
		return fmt.Errorf("it allows Get without an object")
	}
	return nil
}
