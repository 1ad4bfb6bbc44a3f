// Package rowsealer seals and checks the rows of a store with the keys of the token, and has
// the engine load the keys of a tenant if they are missing. Start at [RowSealer].
package rowsealer

import (
	"context"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// RowSealer is the [core.Sealer] of a store. It seals with the token's keys, and loads
// a tenant's keys if they are missing. Safe for concurrent use.
type RowSealer struct {
	token  core.Sealer
	engine atomic.Pointer[engine.Engine]
}

// New returns the sealer of a store that is opened before its engine.
func New(token core.Sealer) *RowSealer { return &RowSealer{token: token} }

// UseEngine sets the engine that loads tenants' keys.
func (s *RowSealer) UseEngine(e *engine.Engine) { s.engine.Store(e) }

// Seal implements [core.Sealer]. It loads no keys: it is called in the middle of a
// commit, and [engine.Call.Commit] has loaded the tenant's keys before.
func (s *RowSealer) Seal(tenant string, row []byte) ([]byte, error) { return s.token.Seal(tenant, row) }

// CheckSeal implements [core.Sealer]. If the epoch is unknown, another node may have just
// made it, so the tenant's keys are loaded again, once.
func (s *RowSealer) CheckSeal(tenant string, row, seal []byte) error {
	err := s.token.CheckSeal(tenant, row, seal)
	if err == nil || core.CodeOf(err) != core.TokenUnavailable {
		return err
	}
	if tenant == "" {
		return s.checkSystem(err)
	}
	e := s.engine.Load()
	if e == nil {
		return err
	}
	known := func() bool { return core.CodeOf(s.token.CheckSeal(tenant, row, seal)) != core.TokenUnavailable }
	if err := e.Tenants.LoadUnless(context.Background(), tenant, known); err != nil && core.CodeOf(err) != core.AuthenticationNotSuccessful {
		return err
	}
	if err = s.token.CheckSeal(tenant, row, seal); core.CodeOf(err) == core.TokenUnavailable {
		return core.Wrap(core.CryptographicFailure, err, "the seal names a key that tenant %s does not have", core.ClientText(tenant))
	}
	return err
}

// checkSystem returns the error about a system row whose key is missing. All keys of the
// system set are loaded at start. If they can seal, the seal names an epoch that does
// not exist.
func (s *RowSealer) checkSystem(err error) error {
	if _, serr := s.token.Seal("", nil); serr != nil {
		return err
	}
	return core.Wrap(core.CryptographicFailure, err, "the seal names a key that the system set does not have")
}

// EncryptBody implements [core.Sealer].
func (s *RowSealer) EncryptBody(name, body []byte) ([]byte, error) {
	return s.token.EncryptBody(name, body)
}

// DecryptBody implements [core.Sealer]. The keys of the system set are loaded at start, so
// if a body names another epoch, the row was changed.
func (s *RowSealer) DecryptBody(name, encrypted []byte) ([]byte, error) {
	body, err := s.token.DecryptBody(name, encrypted)
	if err != nil && core.CodeOf(err) == core.TokenUnavailable {
		return nil, s.checkSystem(err)
	}
	return body, err
}
