package custody

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// MakeTransportKey makes an RSA pair, under whose public half others wrap keys for this
// HSM. The private half is of class N and does nothing but unwrap; it stays nowhere but in
// the material. Before the pair is returned, a known key is unwrapped under it, because an
// HSM tells only then whether it has the hash and the padding.
func (c *keyMaker) MakeTransportKey(ctx context.Context, k core.Key, t core.Transport) (m core.Material, spki []byte, err error) {
	s := core.KeySpec{Kind: core.KeyRSA, Class: core.ClassN, Mode: core.ModeWrapped, Bits: k.Bits, Format: core.KeyFormatTypePKCS8}
	if err := c.refuseClass(s); err != nil {
		return m, nil, err
	}
	if _, err := c.transportMechanisms(t); err != nil {
		return m, nil, err
	}
	m = newMaterial(s, 0)
	if spki, err = c.makePair(ctx, k, s, &m); err != nil {
		return m, nil, err
	}
	k.Material = &m
	return m, spki, c.tryTransportKey(ctx, k, t, spki)
}

// oaepOf returns the parameters of RSA-OAEP of a transport. MGF1 has the same hash, as the tools
// of cloud providers have it.
func oaepOf(t core.Transport) core.CryptographicParameters {
	return core.CryptographicParameters{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: t.Hash, MaskGenerator: core.MaskGeneratorMFG1, MaskGeneratorHashing: t.Hash}
}

// transportMechanisms returns the mechanisms by which a transport key unwraps: RSA-OAEP, then
// AES Key Wrap Padding if the transport has an AES key.
func (c *keyMaker) transportMechanisms(t core.Transport) (all []hsm.Mechanism, err error) {
	plan, err := soft.ResolveEncryption(oaepOf(t))
	if err != nil {
		return nil, err
	}
	outer, err := c.rsaMechanism(plan, hsm.Unwrap)
	if err != nil {
		return nil, err
	}
	if !t.AES {
		return []hsm.Mechanism{outer}, nil
	}
	inner := hsm.Mechanism{Type: hsm.AESKeyWrapPad}
	if !c.member.Has(inner.Type, hsm.Unwrap) {
		return nil, core.Errorf(core.UnsupportedByHSM, "this HSM lacks AES Key Wrap Padding (RFC 5649, CKM_AES_KEY_WRAP_PAD), so keys wrapped by RSA-AES-KWP cannot be imported; use RSA-OAEP alone")
	}
	return []hsm.Mechanism{outer, inner}, nil
}

// The example of RFC 5649 §6: a key of 20 bytes, wrapped under an AES key.
var (
	exampleKEK     = fromHex("5840df6e29b02af1ab493b705bf16ea1ae8338f4dcc176a8")
	exampleKey     = fromHex("c37b7e6492584340bed12207808941155068f738")
	exampleWrapped = fromHex("138bdeaa9b8fa7fc61f97742e72248ee5ae6ae5360d1ae6a5f54f373fa543b6a")
)

func fromHex(text string) []byte {
	b, err := hex.DecodeString(text)
	if err != nil {
		panic(err)
	}
	return b
}

// tryTransportKey unwraps a known key under a new transport key, and compares its digest.
func (c *keyMaker) tryTransportKey(ctx context.Context, k core.Key, t core.Transport, spki []byte) error {
	plan, err := soft.ResolveEncryption(oaepOf(t))
	if err != nil {
		return err
	}
	known, outer, inner := exampleKey, exampleKEK, exampleWrapped
	if !t.AES {
		outer, inner = exampleKey, nil
	}
	wrapped, err := soft.EncryptPublic(spki, plan, outer)
	if err != nil {
		return err
	}
	from, err := c.transported(k, t, append(wrapped, inner...))
	if err != nil {
		return err
	}
	made, err := c.member.Make(ctx, hsm.Order{Template: wrappableSecret, Unwrap: from, Digest: true})
	sum := sha256.Sum256(known)
	if core.CodeOf(err) == core.CryptographicFailure || (err == nil && made.SHA256 != nil && !bytes.Equal(made.SHA256, sum[:])) {
		return core.Wrap(core.UnsupportedByHSM, err, "this HSM does not unwrap what software wraps by RSA-OAEP with %v (and AES Key Wrap Padding of RFC 5649, if it is asked for), so keys cannot be imported in this way", plan.Hash)
	}
	return err
}

// transported returns wrapped bytes with the transport key and the mechanisms that unwrap them.
// With two mechanisms, an AES key stands before what is wrapped under it, as
// CKM_RSA_AES_KEY_WRAP writes it (PKCS#11 3.0 §2.1.22).
func (c *keyMaker) transported(with core.Key, t core.Transport, wrapped []byte) (*hsm.Wrapped, error) {
	mechanisms, err := c.transportMechanisms(t)
	if err != nil {
		return nil, err
	}
	under, err := c.Reference(with)
	if err != nil {
		return nil, err
	}
	from := &hsm.Wrapped{Under: &under, Mechanism: mechanisms[0], Blob: wrapped}
	if len(mechanisms) == 1 {
		return from, nil
	}
	const least = 16 // bytes, of AES Key Wrap Padding
	n := (with.Bits + 7) / 8
	if len(wrapped) < n+least || (len(wrapped)-n)%8 != 0 {
		return nil, core.Errorf(core.InvalidField, "%d wrapped bytes are not an AES key of %d bytes, wrapped by RSA-OAEP, and a key of multiples of 8 bytes behind it", len(wrapped), n)
	}
	from.Blob, from.Inner = wrapped[:n], &hsm.Wrapped{Mechanism: mechanisms[1], Blob: wrapped[n:]}
	return from, nil
}

// ImportTransported imports a key that somebody wrapped under the public half of a transport
// key: directly, or under an AES key of one use that is wrapped under it (CKM_RSA_AES_KEY_WRAP).
// Many HSMs lack that mechanism, so its two steps are made one after the other. All faults of the
// wrapped bytes get the same answer; see unwrapUnderRSA.
func (c *keyMaker) ImportTransported(ctx context.Context, k core.Key, s core.KeySpec, with core.Key, t core.Transport, wrapped []byte) (m core.Material, facts core.KeyFacts, err error) {
	if !t.AES {
		return c.unwrapUnderRSA(ctx, k, s, with, oaepOf(t), wrapped)
	}
	length := keyBytes(s.Kind, s.Bits)
	if !isPrivate(s.Kind) && !isWrappable(length) {
		return m, facts, core.Errorf(core.InvalidField, "a wrapped key of %d bits cannot be imported; the HSM takes multiples of 64 bits, at least 128", s.Bits)
	}
	if err := c.refuseClass(s); err != nil {
		return m, facts, err
	}
	from, err := c.transported(with, t, wrapped)
	if err != nil {
		return m, facts, err
	}
	if !isPrivate(s.Kind) {
		return c.unwrapMeasured(ctx, k, s, from)
	}
	o := hsm.Order{Template: c.newKeyTemplate(&k, s, length), Unwrap: from}
	if o.Expect, err = claimedParts(s); err != nil {
		return m, facts, err
	}
	m = newMaterial(s, length)
	if _, err = c.makeKey(ctx, k, &m, o); core.CodeOf(err) == core.CryptographicFailure {
		err = errUnwrap()
	}
	return m, core.KeyFacts{ExecutedIn: inToken}, err
}
