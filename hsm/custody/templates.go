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
	purposeData   = "D" // encrypts bytes that are not a key of the HSM
	purposeSeal   = "R" // the keys of MACs and seals are derived from it
	purposeDerive = "V" // the key of directory bodies is derived from it
	purposeProbe  = "S" // the one of the system set shows that the HSM works
)

// keyWrap is the mechanism that wraps keys under KEKs.
var keyWrap = hsm.Mechanism{Type: hsm.AESKeyWrap}

// wrappableSecret is the template of a secret that can only be wrapped.
var wrappableSecret = hsm.Template{Type: hsm.GenericSecret, Sensitive: true, Extractable: true}

const wrapAndUnwrap = hsm.Wrap | hsm.Unwrap

// setTemplates say what the keys of a set may do. By them the HSM enforces the promises of
// classes N and X; see SelfTest of hsm.Member.
var setTemplates = map[string]hsm.KeyTemplate{
	"N": {Type: hsm.AES, Uses: wrapAndUnwrap, Mechanism: hsm.AESKeyWrap, Wraps: []hsm.Flag{{Attribute: hsm.Sensitive, Value: true}},
		Unwraps: []hsm.Flag{{Attribute: hsm.Private, Value: true}, {Attribute: hsm.Sensitive, Value: true}, {Attribute: hsm.Extractable, Value: false}}},
	"X": {Type: hsm.AES, Uses: wrapAndUnwrap, Mechanism: hsm.AESKeyWrap, Wraps: []hsm.Flag{{Attribute: hsm.Sensitive, Value: true}},
		Unwraps: []hsm.Flag{{Attribute: hsm.Private, Value: true}, {Attribute: hsm.Sensitive, Value: true}}},
	"C":           {Type: hsm.AES, Uses: wrapAndUnwrap, Mechanism: hsm.AESKeyWrap},
	purposeData:   {Type: hsm.AES, Uses: hsm.Encrypt | hsm.Decrypt, Mechanism: hsm.AESGCM},
	purposeSeal:   {Type: hsm.GenericSecret, Uses: hsm.Sign, Mechanism: hsm.SHA256HMAC},
	purposeDerive: {Type: hsm.GenericSecret, Uses: hsm.Sign, Mechanism: hsm.SHA256HMAC},
	purposeProbe:  {Type: hsm.GenericSecret, Uses: hsm.Sign, Mechanism: hsm.SHA256HMAC},
}

// SetTemplate returns the template of the keys of a purpose.
func SetTemplate(purpose string) hsm.KeyTemplate {
	t := setTemplates[purpose]
	t.Purpose = purpose
	return t
}

// keyTypeOf returns the type of a key in the HSM by its kind and its length in bytes.
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

// usesOf returns the uses of an object by its Cryptographic Usage Mask.
func usesOf(m core.UsageMask, private bool) (u hsm.Uses) {
	for _, c := range []struct {
		mask   core.UsageMask
		use    hsm.Uses
		secret bool // only of secret keys
	}{
		{core.MaskDecrypt, hsm.Decrypt, false}, {core.MaskSign | core.MaskMACGenerate, hsm.Sign, false}, {core.MaskUnwrapKey, hsm.Unwrap, false}, {core.MaskDeriveKey, hsm.Derive, false},
		{core.MaskEncrypt, hsm.Encrypt, true}, {core.MaskVerify | core.MaskMACVerify, hsm.Verify, true}, {core.MaskWrapKey, hsm.Wrap, true},
		// A MAC is verified by making it again and comparing it here.
		{core.MaskMACVerify, hsm.Sign, true},
	} {
		if m&c.mask != 0 && !(c.secret && private) {
			u |= c.use
		}
	}
	return u
}

// derivingUses returns the uses by which keys are derived from a resident key; see
// derivingMechanism.
func derivingUses(m core.UsageMask, t hsm.KeyType) hsm.Uses {
	switch {
	case m&core.MaskDeriveKey == 0 || t.IsPrivate():
		return 0
	case t == hsm.GenericSecret:
		return hsm.Sign
	}
	return hsm.Sign | hsm.Encrypt
}

// isWrappable reports whether RFC 3394 can wrap n bytes: a multiple of 8, at least 16.
// Tokens silently pad other lengths.
func isWrappable(n int) bool { return n >= 16 && n%8 == 0 }

// wrapOverhead is how much longer a blob is than its content, in bytes (RFC 3394).
const wrapOverhead = 8

// keyBytes returns the length of a symmetric key in bytes. The bits of a 3DES key may
// count its parity bits or not.
func keyBytes(kind core.KeyKind, bits int) int {
	if kind == core.KeyDES3 && (bits == 112 || bits == 168) {
		return bits / 7
	}
	return bits / 8
}
