package keypolicy

import (
	"sync"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/keyreeve/keyreeve/core"
)

const maxPrincipalTerms = 2048 // a full map is cleared

// principalTerms keeps the terms of principals. A principal never changes, and stays the
// same pointer while nothing about it does, so most requests find theirs. Safe for
// concurrent use.
type principalTerms struct {
	mu    sync.RWMutex
	terms map[principalProof]*ast.Term
}

type principalProof struct {
	principal *core.Principal
	token     string
}

func (t *principalTerms) termOf(p *core.Principal, token string) *ast.Term {
	key := principalProof{p, token}
	t.mu.RLock()
	term := t.terms[key]
	t.mu.RUnlock()
	if term != nil {
		return term
	}
	term = principalTerm(p, token)
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.terms == nil || len(t.terms) >= maxPrincipalTerms {
		t.terms = map[principalProof]*ast.Term{}
	}
	t.terms[key] = term
	return term
}
