package hsm

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"math/big"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/keys/format"
)

// proofBytes is the length of the random message that a key signs to prove
// itself: not longer than the order of any curve.
const proofBytes = 28

// prove has a private key sign something new, as the token makes it of its bytes,
// and verifies that with the public half that came along. It is how a key of class
// N or X is tried: crypto/rsa and crypto/ecdsa would leave copies of it. object makes
// the session object to try, which is destroyed.
func (t *Token) prove(sh p11.SessionHandle, der []byte, object func([]*p11.Attribute) (p11.ObjectHandle, error)) error {
	public, err := format.PublicOf(der)
	if err != nil {
		return err
	}
	kind, mech := core.KeyEC, uint(p11.CKM_ECDSA)
	if _, ok := public.(*rsa.PublicKey); ok {
		kind, mech = core.KeyRSA, p11.CKM_RSA_PKCS
	}
	if !t.has(mech, p11.CKF_SIGN) {
		return core.Errorf(core.UnsupportedByHSM, "this HSM does not sign with keys of kind %s, so one that is registered cannot be tried", kind)
	}
	class, typ := keyType(kind, 0)
	h, err := object(template(class, typ, true, false, map[uint]bool{p11.CKA_SIGN: true}))
	if err != nil {
		return unproven(err)
	}
	defer t.lib.DestroyObject(sh, h)
	msg := [proofBytes]byte{}
	rand.Read(msg[:])
	if err := t.lib.SignInit(sh, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, h); err != nil {
		return unproven(err)
	}
	sig, err := t.lib.Sign(sh, msg[:])
	if err != nil {
		return unproven(err)
	}
	if !signed(public, msg[:], sig) {
		return core.Errorf(core.InvalidField, "the private key does not belong to the public key inside it")
	}
	return nil
}

// unproven makes what the token says of such a key the client's fault, unless
// it is the token's own.
func unproven(err error) error {
	if e := p11.Error(0); !errors.As(err, &e) || e >= vendorDefined || classOf(e) != callerFault {
		return err
	}
	return core.Wrap(core.InvalidField, err, "the HSM cannot sign with the private key: its numbers do not belong together, or the HSM has not its curve")
}

// signed verifies PKCS #1 v1.5 without a hash's name (RFC 8017 §9.2, T being the
// message), or ECDSA as PKCS#11 writes it. A key without a public half has
// nothing that it could contradict. crypto/rsa refuses short moduli, which are
// taken here.
func signed(public any, msg, sig []byte) bool {
	switch p := public.(type) {
	case *rsa.PublicKey:
		em := new(big.Int).Exp(new(big.Int).SetBytes(sig), big.NewInt(int64(p.E)), p.N).FillBytes(make([]byte, p.Size()))
		pad := len(em) - len(msg)
		for i, b := range em[:pad] {
			want := byte(0xff)
			switch i {
			case 0, pad - 1:
				want = 0
			case 1:
				want = 1
			}
			if b != want {
				return false
			}
		}
		return string(em[pad:]) == string(msg)
	case *ecdsa.PublicKey:
		half := len(sig) / 2
		return ecdsa.Verify(p, msg, new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:]))
	}
	return true
}
