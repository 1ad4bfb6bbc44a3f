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

// whereInGo returns where a symmetric key is used if not in the HSM: "" means that the
// HSM uses it. A class C key whose copy is in memory is used there, since its bytes
// are no safer in the HSM. If the HSM has no mechanism, class C alone is used in Go,
// and only if hsm.allow_software says so; else the use is refused. m is 0 if no HSM
// has one.
func (c *keyUser) whereInGo(k *core.Key, m hsm.MechanismType, use hsm.Uses) (where string, refused bool) {
	switch {
	case !isSymmetric(k) || k.Material.Class != core.ClassC:
		return "", false
	case m != 0 && c.member.Has(m, use) && (c.copies != nil || k.Material.Mode == core.ModeData):
		return inMemory, false
	case m != 0 && c.member.Has(m, use):
		return "", false
	case c.options.AllowSoftware:
		return inSoftware, false
	}
	return "", true
}

// errNoSoftware is the answer if the HSM lacks what a class C key is asked for.
func errNoSoftware(doing string) error {
	return core.Errorf(core.UnsupportedByHSM, "this HSM does not %s; hsm.allow_software lets keys that may leave in clear be used outside it", doing)
}

func isSymmetric(k *core.Key) bool {
	switch k.Material.Kind {
	case core.KeyAES, core.KeyDES3, core.KeyGeneric, core.KeyData:
		return true
	}
	return false
}

// cipherMechanism is the mechanism for a cipher; 0 if there is none.
func cipherMechanism(alg core.CryptographicAlgorithm, mode core.BlockCipherMode) hsm.MechanismType {
	switch alg {
	case core.AlgorithmAES:
		switch mode {
		case core.BlockCipherModeECB:
			return hsm.AESECB
		case core.BlockCipherModeCBC:
			return hsm.AESCBC
		case core.BlockCipherModeCTR:
			return hsm.AESCTR
		case core.BlockCipherModeGCM:
			return hsm.AESGCM
		}
	case core.AlgorithmDES3:
		switch mode {
		case core.BlockCipherModeECB:
			return hsm.DES3ECB
		case core.BlockCipherModeCBC:
			return hsm.DES3CBC
		}
	}
	return 0
}

// macMechanism is the mechanism for a MAC; 0 if there is none.
func macMechanism(alg core.CryptographicAlgorithm) hsm.MechanismType {
	switch alg {
	case core.AlgorithmAES:
		return hsm.AESCMAC
	case core.AlgorithmDES3:
		return hsm.DES3CMAC
	}
	return hmacMechanisms[alg]
}

var hmacMechanisms = map[core.CryptographicAlgorithm]hsm.MechanismType{core.AlgorithmHMACMD5: hsm.MD5HMAC, core.AlgorithmHMACSHA1: hsm.SHA1HMAC,
	core.AlgorithmHMACSHA224: hsm.SHA224HMAC, core.AlgorithmHMACSHA256: hsm.SHA256HMAC,
	core.AlgorithmHMACSHA384: hsm.SHA384HMAC, core.AlgorithmHMACSHA512: hsm.SHA512HMAC}

// checkFit is checkAlgorithm for a row that has not been verified yet: a refusal that
// rests on a tampered row says so.
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

// checkAlgorithm refuses, for every class alike, what a key is not for: any use of a
// key that is kept as it was registered, because its form is not read here, and of a
// symmetric key another algorithm than its own.
func checkAlgorithm(k core.Key, alg core.CryptographicAlgorithm) error {
	kind := k.Material.Kind
	if kind == core.KeyData && (k.Type == core.ObjectTypePrivateKey || k.Type == core.ObjectTypePublicKey) {
		return core.Errorf(core.IllegalOperation, "object %s is kept as it was registered and cannot be used: its format, algorithm or curve is not known here", k.ID)
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
			ok = kind != core.KeyPublic && !isPrivate(kind) // any secret; see MAC
		}
	}
	if !ok {
		return core.Errorf(core.BadCryptographicParameters, "object %s is no key for %v", k.ID, alg)
	}
	return nil
}

const chachaKeyBytes = 32

func isChaCha(alg core.CryptographicAlgorithm) bool {
	return alg == core.AlgorithmChaCha20 || alg == core.AlgorithmChaCha20Poly1305
}

// useKey has the HSM use a client's key.
func (c *keyUser) useKey(ctx context.Context, k core.Key, u hsm.Use) (hsm.Used, error) {
	ref, err := c.Reference(k)
	if err != nil {
		return hsm.Used{}, err
	}
	return c.member.Use(ctx, &ref, u)
}
