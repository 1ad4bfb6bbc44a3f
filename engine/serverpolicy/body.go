package serverpolicy

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// Origin says where a version of the policy came from.
type Origin string

// The origins of versions.
const (
	FromDefault Origin = "default" // of the release that stored it
	FromFile    Origin = "file"    // policy.file of a node
	FromCommand Origin = "command"
)

// maxPast bounds the texts that a version remembers. A file with one that was forgotten would
// be taken again.
const maxPast = 1000

// Body is the content of one version.
type Body struct {
	Origin Origin   `json:"origin"`
	Policy string   `json:"policy"`
	Tests  string   `json:"tests"`
	Past   []string `json:"past,omitempty"` // hashes of the texts that were in force before, oldest first; see textHash
}

// Check returns an error if a field of b is out of its bounds.
func (b *Body) Check() error {
	known := []Origin{FromDefault, FromFile, FromCommand}
	switch {
	case !slices.Contains(known, b.Origin):
		return core.Errorf(core.InvalidField, "the server's policy has no known origin")
	case b.Policy == "" || b.Tests == "":
		return core.Errorf(core.InvalidField, "the server's policy or its tests are empty")
	case len(b.Past) > maxPast:
		return core.Errorf(core.InvalidField, "the server's policy remembers more than %d texts", maxPast)
	}
	for _, hash := range b.Past {
		if len(hash) != 2*sha256.Size {
			return core.Errorf(core.InvalidField, "the server's policy remembers a text by something that is no hash")
		}
	}
	return nil
}

func (b *Body) source() core.PolicySource {
	return core.PolicySource{Policy: b.Policy, Tests: b.Tests}
}

// textHash returns the SHA-256 of a policy with its tests in hex. It differs from the hash in
// records, which is that of the policy alone.
func textHash(s *core.PolicySource) string {
	length := binary.BigEndian.AppendUint64(nil, uint64(len(s.Policy)))
	sum := sha256.Sum256(slices.Concat(length, []byte(s.Policy), []byte(s.Tests)))
	return hex.EncodeToString(sum[:])
}

// bodyAfter returns the body of the version that follows one, which is nil for the first.
func bodyAfter(before *Body, s *core.PolicySource, from Origin) *Body {
	next := &Body{Origin: from, Policy: s.Policy, Tests: s.Tests}
	if before == nil {
		return next
	}
	source := before.source()
	was, is := textHash(&source), textHash(s)
	for _, hash := range append(slices.Clone(before.Past), was) {
		if hash != is && !slices.Contains(next.Past, hash) {
			next.Past = append(next.Past, hash)
		}
	}
	next.Past = next.Past[max(0, len(next.Past)-maxPast):]
	return next
}

// Offer is the policy that a node would put in force by its settings.
type Offer struct {
	core.PolicySource
	Default bool // policy.file is not set, so it is the default of this release
}

func (o *Offer) origin() Origin {
	if o.Default {
		return FromDefault
	}
	return FromFile
}

// judgeOffer says whether an offer becomes the next version, and if not, why; "" if it is the
// text in force, or a default that nobody asks for. now is nil if there is no version yet.
//
// The rule keeps two nodes with different files from replacing each other's policy: each text
// is taken once. A new default is taken if no other node can be there: an older release on
// another node could not use it.
func judgeOffer(now *Body, o *Offer, shared bool) (take bool, why string) {
	if now == nil {
		return true, ""
	}
	inForce, hash := now.source(), textHash(&o.PolicySource)
	switch {
	case hash == textHash(&inForce):
		return false, ""
	case slices.Contains(now.Past, hash):
		return false, "policy.file and policy.tests have a text that was in force before, so they are not taken again; the database decides. See keyreeve policy server history and rollback, or change the file"
	case !o.Default:
		return true, ""
	case now.Origin != FromDefault:
		return false, ""
	case shared:
		return false, "this release has another default policy than the one in force; when all nodes have this release, put it in force by keyreeve policy server apply --default"
	}
	return true, ""
}
