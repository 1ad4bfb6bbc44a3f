package keypolicy

import (
	"encoding/binary"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
)

const (
	maxKnownMatches  = 16_384
	maxCircumstances = 4096
)

// Memo keeps which statements match a request. Its key is everything that statements can look
// at except time and parameters: the principal, the versions of the policies, and the version of
// the object, which changes with each of its attributes. Time is compared with the span of the
// answer, so a clock that jumps in either direction is no danger. A version of a policy never
// changes, so nothing must be removed when a policy does. Safe for concurrent use.
type Memo struct {
	principals    Principals
	circumstances *cache.Numbers // see appendCircumstances
	known         *cache.Shared[*KnownMatch]
}

// KnownMatch is what is known of a request. Its statements never change.
type KnownMatch struct {
	Statements core.MatchedStatements
	Span       TimeSpan

	// Decision is what a policy has decided, whose hash it names. nil: not known.
	Decision atomic.Pointer[core.Decision]
}

// NewMemo returns an empty memo.
func NewMemo() *Memo {
	return &Memo{NewPrincipals(), cache.NewNumbers(maxCircumstances), cache.NewShared[*KnownMatch](maxKnownMatches)}
}

// AppendKey appends the key of a complete request. revision is that of the regions.
func (m *Memo) AppendKey(b []byte, r *core.AccessRequest, revision uint64) []byte {
	var room [usualKeySize]byte
	b = binary.AppendUvarint(b, m.principals.NumberOf(r.Principal))
	b = binary.AppendUvarint(b, m.circumstances.NumberOf(r.Principal.Tenant, appendCircumstances(room[:0], r, revision)))
	b = AppendText(AppendText(binary.AppendUvarint(b, uint64(r.Action)), string(r.Door)), r.Address)
	o := r.Object
	if o == nil {
		return b
	}
	b = binary.AppendUvarint(binary.AppendUvarint(b, uint64(r.State)), uint64(o.Version))
	return AppendText(AppendText(AppendText(AppendText(b, o.Tenant), o.ID), o.Owner), o.Group)
}

// appendCircumstances appends what many requests have in common: policies, open gates, rights
// by roles, and regions.
func appendCircumstances(b []byte, r *core.AccessRequest, revision uint64) []byte {
	b = AppendTexts(AppendTexts(binary.AppendUvarint(b, revision), r.Granted), r.Rights)
	for i := range r.Policies {
		v := &r.Policies[i]
		b = AppendText(AppendText(binary.AppendUvarint(b, uint64(v.Version)), v.Name.Tenant), v.Name.ID)
	}
	return b
}

// Recall returns what is known for a key at a time; nil: nothing.
func (m *Memo) Recall(tenant string, key []byte, now int64) *KnownMatch {
	if known, ok := m.known.Get(tenant, key); ok && known.Span.Contains(now) {
		return known
	}
	return nil
}

// Remember keeps what is known for a key.
func (m *Memo) Remember(tenant string, key []byte, known *KnownMatch) {
	m.known.Put(tenant, key, known)
}
