package custody

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// Wrap formats of a row's blob.
const (
	formatKW  = "aes-kw"  // RFC 3394 under a class KEK
	formatGCM = "aes-gcm" // IV, data and tag under D
)

// Purposes of the keys of a set. The KEK of a class is named as its class is.
const (
	purposeData  = "D" // encrypts what is no key of the HSM
	purposeSeal  = "R" // seals rows; the keys of MACs are derived by it
	purposeProbe = "S" // the HSM is tried with that of the system set
)

// keyWrap is the mechanism under which keys are kept.
var keyWrap = hsm.Mechanism{Type: hsm.AESKeyWrap}

// wrappableSecret is the template of a secret that is good for nothing but to be
// wrapped.
var wrappableSecret = hsm.Template{Type: hsm.GenericSecret, Sensitive: true, Extractable: true}

const wrapAndUnwrap = hsm.Wrap | hsm.Unwrap

// setTemplates say what the keys of a set may do. The HSM enforces here what class N
// and X promise; see hsm.Member's SelfTest.
var setTemplates = map[string]hsm.KeyTemplate{
	"N": {Type: hsm.AES, Uses: wrapAndUnwrap, Mechanism: hsm.AESKeyWrap, Wraps: []hsm.Flag{{Attribute: hsm.Sensitive, Value: true}},
		Unwraps: []hsm.Flag{{Attribute: hsm.Private, Value: true}, {Attribute: hsm.Sensitive, Value: true}, {Attribute: hsm.Extractable, Value: false}}},
	"X": {Type: hsm.AES, Uses: wrapAndUnwrap, Mechanism: hsm.AESKeyWrap, Wraps: []hsm.Flag{{Attribute: hsm.Sensitive, Value: true}},
		Unwraps: []hsm.Flag{{Attribute: hsm.Private, Value: true}, {Attribute: hsm.Sensitive, Value: true}}},
	"C":          {Type: hsm.AES, Uses: wrapAndUnwrap, Mechanism: hsm.AESKeyWrap},
	purposeData:  {Type: hsm.AES, Uses: hsm.Encrypt | hsm.Decrypt, Mechanism: hsm.AESGCM},
	purposeSeal:  {Type: hsm.GenericSecret, Uses: hsm.Sign, Mechanism: hsm.SHA256HMAC},
	"V":          {Type: hsm.GenericSecret, Uses: hsm.Sign, Mechanism: hsm.SHA256HMAC},
	purposeProbe: {Type: hsm.GenericSecret, Uses: hsm.Sign, Mechanism: hsm.SHA256HMAC},
}

// SetTemplate returns the template of the keys of a purpose.
func SetTemplate(purpose string) hsm.KeyTemplate {
	t := setTemplates[purpose]
	t.Purpose = purpose
	return t
}

// keyTypeOf is the type that a key of a kind and a length in bytes has in the HSM.
func keyTypeOf(kind core.KeyKind, length int) hsm.KeyType {
	switch kind {
	case core.KeyAES:
		return hsm.AES
	case core.KeyDES3:
		if length == 16 {
			return hsm.DES2
		}
		return hsm.DES3
	case core.KeyRSA:
		return hsm.RSA
	case core.KeyEC:
		return hsm.EC
	case core.KeyEd25519:
		return hsm.EdwardsEC
	}
	return hsm.GenericSecret
}

func isPrivate(kind core.KeyKind) bool {
	return kind == core.KeyRSA || kind == core.KeyEC || kind == core.KeyEd25519
}

// usesOf translates a Cryptographic Usage Mask into the uses of an object.
func usesOf(m core.UsageMask, private bool) (u hsm.Uses) {
	for _, c := range []struct {
		mask   core.UsageMask
		use    hsm.Uses
		secret bool // of secret keys alone
	}{
		{core.MaskDecrypt, hsm.Decrypt, false}, {core.MaskSign | core.MaskMACGenerate, hsm.Sign, false}, {core.MaskUnwrapKey, hsm.Unwrap, false}, {core.MaskDeriveKey, hsm.Derive, false},
		{core.MaskEncrypt, hsm.Encrypt, true}, {core.MaskVerify | core.MaskMACVerify, hsm.Verify, true}, {core.MaskWrapKey, hsm.Wrap, true},
		// A MAC is verified by making it again, so that the comparison is ours.
		{core.MaskMACVerify, hsm.Sign, true},
	} {
		if m&c.mask != 0 && !(c.secret && private) {
			u |= c.use
		}
	}
	return u
}

// isWrappable reports whether RFC 3394 can wrap n bytes: a multiple of 8, at least 16.
// Tokens silently pad other lengths.
func isWrappable(n int) bool { return n >= 16 && n%8 == 0 }

// wrapOverhead is how much longer a blob is than what is in it, in bytes (RFC 3394).
const wrapOverhead = 8

// keyBytes is the length of a symmetric key. A 3DES length counts 56 of 64 bits, or
// the parity bits too.
func keyBytes(kind core.KeyKind, bits int) int {
	if kind == core.KeyDES3 && (bits == 112 || bits == 168) {
		return bits / 7
	}
	return bits / 8
}
