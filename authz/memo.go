package authz

import (
	"encoding/binary"

	"github.com/keyreeve/keyreeve/authz/keypolicy"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/cache"
)

const keptAnswers = 65_536

// memo keeps the answers of a policy that reads neither time nor address. Its key is
// the rest of the input, without the id of the object if the policy does not read it. So an
// answer is never used for another question, and nothing must be removed. A new policy has a new memo. Errors are not kept. Safe for
// concurrent use.
type memo struct {
	principals keypolicy.Principals
	answers    *cache.Shared[core.Decision]
	withoutID  bool // of the object
}

func newMemo(withoutID bool) *memo {
	return &memo{withoutID: withoutID, principals: keypolicy.NewPrincipals(), answers: cache.NewShared[core.Decision](keptAnswers)}
}

// appendKey appends everything that the policy sees of a question.
func (m *memo) appendKey(b []byte, q *question) []byte {
	b = binary.AppendUvarint(b, m.principals.NumberOf(q.principal))
	for _, n := range [...]uint64{uint64(q.action), uint64(q.kind), uint64(q.state), uint64(q.algorithm)} {
		b = binary.AppendUvarint(b, n)
	}
	b = append(b, flagByte(q.present), flagByte(q.exclusive))
	for _, s := range [...]string{string(q.door), q.tenant, q.owner, q.group} {
		b = keypolicy.AppendText(b, s)
	}
	if !m.withoutID {
		b = keypolicy.AppendText(b, q.object)
	}
	return keypolicy.AppendTexts(keypolicy.AppendTexts(keypolicy.AppendTexts(b, q.allowStatements), q.denyStatements), q.rights)
}

func flagByte(flag bool) byte {
	if flag {
		return 1
	}
	return 0
}
