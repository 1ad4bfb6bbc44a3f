package custody

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// Derive derives a key from another one and keeps it as its class says. The derived bytes
// are in a buffer of this process until the HSM has them. The bytes of a base key of class N
// or X never are: the HSM derives from it by HMAC, by CMAC or by encryption.
func (c *Custody) Derive(ctx context.Context, k core.Key, s core.KeySpec, base core.Key, d *core.Derivation) (m core.Material, facts core.KeyFacts, err error) {
	if isWeaker(s.Class, base.Material.Class) {
		return m, facts, core.Errorf(core.PermissionDenied, "object %s is of class %s, and no key of class %s is derived from it", base.ID, base.Material.Class, s.Class)
	}
	derived := make([]byte, keyBytes(s.Kind, s.Bits))
	defer core.Retire(derived)
	where, err := c.deriveBytes(ctx, base, d, derived)
	if err != nil {
		return m, facts, err
	}
	m, facts, err = c.Import(ctx, k, s, derived)
	facts.ExecutedIn = where
	return m, facts, err
}

// DeriveBytes derives bytes that leave in clear. The base key is of class C, whose bytes may
// leave too.
func (c *Custody) DeriveBytes(ctx context.Context, base core.Key, d *core.Derivation, out []byte) (where string, err error) {
	if class := base.Material.Class; class != core.ClassC {
		return "", core.Errorf(core.Sensitive, "object %s is of class %s, and what is derived from it does not leave in clear", base.ID, class)
	}
	return c.deriveBytes(ctx, base, d, out)
}

// isWeaker reports whether a class forbids less than another one.
func isWeaker(class, than core.Class) bool {
	return class != than && (than == core.ClassN || (than == core.ClassX && class == core.ClassC))
}

// deriveBytes fills out with bytes that are derived from a key, and returns where that ran.
func (c *Custody) deriveBytes(ctx context.Context, base core.Key, d *core.Derivation, out []byte) (where string, err error) {
	if d.DataOf == nil {
		return c.deriveFrom(ctx, base, d, out)
	}
	if class := d.DataOf.Material.Class; class != core.ClassC {
		return "", core.Errorf(core.UnsupportedByHSM, "object %s, the derivation data, is of class %s and stays in the HSM, which takes data from outside only; use Secret Data of class C, or Derivation Data", d.DataOf.ID, class)
	}
	err = c.withClear(ctx, *d.DataOf, func(b []byte) (err error) {
		known := *d
		known.Data = b
		where, err = c.deriveFrom(ctx, base, &known, out)
		return err
	})
	return where, err
}

// deriveFrom derives by data that is known: in memory from a class C key, as whereInGo says,
// else in the HSM.
func (c *Custody) deriveFrom(ctx context.Context, base core.Key, d *core.Derivation, out []byte) (where string, err error) {
	algorithm := d.PRF
	if d.Method == core.DerivationMethodENCRYPT {
		algorithm = d.Parameters.CryptographicAlgorithm
	}
	if err := c.checkFit(base, algorithm); err != nil {
		return "", err
	}
	if err := soft.CheckDerivation(d, len(out)); err != nil {
		return "", err
	}
	mechanism, use := derivingMechanism(d)
	where, refused := c.whereInGo(&base, mechanism, use)
	switch {
	case refused:
		return "", errNoSoftware("derive keys by " + d.Method.String())
	case where == "":
		return inToken, c.deriveInToken(ctx, base, d, out)
	}
	return where, c.withClear(ctx, base, func(b []byte) error { return soft.DeriveKey(ctx, b, d, out) })
}

// derivingMechanism returns the mechanism by which an HSM derives, and its use of the base
// key. The mechanism is 0 if the HSM would have to give the bytes of the base key away.
func derivingMechanism(d *core.Derivation) (hsm.MechanismType, hsm.Uses) {
	switch d.Method {
	case core.DerivationMethodENCRYPT:
		return cipherMechanisms[blockCipher{d.Parameters.CryptographicAlgorithm, d.Parameters.BlockCipherMode}], hsm.Encrypt
	case core.DerivationMethodHMAC, core.DerivationMethodNIST800_108C, core.DerivationMethodNIST800_108F, core.DerivationMethodNIST800_108DPI:
		return macMechanism(d.PRF), hsm.Sign
	}
	return 0, hsm.Sign
}

