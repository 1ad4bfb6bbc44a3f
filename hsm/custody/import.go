package custody

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/format"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// Import takes clear bytes into the HSM's keeping.
func (c *keyMaker) Import(ctx context.Context, k core.Key, s core.KeySpec, b []byte) (m core.Material, facts core.KeyFacts, err error) {
	if err := c.refuseClass(s); err != nil {
		return m, facts, err
	}
	registered := s.Registered
	if registered == nil {
		registered = b
	}
	facts = core.KeyFacts{SHA256: c.digest(ctx, s.Class, registered), Where: inToken}
	m = newMaterial(s, len(b))
	carried, ok := carriedBytes(s, &k, b)
	defer core.Retire(carried)
	defer func() {
		if err != nil { // what was wrapped of a key that is not kept
			core.Retire(m.Blob)
			core.Retire(m.TTLV)
			m.Blob, m.TTLV = nil, nil
		}
	}()
	if !ok && s.Class == core.ClassN {
		return m, facts, core.Errorf(core.InvalidField, "%d bytes that are not Extractable cannot be kept; the HSM takes multiples of 8 bytes, at least 16", len(b))
	}
	if !ok || s.Kind == core.KeyPublic || (s.Kind == core.KeyData && s.Class != core.ClassN && !isWrappedSecretData(s, &k)) {
		m.Mode, m.CKAID = core.ModeData, nil
		err = c.sealData(ctx, k, &m, b)
		return m, facts, err
	}
	if s.Kind == core.KeyData {
		m.Mode, m.CKAID = core.ModeWrapped, nil // bytes that must not leave in clear go under a KEK, not D
	}
	err = c.importBytes(ctx, k, s, &m, carried)
	return m, facts, err
}

// carriedBytes is what goes through the key wrap: private keys with zeros
// behind their DER, HMAC keys filled up with zeros where that is needed. A copy;
// the caller zeroes it.
func carriedBytes(s core.KeySpec, k *core.Key, b []byte) ([]byte, bool) {
	n := len(b)
	switch {
	case isPrivate(s.Kind), s.TTLV != nil && isWrappedSecretData(s, k):
		n = max(16, (n+7)&^7)
	case s.Kind == core.KeyGeneric:
		n = carriedHMAC(s.Class, k.Algorithm, n)
	}
	if !isWrappable(n) {
		return nil, false
	}
	return append(make([]byte, 0, n), b...)[:n], true
}

// isWrappedSecretData reports whether s is Secret Data of class X, which is kept as a key
// is: no use of it brings its bytes into this process again. If RFC 3394 cannot wrap
// its length, it has zeros behind it and leaves only as its TTLV, which always has
// such a length; without that it is sealed under D.
func isWrappedSecretData(s core.KeySpec, k *core.Key) bool {
	return s.Kind == core.KeyData && s.Class == core.ClassX && k.Type == core.ObjectTypeSecretData
}

// hmacBlock is the smallest block of a hash in bytes. HMAC fills its key up to the
// block with zeros itself, so zeros behind a shorter one change no MAC.
const hmacBlock = 64

// carriedHMAC is how long an HMAC key of n bytes is carried: filled up, since
// tokens refuse keys shorter than the digest, and so that it serves every hash.
// A class X key that can do without goes as it is: it leaves wrapped by the HSM,
// which would wrap the zeros too.
func carriedHMAC(class core.Class, alg core.CryptographicAlgorithm, n int) int {
	h, err := soft.HMACHash(alg)
	if n > hmacBlock || (class == core.ClassX && isWrappable(n) && err == nil && n >= h.Size()) {
		return n
	}
	return hmacBlock
}

// isFilledUp reports whether the HSM has a symmetric key with zeros behind it.
func isFilledUp(k core.Key) bool {
	m := k.Material
	switch {
	case m.Kind != core.KeyGeneric && m.Kind != core.KeyData:
		return false
	case m.Mode == core.ModeWrapped:
		return len(m.Blob)-wrapOverhead != m.Length
	}
	return m.Kind == core.KeyGeneric && carriedHMAC(m.Class, k.Algorithm, m.Length) != m.Length
}

