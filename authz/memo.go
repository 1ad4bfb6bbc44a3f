package authz

import (
	"encoding/binary"

	"github.com/keyreeve/keyreeve/authz/keypolicy"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
)

const keptAnswers = 65_536

// memo keeps the answers of a policy that reads neither time nor address. Its key is
// the rest of the input, whole, so an answer is never used for another question and
// nothing must be removed. A new policy has a new memo. Errors are not kept. Safe for
// concurrent use.
type memo struct {
	principals keypolicy.Principals
	answers    *cache.Shared[core.Decision]
}

func newMemo() *memo {
	return &memo{keypolicy.NewPrincipals(), cache.NewShared[core.Decision](keptAnswers)}
}

// appendKey appends everything that a policy sees of a question.
func (m *memo) appendKey(b []byte, q *question) []byte {
	b = binary.AppendUvarint(b, m.principals.NumberOf(q.principal))
	for _, n := range [...]uint64{uint64(q.action), uint64(q.kind), uint64(q.state), uint64(q.algorithm)} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, flagByte(q.present), flagByte(q.exclusive))
	for _, s := range [...]string{string(q.door), q.tenant, q.object, q.owner, q.group} {
		b = keypolicy.AppendText(b, s)
	}
	return keypolicy.AppendTexts(keypolicy.AppendTexts(keypolicy.AppendTexts(b, q.allowStatements), q.denyStatements), q.rights)
}

func flagByte(flag bool) byte {
	if flag {
		return 1
	}
	return 0
}
