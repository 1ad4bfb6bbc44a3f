package custody

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// keyUser uses keys, and wraps them for clients.
type keyUser struct {
	*keyBase
	ivs ivSource
}

// whereInGo returns where a symmetric key is used if not in the HSM; "" means in the HSM.
// A class C key is used in memory if copies are kept, since its bytes are no safer in
// the HSM. If the HSM lacks the mechanism, a class C key is used in Go, but only if
// hsm.allow_software is on; every other use is refused. m is 0 if no HSM has the
// mechanism.
func (c *keyUser) whereInGo(k *core.Key, m hsm.MechanismType, use hsm.Uses) (where string, refused bool) {
	switch {
	case !isSymmetric(k) || k.Material.Class != core.ClassC:
		return "", false
	case m != 0 && c.member.Has(m, use) && (c.copies != nil || k.Material.Mode == core.ModeData):
		return inMemory, false
	case m != 0 && c.member.Has(m, use):
		return "", false
	case c.mayUseSoftware(k):
		return inSoftware, false
	}
	return "", true
}

// mayUseSoftware reports whether a class C key may be used in Go if the HSM lacks the
// mechanism. The server and the tenant of the key must both allow it.
func (c *keyBase) mayUseSoftware(k *core.Key) bool {
	return c.options.AllowSoftware && !k.NoSoftware
}

// errNoSoftware is the error if the HSM lacks a mechanism for a class C key.
func errNoSoftware(doing string) error {
	return core.Errorf(core.UnsupportedByHSM, "this HSM does not %s; hsm.allow_software allows to use keys of class C outside it, unless the settings of the tenant forbid it (software)", doing)
}

func isSymmetric(k *core.Key) bool {
	switch k.Material.Kind {
	case core.KeyAES, core.KeyDES3, core.KeyGeneric, core.KeyData:
		return true
	}
	return false
}

// checkFit is checkAlgorithm for a row that has not been verified yet. If the row was
// tampered with, the error says that instead.
func (i *Installation) checkFit(k core.Key, alg core.CryptographicAlgorithm) error {
	err := checkAlgorithm(k, alg)
	if err == nil {
		return nil
	}
	if _, tampered := i.checkRow(k); tampered != nil {
		return tampered
	}
	return err
}

// checkAlgorithm refuses an algorithm that does not fit the key, in every class alike. A
// key that is stored unread has no use at all.
func checkAlgorithm(k core.Key, alg core.CryptographicAlgorithm) error {
	kind := k.Material.Kind
	if kind == core.KeyData && (k.Type == core.ObjectTypePrivateKey || k.Type == core.ObjectTypePublicKey) {
		return core.Errorf(core.IllegalOperation, "object %s is stored as it was registered and cannot be used: its format, algorithm or curve is not supported", k.ID)
	}
	ok := true
	switch alg {
	case core.AlgorithmAES:
		ok = kind == core.KeyAES
	case core.AlgorithmDES3:
		ok = kind == core.KeyDES3
	case core.AlgorithmChaCha20, core.AlgorithmChaCha20Poly1305:
		ok = isChaCha(k.Algorithm) && k.Material.Length == chachaKeyBytes
	default:
		if _, hmac := hmacMechanisms[alg]; hmac {
			ok = kind != core.KeyPublic && !isPrivate(kind) // any secret; see checkMAC
		}
	}
	if !ok {
		return core.Errorf(core.BadCryptographicParameters, "object %s is not a key for %v", k.ID, alg)
	}
	return nil
}

const chachaKeyBytes = 32

func isChaCha(alg core.CryptographicAlgorithm) bool {
	return alg == core.AlgorithmChaCha20 || alg == core.AlgorithmChaCha20Poly1305
}

// useKey uses a client's key in the HSM.
func (c *keyUser) useKey(ctx context.Context, k core.Key, u hsm.Use) (hsm.Used, error) {
	ref, err := c.Reference(k)
	if err != nil {
		return hsm.Used{}, err
	}
	return c.member.Use(ctx, &ref, u)
}