// importBytes makes a key of the bytes that are carried. A private key of class N or
// X must prove itself before it is kept.
func (c *keyMaker) importBytes(ctx context.Context, k core.Key, s core.KeySpec, m *core.Material, carried []byte) (err error) {
	if m.Mode == core.ModeResident && isPrivate(s.Kind) {
		return c.importResidentPrivate(ctx, k, s, m, carried)
	}
	t := wrappableSecret
	if m.Mode == core.ModeResident {
		t = c.newKeyTemplate(&k, s, m.Length)
	} else if !isPrivate(s.Kind) {
		t.Type = keyTypeOf(s.Kind, m.Length)
	}
	if s.TTLV != nil && m.Mode == core.ModeWrapped {
		if m.TTLV, err = c.wrapBytes(ctx, k, core.ClassX, s.TTLV); err != nil {
			return err
		}
	}
	if _, err := c.makeKey(ctx, k, m, hsm.Order{Template: t, Bytes: carried}); err != nil || !isPrivate(s.Kind) || s.Class == core.ClassC {
		return err
	}
	return c.proveBlob(ctx, k, m.Class, m.Blob, carried[:m.Length])
}

// wrapBytes wraps bytes under the newest KEK of a class: the TTLV Key Value of a
// registered class X key, so that Get can wrap it with TTLV Encoding without ever
// seeing it again, or a private key on its way into the HSM.
func (c *keyMaker) wrapBytes(ctx context.Context, k core.Key, class core.Class, b []byte) ([]byte, error) {
	n, err := c.keysOf(k.Tenant)
	if err != nil {
		return nil, err
	}
	kek, _, err := n.newestKEK(class)
	if err != nil {
		return nil, err
	}
	made, err := c.member.Make(ctx, hsm.Order{Template: wrappableSecret, Bytes: b, KEK: kek})
	return made.Blob, err
}

// importResidentPrivate brings a private key into the HSM: wrapped under the class
// KEK as bytes and unwrapped as a key, so that no component is parsed here. It is
// wrapped under the key of its own class, so that the HSM gives it away no more easily
// while it passes than afterwards.
func (c *keyMaker) importResidentPrivate(ctx context.Context, k core.Key, s core.KeySpec, m *core.Material, carried []byte) error {
	if s.Kind == core.KeyEd25519 {
		return c.importResidentEd25519(ctx, k, s, m, carried[:m.Length])
	}
	blob, err := c.wrapBytes(ctx, k, s.Class, carried)
	if err != nil {
		return err
	}
	defer core.Retire(blob)
	if s.Class != core.ClassC {
		if err := c.proveBlob(ctx, k, s.Class, blob, carried[:m.Length]); err != nil {
			return err
		}
	}
	n, err := c.keysOf(k.Tenant)
	if err != nil {
		return err
	}
	kek, _, err := n.newestKEK(s.Class)
	if err != nil {
		return err
	}
	_, err = c.makeKey(ctx, k, m, hsm.Order{Template: c.newKeyTemplate(&k, s, 0), Unwrap: &hsm.Wrapped{Under: &hsm.Key{Label: kek}, Mechanism: keyWrap, Blob: blob}})
	return err
}

func (c *keyMaker) importResidentEd25519(ctx context.Context, k core.Key, s core.KeySpec, m *core.Material, der []byte) error {
	seed, err := format.SeedOf(der)
	if err != nil {
		return err
	}
	t := c.newKeyTemplate(&k, s, 0)
	if t.Curve, err = edwardsCurve(); err != nil {
		return err
	}
	_, err = c.makeKey(ctx, k, m, hsm.Order{Template: t, Bytes: seed})
	return err
}
