package custody

import (
	"bytes"
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// wrapMechanism returns the mechanism for a client's AES wrapping key.
func (c *keyBase) wrapMechanism(with core.Key, p core.CryptographicParameters) (m hsm.Mechanism, err error) {
	switch {
	case with.Material.Kind != core.KeyAES:
		return m, core.Errorf(core.KeyWrapTypeNotSupported, "keys are wrapped under AES and RSA keys, and object %s is not one", with.ID)
	case p.BlockCipherMode == core.BlockCipherModeNISTKeyWrap:
		m.Type = hsm.AESKeyWrap
	case p.BlockCipherMode == core.BlockCipherModeAESKeyWrapPadding:
		m.Type = hsm.AESKeyWrapPad
	default:
		return m, core.Errorf(core.KeyWrapTypeNotSupported, "keys are wrapped by NIST Key Wrap or AES Key Wrap Padding, not by %v", p.BlockCipherMode)
	}
	if !c.member.Has(m.Type, hsm.Wrap) {
		return m, core.Errorf(core.UnsupportedByHSM, "this HSM lacks the mechanism for %v", p.BlockCipherMode)
	}
	return m, nil
}

// isRSAKey reports whether a client's wrapping key is half of an RSA pair.
func isRSAKey(with core.Key) bool {
	return with.Material.Kind == core.KeyRSA || (with.Material.Kind == core.KeyPublic && with.Algorithm == core.AlgorithmRSA)
}

// rsaMechanism returns the mechanism that wraps by a plan. Raw RSA never wraps.
func (c *keyBase) rsaMechanism(plan soft.EncryptionPlan, use hsm.Uses) (hsm.Mechanism, error) {
	m := hsm.Mechanism{Type: hsm.RSAPKCS}
	if plan.OAEP {
		m = hsm.Mechanism{Type: hsm.RSAOAEP, OAEP: hsm.OAEP{Hash: plan.Hash, MGF: plan.MGF, Label: plan.Label}}
	}
	if !c.member.Has(m.Type, use) {
		return m, core.Errorf(core.UnsupportedByHSM, "this HSM does not wrap under RSA keys with this padding")
	}
	return m, nil
}

// clearToWrap returns the bytes that may be wrapped here: a given Key Value, or a class C
// key. nil: only the HSM may wrap the key. The caller zeroes them.
func (c *keyBase) clearToWrap(ctx context.Context, k core.Key, ttlv []byte) ([]byte, error) {
	if ttlv == nil && k.Material.Class == core.ClassC {
		return c.Clear(ctx, k, nil)
	}
	return c.bytesToWrap(ctx, k, ttlv)
}

// bytesToWrap returns the bytes to be wrapped: a given Key Value, or a key that the HSM
// does not have in just these bytes. nil: the HSM has an object to wrap. Clear refuses
// keys that may not be in clear. The caller zeroes the bytes.
func (c *keyBase) bytesToWrap(ctx context.Context, k core.Key, ttlv []byte) ([]byte, error) {
	switch {
	case len(ttlv) > 0:
		return bytes.Clone(ttlv), nil
	case ttlv != nil:
		return nil, nil
	case k.Material.Mode == core.ModeData && k.Material.Class != core.ClassN, isFilledUp(k) && k.Material.Class == core.ClassC:
		return c.Clear(ctx, k, nil)
	case isFilledUp(k):
		return nil, core.Errorf(core.KeyWrapTypeNotSupported, "the HSM has the %d bytes of object %s with zeros after them, and would wrap the zeros too; if the key was registered, ask with Encoding Option TTLV Encoding", k.Material.Length, k.ID)
	}
	return nil, nil
}

// checkWrapLength refuses bytes that NIST Key Wrap cannot carry. AES Key Wrap Padding (RFC 5649)
// can, but SoftHSM2 fills them up with zeros before it wraps them, so that the key that leaves is
// another one. A stored TTLV and a private key show their own end.
func checkWrapLength(k core.Key, raw, ttlv []byte) error {
	size := k.Material.Length
	switch {
	case raw != nil:
		size = len(raw)
	case ttlv != nil || isPrivate(k.Material.Kind):
		return nil
	}
	if !isWrappable(size) {
		return core.Errorf(core.KeyWrapTypeNotSupported, "under AES keys the HSM wraps multiples of 8 bytes, at least 16; object %s has %d: wrap it under an RSA key, or ask with Encoding Option TTLV Encoding", k.ID, size)
	}
	return nil
}

// keyToWrap returns the name of the object that the HSM wraps: the stored TTLV of a key if
// ttlv is not nil, else the key itself, which is extractable only for this one call.
func (c *keyBase) keyToWrap(n *tenantKeys, k core.Key, ttlv []byte) (*hsm.Key, error) {
	blob, t := k.Material.Blob, hsm.Template{Type: keyTypeOf(k.Material.Kind, k.Material.Length), Sensitive: true, Extractable: true}
	if ttlv != nil {
		blob, t = k.Material.TTLV, wrappableSecret
	}
	ref, err := c.referTo(n, k, blob, t)
	return &ref, err
}
