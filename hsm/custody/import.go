package custody

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/format"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// Import takes a key that is in clear, and protects it as its class says.
func (c *keyMaker) Import(ctx context.Context, k core.Key, s core.KeySpec, b []byte) (m core.Material, facts core.KeyFacts, err error) {
	if err := c.refuseClass(s); err != nil {
		return m, facts, err
	}
	registered := s.Registered
	if registered == nil {
		registered = b
	}
	facts = core.KeyFacts{SHA256: c.digest(ctx, s.Class, registered), ExecutedIn: inToken}
	m = newMaterial(s, len(b))
	if err = c.protectBytes(ctx, k, s, &m, b); err != nil { // parts of the key may be wrapped already
		core.Retire(m.Blob)
		core.Retire(m.TTLV)
		m.Blob, m.TTLV = nil, nil
	}
	return m, facts, err
}

// protectBytes puts a key under the KEK of its class, or into the HSM. Bytes that are not
// a key of the HSM go under D.
func (c *keyMaker) protectBytes(ctx context.Context, k core.Key, s core.KeySpec, m *core.Material, b []byte) error {
	carried, ok := carriedBytes(s, &k, b)
	defer core.Retire(carried)
	switch {
	case !ok && s.Class == core.ClassN:
		return core.Errorf(core.InvalidField, "a key of %d bytes that is not Extractable cannot be protected; the HSM takes multiples of 8 bytes, at least 16", len(b))
	case !ok || s.Kind == core.KeyPublic || (s.Kind == core.KeyData && s.Class != core.ClassN && !isWrappedSecretData(s, &k)):
		m.Mode, m.CKAID = core.ModeData, nil
		return c.sealData(ctx, k, m, b)
	case s.Kind == core.KeyData:
		m.Mode, m.CKAID = core.ModeWrapped, nil // bytes that must not leave in clear go under a KEK, not D
	}
	return c.importBytes(ctx, k, s, m, carried)
}

// carriedBytes returns a copy of the bytes that go through the key wrap: private keys
// with zeros after their DER, HMAC keys with zeros if they need them. It reports false if
// the key wrap cannot carry them. The caller zeroes the copy.
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

// isWrappedSecretData reports whether s is Secret Data of class X. It is wrapped like a
// key: no use brings its bytes into this process again. If RFC 3394 cannot wrap its
// length, zeros are added, and it leaves only as its TTLV, whose length always fits.
// Without a TTLV it is sealed under D.
func isWrappedSecretData(s core.KeySpec, k *core.Key) bool {
	return s.Kind == core.KeyData && s.Class == core.ClassX && k.Type == core.ObjectTypeSecretData
}

// hmacBlock is the smallest block of a hash, in bytes. HMAC itself fills its key with
// zeros up to the block, so zeros after a shorter key change no MAC.
const hmacBlock = 64

// carriedHMAC returns the length of an HMAC key of n bytes in the key wrap. It is filled
// up, since HSMs refuse keys shorter than the digest; a filled key serves every hash. A
// class X key that is long enough is not filled, and no Secret Data of class X: the HSM would
// wrap the zeros too when it leaves.
func carriedHMAC(class core.Class, alg core.CryptographicAlgorithm, n int) int {
	h, err := soft.HMACHash(alg)
	if n > hmacBlock || (class == core.ClassX && isWrappable(n) && (alg == 0 || (err == nil && n >= h.Size()))) {
		return n
	}
	return hmacBlock
}

// isFilledUp reports whether the HSM has a symmetric key with zeros after it.
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

// importBytes makes a key of the carried bytes. A private key of class N or X must sign
// first; see proveBlob.
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

// wrapBytes wraps bytes under the newest KEK of a class. They are a private key on its
// way into the HSM, or the TTLV Key Value of a registered class X key: Get can then wrap
// that with TTLV Encoding and never sees it again.
func (c *keyMaker) wrapBytes(ctx context.Context, k core.Key, class core.Class, b []byte) ([]byte, error) {
	kek, err := c.newestKEKOf(k.Tenant, class)
	if err != nil {
		return nil, err
	}
	made, err := c.member.Make(ctx, hsm.Order{Template: wrappableSecret, Bytes: b, KEK: kek})
	return made.Blob, err
}

// importResidentPrivate brings a private key into the HSM. It is wrapped as bytes and
// unwrapped as a key, so nothing of it is parsed here. It is wrapped under the KEK of its
// own class: on its way the HSM protects it as well as afterwards.
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
	kek, err := c.newestKEKOf(k.Tenant, s.Class)
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
