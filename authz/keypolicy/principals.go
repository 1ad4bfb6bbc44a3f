package keypolicy

import (
	"encoding/binary"
	"slices"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
)

const (
	maxPrincipals = 4096
	usualKeySize  = 512 // bytes of the description of a principal or request
)

// Principals gives principals numbers. All that look the same to policies have one number, and
// two that differ never have the same. So a door that makes a principal for each request finds
// what was remembered of the last one. Safe for concurrent use.
type Principals struct{ numbers *cache.Numbers }

// NewPrincipals returns numbers for principals.
func NewPrincipals() Principals { return Principals{cache.NewNumbers(maxPrincipals)} }

// NumberOf returns the number of a principal. It allocates nothing for a usual one that it
// knows.
func (p *Principals) NumberOf(of *core.Principal) uint64 {
	var room [usualKeySize]byte
	return p.numbers.NumberOf(of.Tenant, appendPrincipal(room[:0], of))
}

// appendPrincipal appends each field that policies see, with its length. What a token is
// narrowed to is not among them: the package authz heeds it for each request, also if an
// answer is remembered.
func appendPrincipal(b []byte, p *core.Principal) []byte {
	b = append(AppendText(AppendText(AppendText(b, p.Tenant), p.ID), p.Method), byte(p.Strength))
	if c := p.ConnectionPrincipal(); c != nil {
		b = AppendText(AppendText(append(b, 1), c.Tenant), c.ID)
	} else {
		b = append(b, 0)
	}
	b = AppendTexts(AppendTexts(b, p.Groups), p.Roles)
	return AppendText(appendMap(b, p.Attributes), p.TokenID)
}

// appendMap appends a map in the order of its names.
func appendMap(b []byte, texts map[string]string) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	var room [16]string // so that a usual map allocates nothing
	names := room[:0]
	for n := range texts {
		names = append(names, n)
	}
	slices.Sort(names)
	for _, n := range names {
		b = AppendText(AppendText(b, n), texts[n])
	}
	return b
}

// AppendTexts appends texts so that no other list looks the same.
func AppendTexts(b []byte, texts []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(texts)))
	for _, s := range texts {
		b = AppendText(b, s)
	}
	return b
}

// AppendText appends a text with its length.
func AppendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// principalTerms keeps the terms of principals. Safe for concurrent use.
type principalTerms struct{ kept *cache.Shared[*ast.Term] }

func (t *principalTerms) termOf(p *core.Principal, token string) *ast.Term {
	var room [usualKeySize]byte
	key := AppendText(appendPrincipal(room[:0], p), token)
	term, ok := t.kept.Get(p.Tenant, key)
	if !ok {
		term = principalTerm(p, token)
		t.kept.Put(p.Tenant, key, term)
	}
	return term
}
