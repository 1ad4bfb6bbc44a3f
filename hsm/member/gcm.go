package member

import (
	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// gcmIVBytes is the length of the IV of AES-GCM where we choose it.
const gcmIVBytes = 12

// usedIV returns the IV of a finished encryption: some tokens ignore the given IV and
// write their own into the parameters.
func usedIV(gcm *p11.GCMParams, given []byte) ([]byte, error) {
	used := gcm.IV()
	if len(used) != len(given) {
		return nil, core.Errorf(core.UnsupportedByHSM, "this HSM used an IV of %d bytes instead of %d", len(used), len(given))
	}
	return used, nil
}

// sealGCM encrypts by AES-GCM and returns the IV that was used, then ciphertext
// and tag.
func sealGCM(ctx *p11.Ctx, s p11.SessionHandle, key p11.ObjectHandle, iv, aad, data []byte) ([]byte, error) {
	params := p11.NewGCMParams(iv, aad, 128)
	defer params.Free()
	if err := ctx.EncryptInit(s, oneMechanism(p11.CKM_AES_GCM, params), key); err != nil {
		return nil, err
	}
	ct, err := ctx.Encrypt(s, data)
	if err != nil {
		return nil, err
	}
	used, err := usedIV(params, iv)
	if err != nil {
		return nil, err
	}
	return append(append(make([]byte, 0, len(iv)+len(ct)), used...), ct...), nil
}

// openGCM decrypts the output of sealGCM. It is only for texts of our own: the binding
// leaves a copy of the plaintext in the C heap.
func openGCM(ctx *p11.Ctx, s p11.SessionHandle, key p11.ObjectHandle, sealed, aad []byte) ([]byte, error) {
	params := p11.NewGCMParams(sealed[:gcmIVBytes], aad, 128)
	defer params.Free()
	if err := ctx.DecryptInit(s, oneMechanism(p11.CKM_AES_GCM, params), key); err != nil {
		return nil, err
	}
	return ctx.Decrypt(s, sealed[gcmIVBytes:])
}
