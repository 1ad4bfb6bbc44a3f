package hsm

import (
	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// inGo returns where a symmetric key is used if not in the token: "" means that the
// token uses it. A class C key whose copy is in memory is used there, since its bytes
// are no safer in the token. What the token has no mechanism for is done in Go for
// class C alone, and only where hsm.allow_software says so; else it is refused.
// m is 0 for what no token has.
func (t *Token) inGo(k *core.Key, m, use uint) (where string, refused bool) {
	switch {
	case !symmetric(k) || k.Material.Class != core.ClassC:
		return "", false
	case m != 0 && t.has(m, use) && t.inCopy(k):
		return inMemory, false
	case m != 0 && t.has(m, use):
		return "", false
	case t.cfg.AllowSoftware:
		return inSoftware, false
	}
	return "", true
}

// noSoftware is the answer where the token lacks what a class C key is asked for.
func noSoftware(doing string) error {
	return core.Errorf(core.UnsupportedByHSM, "this HSM does not %s; hsm.allow_software lets keys that may leave in clear be used outside it", doing)
}

func symmetric(k *core.Key) bool {
	switch k.Material.Kind {
	case core.KeyAES, core.KeyDES3, core.KeyGeneric, core.KeyData:
		return true
	}
	return false
}

// cipherType is the token's mechanism for a cipher; 0 where there is none.
func cipherType(alg core.CryptographicAlgorithm, mode core.BlockCipherMode) uint {
	switch alg {
	case core.AlgorithmAES:
		switch mode {
		case core.BlockCipherModeECB:
			return p11.CKM_AES_ECB
		case core.BlockCipherModeCBC:
			return p11.CKM_AES_CBC
		case core.BlockCipherModeCTR:
			return p11.CKM_AES_CTR
		case core.BlockCipherModeGCM:
			return p11.CKM_AES_GCM
		}
	case core.AlgorithmDES3:
		switch mode {
		case core.BlockCipherModeECB:
			return p11.CKM_DES3_ECB
		case core.BlockCipherModeCBC:
			return p11.CKM_DES3_CBC
		}
	}
	return 0
}

// macType is the token's mechanism for a MAC; 0 where there is none.
func macType(alg core.CryptographicAlgorithm) uint {
	switch alg {
	case core.AlgorithmAES:
		return p11.CKM_AES_CMAC
	case core.AlgorithmDES3:
		return p11.CKM_DES3_CMAC
	}
	return hmacMechanisms[alg]
}

// errEd25519 is why an Ed25519 key of class C is neither made nor used.
var errEd25519 = core.Errorf(core.UnsupportedByHSM, "this HSM cannot wrap Ed25519 keys; keep the key in it (x-keyreeve-custody = resident), or hsm.allow_software lets keys that may leave in clear be used outside it")
