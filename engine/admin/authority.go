package admin

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// crlName is the last part of the path of the revocation list. No client can have this name.
const crlName = "crl"

// CreateAuthority makes a key in the HSM, and a certificate of an authority for it. The
// authority signs nothing until the settings name both.
func (a *ClientVerbs) CreateAuthority(ctx context.Context, c *core.Caller) (out NewAuthority, err error) {
	err = a.verbs.run(ctx, c, core.ActionCreateAuthority, "authority for clients", func(k *engine.Call) error {
		if out, err = a.settings.MakeAuthority(k.Ctx); err == nil {
			k.Record.Detail += ", " + out.Key + ", certificate " + out.Fingerprint
		}
		return err
	})
	if err != nil {
		return NewAuthority{}, err
	}
	return out, nil
}

// Revocations returns a revocation list with the revoked certificates of enrolled clients of
// all tenants that have not expired, and with all those of tenants that were deleted.
func (a *ClientVerbs) Revocations(ctx context.Context, c *core.Caller) (der []byte, err error) {
	err = a.verbs.run(ctx, c, core.ActionReadRevocations, "list", func(k *engine.Call) error {
		if a.settings.SignList == nil {
			return errNoAuthority
		}
		revoked, err := a.revokedEverywhere(k)
		if err != nil {
			return err
		}
		der, err = a.settings.SignList(revoked)
		return err
	})
	if err != nil {
		return nil, err
	}
	return der, nil
}

var errNoAuthority = core.Errorf(core.OperationNotSupported, "this server has no authority for clients; see enrollment.certificate")

// revokedEverywhere lists what a revocation list has. It fails if one entry cannot be read.
func (a *ClientVerbs) revokedEverywhere(k *engine.Call) (revoked []directory.ClientCertificate, err error) {
	all, err := a.verbs.directory.ListEverywhere(core.EntryClient)
	if err != nil {
		return nil, err
	}
	for _, e := range all {
		client, err := namedClient(e)
		if err != nil {
			return nil, err
		}
		tenant, err := a.verbs.engine.RowOf(client.Tenant)
		if err != nil {
			return nil, err
		}
		if tenant.State == core.TenantDeleted {
			client.Revoke("", k.Now)
		}
		for _, one := range client.WithoutExpired(k.Now) {
			if one.Revoked != 0 {
				revoked = append(revoked, one)
			}
		}
	}
	return revoked, nil
}
