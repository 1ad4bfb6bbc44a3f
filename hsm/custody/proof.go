package custody

import (
	"context"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"math/big"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/format"
)

// proofBytes is the length of the random message that a key signs as a proof: not longer
// than the order of any curve.
const proofBytes = 28

// proveBlob fails unless a private key belongs to the public half in der. The HSM unwraps
// the blob under the newest KEK of a class and signs a random message, and the public
// half verifies the signature. It is for classes N and X: crypto/rsa and crypto/ecdsa
// would leave copies of the key.
func (c *keyMaker) proveBlob(ctx context.Context, k core.Key, class core.Class, blob, der []byte) error {
	public, err := format.PublicOf(der)
	if err != nil {
		return err
	}
	kek, err := c.newestKEKOf(k.Tenant, class)
	if err != nil {
		return err
	}
	kind, mechanism := core.KeyEC, hsm.ECDSA
	if _, ok := public.(*rsa.PublicKey); ok {
		kind, mechanism = core.KeyRSA, hsm.RSAPKCS
	}
	if !c.member.Has(mechanism, hsm.Sign) {
		return core.Errorf(core.UnsupportedByHSM, "this HSM does not sign with keys of kind %s, so a registered one cannot be checked", kind)
	}
	message := make([]byte, proofBytes)
	rand.Read(message)
	ref := hsm.Key{Tenant: k.Tenant, ID: k.ID, KEK: kek, Blob: blob, Template: hsm.Template{Type: keyTypeOf(kind, 0), Sensitive: true, Uses: hsm.Sign}}
	used, err := c.member.Use(ctx, &ref, hsm.Use{Operation: hsm.Sign, Mechanism: hsm.Mechanism{Type: mechanism}, Data: message})
	if core.CodeOf(err) == core.CryptographicFailure {
		return core.Wrap(core.InvalidField, err, "the HSM cannot sign with the private key: its numbers do not belong together, or the HSM does not support its curve")
	}
	if err == nil && !verifiesProof(public, message, used.Data) {
		err = core.Errorf(core.InvalidField, "the private key does not belong to the public key inside it")
	}
	return err
}

// verifiesProof verifies a signature by PKCS #1 v1.5 without the name of a hash (RFC 8017
// §9.2, T is the message), or by ECDSA as PKCS#11 writes it. It accepts a key without a
// public half. crypto/rsa refuses short moduli, which are allowed here.
func verifiesProof(public any, message, sig []byte) bool {
	switch p := public.(type) {
	case *rsa.PublicKey:
		encoded := new(big.Int).Exp(new(big.Int).SetBytes(sig), big.NewInt(int64(p.E)), p.N).FillBytes(make([]byte, p.Size()))
		return isPaddedMessage(encoded, message)
	case *ecdsa.PublicKey:
		half := len(sig) / 2
		return ecdsa.Verify(p, message, new(big.Int).SetBytes(sig[:half]), new(big.Int).SetBytes(sig[half:]))
	}
	return true
}

// isPaddedMessage reports whether encoded is 00 01 FF ... FF 00 and the message.
func isPaddedMessage(encoded, message []byte) bool {
	pad := len(encoded) - len(message)
	for i, b := range encoded[:pad] {
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
	return string(encoded[pad:]) == string(message)
}