// deriveInToken derives by calls of the HSM under the base key.
func (c *Custody) deriveInToken(ctx context.Context, base core.Key, d *core.Derivation, out []byte) error {
	mechanism, use := derivingMechanism(d)
	if mechanism == 0 {
		return core.Errorf(core.UnsupportedByHSM, "%v works on the bytes of the base key, and those of object %s (class %s) stay in the HSM; derive by HMAC, ENCRYPT or a method of NIST 800-108", d.Method, base.ID, base.Material.Class)
	}
	if !c.member.Has(mechanism, use) {
		return core.Errorf(core.UnsupportedByHSM, "this HSM lacks the mechanism for %v with these parameters", d.Method)
	}
	ref, err := c.derivingReference(base, d.PRF, use)
	if err != nil {
		return err
	}
	if d.Method == core.DerivationMethodENCRYPT {
		return c.deriveByEncryption(ctx, &ref, mechanism, d, out)
	}
	return soft.ExpandKey(d, func(sum, data []byte) error {
		return c.fill(ctx, &ref, hsm.Use{Operation: hsm.Sign, Mechanism: hsm.Mechanism{Type: mechanism}, Data: data, Into: sum})
	}, out)
}

// deriveByEncryption takes the key from the start of a ciphertext.
func (c *Custody) deriveByEncryption(ctx context.Context, base *hsm.Key, mechanism hsm.MechanismType, d *core.Derivation, out []byte) error {
	plan, err := soft.DerivingCipher(d)
	if err != nil {
		return err
	}
	data := d.Data
	if plan.Pad {
		data = soft.Pad(data, plan.Block)
		defer clear(data)
	}
	enciphered := make([]byte, len(data))
	defer core.Retire(enciphered)
	err = c.fill(ctx, base, hsm.Use{Operation: hsm.Encrypt, Mechanism: hsm.Mechanism{Type: mechanism, IV: d.IV}, Data: data, Into: enciphered})
	copy(out, enciphered)
	return err
}

// fill uses a key, and fails unless the answer fills u.Into.
func (c *Custody) fill(ctx context.Context, k *hsm.Key, u hsm.Use) error {
	used, err := c.member.Use(ctx, k, u)
	if err == nil && len(used.Data) != len(u.Into) {
		err = core.Errorf(core.CryptographicFailure, "the HSM answers %d bytes in place of %d", len(used.Data), len(u.Into))
	}
	return err
}

// derivingReference returns the name of a base key for the HSM, for one use only, whatever
// the mask of the key allows besides. For an HMAC a wrapped key becomes a generic secret.
func (c *Custody) derivingReference(base core.Key, prf core.CryptographicAlgorithm, use hsm.Uses) (ref hsm.Key, err error) {
	n, err := c.checkRow(base)
	if err != nil {
		return ref, err
	}
	m := base.Material
	if m.Mode == core.ModeData {
		return ref, core.Errorf(core.UnsupportedByHSM, "object %s is stored as data, which the HSM cannot use as a key", base.ID)
	}
	typ := keyTypeOf(m.Kind, m.Length)
	if _, hmac := hmacMechanisms[prf]; hmac {
		if err := checkHMACBase(base, prf); err != nil {
			return ref, err
		}
		typ = hsm.GenericSecret
	}
	ref, err = c.referTo(n, base, m.Blob, hsm.Template{Type: typ, Sensitive: true, Uses: use, Unmodifiable: true})
	ref.MAC = slices.Concat([]byte{byte(use), byte(typ)}, m.MAC)
	return ref, err
}

// checkHMACBase refuses a base key with which the HSM makes no HMAC, or a wrong one.
func checkHMACBase(base core.Key, prf core.CryptographicAlgorithm) error {
	m := base.Material
	length := m.Length // in the HSM
	switch {
	case m.Mode == core.ModeWrapped:
		length = len(m.Blob) - wrapOverhead
	case m.Kind != core.KeyGeneric:
		return core.Errorf(core.UnsupportedByHSM, "object %s is kept in the HSM as a key for %v, which makes no HMAC", base.ID, base.Algorithm)
	case isFilledUp(base):
		length = hmacBlock
	}
	if h, err := soft.HMACHash(prf); err != nil || length < h.Size() {
		return core.Errorf(core.UnsupportedByHSM, "this HSM makes no HMAC by %v with a key of %d bytes, which is shorter than the digest", prf, m.Length)
	}
	if length != m.Length && m.Length > hmacBlock {
		return core.Errorf(core.UnsupportedByHSM, "the HSM has the %d bytes of object %s with zeros after them, and would derive another key", m.Length, base.ID)
	}
	return nil
}
