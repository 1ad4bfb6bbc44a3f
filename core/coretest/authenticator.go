package coretest

import (
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
)

// Authenticator takes every client for one principal, which a test may change while
// connections are open. nil: the evidence has expired.
type Authenticator struct {
	atomic.Pointer[core.Principal]
}

// Always returns an Authenticator that takes every client for p.
func Always(p *core.Principal) *Authenticator {
	a := new(Authenticator)
	a.Store(p)
	return a
}

// Identify returns the function that names the principal of a connection.
func (a *Authenticator) Identify(proof.Evidence) func() (*core.Principal, error) {
	return func() (*core.Principal, error) {
		if p := a.Load(); p != nil {
			return p, nil
		}
		return nil, core.Errorf(core.AuthenticationNotSuccessful, "the evidence has expired")
	}
}
