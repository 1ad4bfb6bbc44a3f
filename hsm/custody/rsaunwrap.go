package custody

import (
	"bytes"
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// unwrapUnderRSA imports a key that a client wrapped under the public half of with. The
// HSM unwraps it directly into an object of its class; it is never in clear here. All
// faults of the wrapped bytes get the same answer. Different answers would let anyone
// decrypt the keys of others (Manger for OAEP, Bleichenbacher for PKCS#1 v1.5).
func (c *keyMaker) unwrapUnderRSA(ctx context.Context, k core.Key, s core.KeySpec, with core.Key, p core.CryptographicParameters, wrapped []byte) (m core.Material, facts core.KeyFacts, err error) {
	plan, err := soft.ResolveEncryption(p)
	if err != nil {
		return m, facts, err
	}
	if err := checkUnwrapUnderRSA(s, with, wrapped); err != nil {
		return m, facts, err
	}
	if err := c.refuseClass(s); err != nil {
		return m, facts, err
	}
	mechanism, err := c.rsaMechanism(plan, hsm.Unwrap)
	if err != nil {
		return m, facts, err
	}
	under, err := c.Reference(with)
	if err != nil {
		return m, facts, err
	}
	unwrap := func() error {
		m, facts, err = c.unwrapMeasured(ctx, k, s, &hsm.Wrapped{Under: &under, Mechanism: mechanism, Blob: wrapped})
		return err
	}
	if plan.OAEP {
		return m, facts, unwrap()
	}
	return m, facts, c.oracle.guardUnwrap(ctx, c.options.UnwrapPKCS1, with, unwrap)
}

// checkUnwrapUnderRSA refuses requests that no wrapped bytes can fulfil.
func checkUnwrapUnderRSA(s core.KeySpec, with core.Key, wrapped []byte) error {
	length := keyBytes(s.Kind, s.Bits)
	switch {
	case with.Material.Kind != core.KeyRSA:
		return core.Errorf(core.IllegalOperation, "object %s is a public key, which does not unwrap; use its private key", with.ID)
	case isPrivate(s.Kind):
		return core.Errorf(core.KeyWrapTypeNotSupported, "private keys are not unwrapped under RSA keys; wrap them under an AES key")
	case len(wrapped) != (with.Bits+7)/8:
		return core.Errorf(core.InvalidField, "%d wrapped bytes do not come from an RSA key of %d bits", len(wrapped), with.Bits)
	case length != 0 && !isWrappable(length):
		return core.Errorf(core.InvalidField, "a wrapped key of %d bits cannot be imported; the HSM takes multiples of 64 bits, at least 128", s.Bits)
	}
	return nil
}

// errUnwrap is the one answer to all faults of wrapped bytes.
func errUnwrap() error {
	return core.Errorf(core.CryptographicFailure, "the wrapped key cannot be unwrapped: the wrapping key, the padding, the hash or the length is wrong")
}

// unwrapMeasured finds out the true length of a wrapped key, then unwraps it.
func (c *keyMaker) unwrapMeasured(ctx context.Context, k core.Key, s core.KeySpec, from *hsm.Wrapped) (m core.Material, facts core.KeyFacts, err error) {
	facts.ExecutedIn = inToken
	defer func() {
		if core.CodeOf(err) == core.CryptographicFailure {
			err = errUnwrap()
		}
	}()
	n, err := c.unwrappedLength(ctx, k, s.Class, from)
	if err != nil {
		return m, facts, err
	}
	if length := keyBytes(s.Kind, s.Bits); (length != 0 && n != length) || !isWrappable(n) {
		return m, facts, errUnwrap()
	}
	m = newMaterial(s, n)
	made, err := c.makeKey(ctx, k, &m, hsm.Order{Template: c.newKeyTemplate(&k, s, n), Unwrap: from, Digest: true})
	facts.SHA256 = made.SHA256
	return m, facts, err
}

// unwrappedLength returns the true length of a wrapped key in bytes: RSA unwraps a key of
// any length, and AES Key Wrap Padding hides up to 7 bytes of it, whatever the client says. SoftHSM2 does not tell CKA_VALUE_LEN of such an
// object. Instead the key is wrapped under the class KEK, which fills it up to blocks of
// 8 bytes, and unwrapped. If its digest is then different, its length was not a multiple
// of 8 bytes.
func (c *keyMaker) unwrappedLength(ctx context.Context, k core.Key, class core.Class, from *hsm.Wrapped) (int, error) {
	kek, err := c.newestKEKOf(k.Tenant, class)
	if err != nil {
		return 0, err
	}
	before, err := c.member.Make(ctx, hsm.Order{Template: wrappableSecret, Unwrap: from, Digest: true, Measure: true, KEK: kek})
	if err != nil || before.Bytes > 0 {
		return before.Bytes, err
	}
	asKept := wrappableSecret
	asKept.Extractable = class != core.ClassN // the template of the KEK demands it
	after, err := c.member.Make(ctx, hsm.Order{Template: asKept, Unwrap: &hsm.Wrapped{Under: &hsm.Key{Label: kek}, Mechanism: keyWrap, Blob: before.Blob}, Digest: true})
	if err != nil {
		return 0, err
	}
	if before.SHA256 == nil || after.SHA256 == nil {
		return 0, core.Errorf(core.UnsupportedByHSM, "this HSM tells neither the length nor the digest of an unwrapped key, so its length cannot be checked")
	}
	if !bytes.Equal(before.SHA256, after.SHA256) {
		return 0, errUnwrap()
	}
	return len(before.Blob) - wrapOverhead, nil
}
