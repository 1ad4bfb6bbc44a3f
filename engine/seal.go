package engine

import (
	"context"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
)

// RowSealer is the core.Sealer of a store: it seals with the token's keys, and
// loads those of a tenant that are missing. Safe for concurrent use.
type RowSealer struct {
	token  core.Sealer
	engine atomic.Pointer[Engine]
}

// NewRowSealer makes the sealer of a store that is opened before its engine.
func NewRowSealer(token core.Sealer) *RowSealer { return &RowSealer{token: token} }

// Serve names the engine that loads tenants' keys.
func (s *RowSealer) Serve(e *Engine) { s.engine.Store(e) }

// Seal implements [core.Sealer]. It loads nothing: a change is sealed in the
// middle of a commit, and its tenant's keys are made sure of before.
func (s *RowSealer) Seal(tenant string, row []byte) ([]byte, error) { return s.token.Seal(tenant, row) }

// CheckSeal implements [core.Sealer]. An epoch that is unknown may be one that
// another node has just made: the tenant's keys are loaded again, once.
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
	if err := e.Tenants.loadUnless(context.Background(), tenant, known); err != nil && core.CodeOf(err) != core.AuthenticationNotSuccessful {
		return err
	}
	if err = s.token.CheckSeal(tenant, row, seal); core.CodeOf(err) == core.TokenUnavailable {
		return core.Wrap(core.CryptographicFailure, err, "the seal names a key that tenant %s does not have", core.ClientText(tenant))
	}
	return err
}

// checkSystem judges the seal of a system row whose key is missing. The keys of
// the system set are loaded at start, all of them: if they can seal, the seal
// names an epoch that does not exist.
func (s *RowSealer) checkSystem(err error) error {
	if _, serr := s.token.Seal("", nil); serr != nil {
		return err
	}
	return core.Wrap(core.CryptographicFailure, err, "the seal names a key that the system set does not have")
}
