package rules

import "github.com/keyreeve/keyreeve/core"

// Bounds of the encryptions with random IVs by one version of a key, on all nodes and by all
// doors. NIST SP 800-38D §8.3 allows 2^32: then two IVs of 96 bits are equal with a probability of
// 2^-33, and two equal IVs break AES-GCM.
const (
	MaxNonces         = 1 << 32
	RotationDueNonces = 1 << 31
)

// minEnvelopeIVBits is the shortest IV that a key makes beside envelopes.
const minEnvelopeIVBits = 96

// CountsNonces reports whether encryptions with key o and parameters p are counted if the server
// makes the IV: those of modes in which the equal IVs of two encryptions reveal the data.
func CountsNonces(o *core.ManagedObject, p *core.CryptographicParameters) bool {
	s := CipherScheme(o, p)
	return s == &schemeGCM || s == &schemeChaCha || s == &schemeChaChaPoly
}

// ReservedNonces returns how many encryptions with random IVs are reserved for a key. Its nodes
// have done at most so many.
func ReservedNonces(o *core.ManagedObject) int64 {
	if i := o.Attributes.Find(core.NoncesAttribute); i >= 0 {
		return o.Attributes[i].Value.Num
	}
	return 0
}

// RotationDue reports whether a key should be rotated, because half of the encryptions with random
// IVs are reserved.
func RotationDue(o *core.ManagedObject) bool { return ReservedNonces(o) >= RotationDueNonces }

// MakesEnvelopes reports whether a key has made an envelope.
func MakesEnvelopes(o *core.ManagedObject) bool {
	return o.Attributes.Find(core.EnvelopesAttribute) >= 0
}

// ReserveNonces returns the successor of a key for which at most n more encryptions are reserved,
// and how many these are. It fails with UsageLimitExceeded if there are none. With envelope it
// also marks the key as one that makes envelopes, which a raw cipher forbids.
func ReserveNonces(o *core.ManagedObject, n int64, envelope bool) (next *core.ManagedObject, got int64, err error) {
	reserved := ReservedNonces(o)
	if reserved < 0 || reserved > MaxNonces {
		return nil, 0, core.Errorf(core.Tampered, "object %s has %d reserved encryptions, which is impossible", o.ID, reserved)
	}
	if envelope && ranRawCipher(o) {
		return nil, 0, core.Errorf(core.IllegalOperation, "object %s has encrypted with an IV of a client, or in a mode that does not authenticate, so its envelopes would not be safe; rotate it (Re-key), and its successor makes them", o.ID)
	}
	if got = min(n, MaxNonces-reserved); got <= 0 {
		return nil, 0, core.Errorf(core.UsageLimitExceeded, "object %s has made all %d encryptions with random IVs that one key may make; rotate it (Re-key), and encrypt with its successor", o.ID, int64(MaxNonces))
	}
	next = o.Successor()
	next.Attributes = setOnce(next.Attributes, core.NoncesAttribute, core.Long(reserved+got))
	if envelope {
		next.Attributes = setOnce(next.Attributes, core.EnvelopesAttribute, core.Bool(true))
	}
	return next, got, nil
}

// setOnce returns attributes in which a custom attribute has one value.
func setOnce(as core.Attributes, n core.AttributeName, v core.Value) core.Attributes {
	if i := as.Find(n); i >= 0 {
		return as.Replace(i, v)
	}
	return as.Add(core.Attribute{Vendor: n.Vendor, Name: n.Name, Value: v})
}

// envelopeRisk is a way in which an Encrypt could break the envelopes of the same AES key. Callers
// who may only encrypt could then decrypt envelopes and forge them.
type envelopeRisk uint8

const (
	noRisk envelopeRisk = iota
	chosenBlocks
	chosenIV
	shortIV
)

// riskOf returns the risk of an Encrypt to envelopes. p is complete.
func riskOf(o *core.ManagedObject, p *core.CryptographicParameters, iv []byte) envelopeRisk {
	switch s := CipherScheme(o, p); {
	case s != &schemeGCM && s != &schemeChaChaPoly:
		return chosenBlocks
	case len(iv) > 0:
		return chosenIV
	case p.IVLength != nil && *p.IVLength < minEnvelopeIVBits:
		return shortIV
	}
	return noRisk
}

// CheckEnvelopeKey refuses an Encrypt that could break the envelopes of a key that makes them.
func CheckEnvelopeKey(o *core.ManagedObject, p *core.CryptographicParameters, iv []byte) error {
	if !MakesEnvelopes(o) {
		return nil
	}
	switch riskOf(o, p, iv) {
	case chosenBlocks:
		return core.Errorf(core.BadCryptographicParameters, "object %s makes envelopes, so it encrypts only in a mode that authenticates: GCM, or ChaCha20-Poly1305", o.ID)
	case chosenIV:
		return core.Errorf(core.InvalidField, "object %s makes envelopes, so the server makes all its IVs; leave the IV/Counter/Nonce out", o.ID)
	case shortIV:
		return core.Errorf(core.BadCryptographicParameters, "object %s makes envelopes, so its IVs have at least %d bits, not %d", o.ID, minEnvelopeIVBits, *p.IVLength)
	}
	return nil
}

// NeedsRawMark reports whether a key must be marked by [MarkRawCipher] before an Encrypt. Of the
// keys that make envelopes only those for AES need it: what ChaCha20-Poly1305 gives away with one
// IV says nothing about another one.
func NeedsRawMark(o *core.ManagedObject, p *core.CryptographicParameters, iv []byte) bool {
	return o.Algorithm() == core.AlgorithmAES && riskOf(o, p, iv) != noRisk && !ranRawCipher(o)
}

// ranRawCipher reports whether a key has the mark of [MarkRawCipher].
func ranRawCipher(o *core.ManagedObject) bool {
	return o.Attributes.Find(core.RawCipherAttribute) >= 0
}

// MarkRawCipher returns the successor of a key that is about to encrypt in a way that could break
// envelopes. It makes no envelopes from then on: the key of all their tags, which is the encrypted
// zero block, may be known. A key that has made envelopes is refused.
func MarkRawCipher(o *core.ManagedObject) (*core.ManagedObject, error) {
	switch {
	case MakesEnvelopes(o):
		return nil, core.Errorf(core.BadCryptographicParameters, "object %s makes envelopes, so it encrypts neither with an IV of a client nor in a mode that does not authenticate, and derives no keys by ENCRYPT", o.ID)
	case ranRawCipher(o):
		return o, nil
	}
	next := o.Successor()
	next.Attributes = setOnce(next.Attributes, core.RawCipherAttribute, core.Bool(true))
	return next, nil
}
