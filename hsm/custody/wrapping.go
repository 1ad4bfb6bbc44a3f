package custody

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// wrapMechanism finds the mechanism for a client's wrapping key.
func (c *keyBase) wrapMechanism(with core.Key, p core.CryptographicParameters) (m hsm.Mechanism, err error) {
	switch {
	case with.Material.Kind != core.KeyAES:
		return m, core.Errorf(core.KeyWrapTypeNotSupported, "keys are wrapped under AES and RSA keys; %s is none", with.ID)
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

// rsaMechanism is the mechanism of a plan. Raw RSA is never used to wrap.
func (c *keyBase) rsaMechanism(plan soft.EncryptionPlan, use hsm.Uses) (hsm.Mechanism, error) {
	m := hsm.Mechanism{Type: hsm.RSAPKCS}
	if plan.OAEP {
		m = hsm.Mechanism{Type: hsm.RSAOAEP, OAEP: hsm.OAEP{Hash: plan.Hash, MGF: plan.MGF, Label: plan.Label}}
	}
	if !c.member.Has(m.Type, use) {
		return m, core.Errorf(core.UnsupportedByHSM, "this HSM lacks the mechanism to wrap under RSA in the way asked for")
	}
	return m, nil
}

// clearToWrap is what may be wrapped here: a given Key Value, or the bytes of a
// class C key. nil: only the HSM may wrap it.
func (c *keyBase) clearToWrap(ctx context.Context, k core.Key, ttlv []byte) ([]byte, error) {
	switch {
	case len(ttlv) > 0:
		return append([]byte{}, ttlv...), nil
	case ttlv != nil:
		return nil, nil
	case k.Material.Class == core.ClassC:
		return c.Clear(ctx, k, nil)
	}
	return c.bytesToWrap(ctx, k)
}

// bytesToWrap are the clear bytes to be wrapped if the HSM has no object of
// just these; nil if it has. Clear refuses what may not be seen.
func (c *keyBase) bytesToWrap(ctx context.Context, k core.Key) ([]byte, error) {
	switch {
	case k.Material.Mode == core.ModeData && k.Material.Class != core.ClassN, isFilledUp(k) && k.Material.Class == core.ClassC:
		return c.Clear(ctx, k, nil)
	case isFilledUp(k):
		return nil, core.Errorf(core.KeyWrapTypeNotSupported, "the HSM keeps the %d bytes of object %s with zeros behind them and would wrap those too; ask with Encoding Option TTLV Encoding if they were registered", k.Material.Length, k.ID)
	}
	return nil, nil
}

func wrapLength(k core.Key, raw, ttlv []byte) int {
	switch {
	case raw != nil:
		return len(raw)
	case ttlv != nil || isPrivate(k.Material.Kind):
		return 16 // padded when it was taken in
	}
	return k.Material.Length
}

// keyToWrap is what the HSM wraps: the TTLV that was kept beside a key if ttlv is not
// nil, else the key itself, extractable for this one call.
func (c *keyBase) keyToWrap(n *tenantKeys, k core.Key, ttlv []byte) (*hsm.Key, error) {
	blob, t := k.Material.Blob, hsm.Template{Type: keyTypeOf(k.Material.Kind, k.Material.Length), Sensitive: true, Extractable: true}
	if ttlv != nil {
		blob, t = k.Material.TTLV, wrappableSecret
	}
	ref, err := c.referTo(n, k, blob, t)
	return &ref, err
}
