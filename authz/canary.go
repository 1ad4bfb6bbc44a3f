package authz

import (
	"context"
	"errors"
	"fmt"

	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/keyreeve/keyreeve/core"
)

const (
	canaryTime    = 1700000000 // Unix seconds
	canaryAddress = "127.0.0.1"
)

// insider is somebody with every right that a tenant can give.
var insider = &core.Principal{Tenant: "canary-a", ID: "canary", Groups: []string{"canary", "dev"}, Roles: []string{"admin", "canary"}, Method: "mtls"}

// canaries are questions whose answers no policy may change, and traps that an
// evaluator must not fall into. They run at every load: at start, after a
// reload, after an upgrade of OPA.
func canaries(ctx context.Context, p *policy) error {
	if err := springAll(ctx); err != nil {
		return fmt.Errorf("this build's policy evaluator cannot be trusted: %w", err)
	}
	for _, v := range core.TagOperation.Info().Enum.Values {
		if err := patiently(func() error { return tenantsStayApart(ctx, p, core.Operation(v.Value)) }); err != nil {
			return err
		}
	}
	return patiently(func() error { return nothingToGet(ctx, p) })
}

// canaryTries is how often a canary is asked that is not answered in time: a busy
// machine must not keep a good policy out, nor the server from starting.
const canaryTries = 4

func patiently(ask func() error) (err error) {
	for range canaryTries {
		if err = ask(); !topdown.IsCancel(err) {
			return err
		}
	}
	return err
}

// tenantsStayApart asks whether the insider may touch an object of the owner
// and group of the same name in another tenant.
func tenantsStayApart(ctx context.Context, p *policy, op core.Operation) error {
	d, err := p.evaluate(ctx, question{principal: insider, operation: op, door: core.DoorKMIP, present: true, tenant: "canary-b", object: "canary",
		owner: "canary", group: "canary", kind: core.ObjectTypeSymmetricKey, state: core.Active, algorithm: core.AlgorithmAES}, canaryTime, canaryAddress)
	if err != nil {
		return fmt.Errorf("it does not decide %v of another tenant's object: %w", op, err)
	}
	if d.Allow {
		return fmt.Errorf("it allows %v of another tenant's object", op)
	}
	return nil
}

func nothingToGet(ctx context.Context, p *policy) error {
	d, err := p.evaluate(ctx, question{principal: insider, operation: core.OperationGet, door: core.DoorKMIP}, canaryTime, canaryAddress)
	if err != nil {
		return fmt.Errorf("it does not decide Get without an object: %w", err)
	}
	if d.Allow {
		return errors.New("it allows Get without an object")
	}
	return nil
}
