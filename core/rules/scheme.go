package rules

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// CompleteParameters returns the parameters of a request, or those of the key if the
// request has none (KMIP 1.4 §4.29). The algorithm is the key's unless they name one.
func CompleteParameters(asked *core.CryptographicParameters, o *core.ManagedObject) core.CryptographicParameters {
	var p core.CryptographicParameters
	if asked != nil {
		p = *asked
	} else if v, ok := o.Attributes.Get(core.TagCryptographicParameters); ok {
		p = core.ParametersOf(v)
	}
	if p.CryptographicAlgorithm == 0 {
		p.CryptographicAlgorithm = o.Algorithm()
	}
	return p
}

// Scheme lists which fields of a request have an effect on one way to use a key.
// All other fields are refused. If they were ignored, the client would rely on a
// protection that it does not get. A nil Scheme accepts every field.
type Scheme struct {
	name          string
	takes         []core.Tag // fields of Cryptographic Parameters, beside Cryptographic Algorithm
	iv            bool       // it has an IV/Counter/Nonce
	authenticates bool       // it has Additional Data and a Tag
}

// The schemes of Encrypt and Decrypt, Sign, MAC, Hash and key wrapping.
var (
	schemeECB        = Scheme{name: "ECB", takes: []core.Tag{core.TagBlockCipherMode, core.TagPaddingMethod}}
	schemeCBC        = Scheme{name: "CBC", takes: []core.Tag{core.TagBlockCipherMode, core.TagPaddingMethod, core.TagRandomIV, core.TagIVLength}, iv: true}
	schemeCTR        = Scheme{name: "CTR", takes: []core.Tag{core.TagBlockCipherMode, core.TagPaddingMethod, core.TagRandomIV, core.TagIVLength, core.TagCounterLength}, iv: true}
	schemeGCM        = Scheme{name: "GCM", takes: []core.Tag{core.TagBlockCipherMode, core.TagPaddingMethod, core.TagRandomIV, core.TagIVLength, core.TagTagLength}, iv: true, authenticates: true}
	schemeChaCha     = Scheme{name: "ChaCha20", takes: []core.Tag{core.TagPaddingMethod, core.TagRandomIV, core.TagIVLength}, iv: true}
	schemeChaChaPoly = Scheme{name: "ChaCha20-Poly1305", takes: []core.Tag{core.TagBlockCipherMode, core.TagPaddingMethod, core.TagRandomIV, core.TagIVLength, core.TagTagLength}, iv: true, authenticates: true}
	schemeOAEP       = Scheme{name: "RSA with OAEP", takes: []core.Tag{core.TagPaddingMethod, core.TagHashingAlgorithm, core.TagMaskGenerator, core.TagMaskGeneratorHashingAlgorithm, core.TagPSource}}
	schemePKCS1      = Scheme{name: "RSA with PKCS1 v1.5", takes: []core.Tag{core.TagPaddingMethod}}
	schemeSignPKCS1  = Scheme{name: "RSA signatures by PKCS1 v1.5", takes: []core.Tag{core.TagPaddingMethod, core.TagHashingAlgorithm, core.TagDigitalSignatureAlgorithm}}
	schemePSS        = Scheme{name: "RSA signatures by PSS", takes: []core.Tag{core.TagPaddingMethod, core.TagHashingAlgorithm, core.TagDigitalSignatureAlgorithm,
		core.TagMaskGenerator, core.TagMaskGeneratorHashingAlgorithm, core.TagSaltLength, core.TagTrailerField}}
	schemeECDSA   = Scheme{name: "ECDSA", takes: []core.Tag{core.TagHashingAlgorithm, core.TagDigitalSignatureAlgorithm}}
	schemeEdDSA   = Scheme{name: "Ed25519"}
	schemeHMAC    = Scheme{name: "HMAC", takes: []core.Tag{core.TagHashingAlgorithm}}
	schemeCMAC    = Scheme{name: "CMAC", takes: []core.Tag{core.TagBlockCipherMode}}
	SchemeKeyWrap = Scheme{name: "AES key wrapping", takes: []core.Tag{core.TagBlockCipherMode}}
	SchemeHash    = Scheme{name: "Hash", takes: []core.Tag{core.TagHashingAlgorithm}}
)

// CipherScheme returns the scheme of Encrypt and Decrypt with key o and parameters p.
// It is nil if the block cipher mode is unknown here; the HSM then refuses the mode.
func CipherScheme(o *core.ManagedObject, p *core.CryptographicParameters) *Scheme {
	switch {
	case (o.Type == core.ObjectTypePublicKey || o.Type == core.ObjectTypePrivateKey) && p.PaddingMethod == core.PaddingMethodPKCS1V1_5:
		return &schemePKCS1
	case o.Type == core.ObjectTypePublicKey || o.Type == core.ObjectTypePrivateKey:
		return &schemeOAEP
	case p.CryptographicAlgorithm == core.AlgorithmChaCha20:
		return &schemeChaCha
	case p.CryptographicAlgorithm == core.AlgorithmChaCha20Poly1305:
		return &schemeChaChaPoly
	}
	switch p.BlockCipherMode {
	case core.BlockCipherModeECB:
		return &schemeECB
	case core.BlockCipherModeCBC:
		return &schemeCBC
	case core.BlockCipherModeCTR:
		return &schemeCTR
	case core.BlockCipherModeGCM:
		return &schemeGCM
	}
	return nil
}

// SignScheme returns the scheme of Sign and Signature Verify with key o, or nil.
func SignScheme(o *core.ManagedObject, p *core.CryptographicParameters) *Scheme {
	switch o.Algorithm() {
	case core.AlgorithmRSA:
		if p.DigitalSignatureAlgorithm == core.DigitalSignatureAlgorithmRSASSAPSS || (p.DigitalSignatureAlgorithm == 0 && p.PaddingMethod == core.PaddingMethodPSS) {
			return &schemePSS
		}
		return &schemeSignPKCS1
	case core.AlgorithmEC, core.AlgorithmECDSA, core.AlgorithmECDH:
		return &schemeECDSA
	case core.AlgorithmEd25519:
		return &schemeEdDSA
	}
	return nil
}

// MACScheme returns the scheme of MAC and MAC Verify with key o.
func MACScheme(o *core.ManagedObject, p *core.CryptographicParameters) *Scheme {
	block := func(a core.CryptographicAlgorithm) bool { return a == core.AlgorithmAES || a == core.AlgorithmDES3 }
	if p.HashingAlgorithm == 0 && block(o.Algorithm()) && block(p.CryptographicAlgorithm) {
		return &schemeCMAC
	}
	return &schemeHMAC
}

// CheckAsked refuses fields of a request's parameters that have no effect in the
// scheme, and values that do not fit it. The key's own parameters are not checked,
// because they serve all uses of the key.
func (s *Scheme) CheckAsked(asked *core.CryptographicParameters, o *core.ManagedObject) error {
	if s == nil || asked == nil {
		return nil
	}
	for _, f := range asked.Fields() {
		none := f.Tag == core.TagPaddingMethod && asked.PaddingMethod == core.PaddingMethodNone // every scheme without padding does this
		if f.Tag != core.TagCryptographicAlgorithm && !none && !slices.Contains(s.takes, f.Tag) {
			return core.Errorf(core.BadCryptographicParameters, "%v has no effect with %s; leave it out", f.Tag, s.name)
		}
	}
	return s.checkValues(asked, o)
}

// checkValues refuses values that contradict the scheme or the key.
func (s *Scheme) checkValues(p *core.CryptographicParameters, o *core.ManagedObject) error {
	bad := func(format string, args ...any) error {
		return core.Errorf(core.BadCryptographicParameters, format, args...)
	}
	pad, blocks := p.PaddingMethod, s == &schemeECB || s == &schemeCBC
	switch {
	case s == &SchemeHash && p.CryptographicAlgorithm != 0:
		return bad("a Cryptographic Algorithm has no effect on a hash; leave it out")
	case s == &schemeHMAC && p.CryptographicAlgorithm != 0 && !isHMAC(p.CryptographicAlgorithm) && !sameAlgorithm(p.CryptographicAlgorithm, o.Algorithm()):
		return bad("the Cryptographic Algorithm %v makes no HMAC; object %s is for %v", p.CryptographicAlgorithm, o.ID, o.Algorithm())
	case s == &schemeHMAC && p.HashingAlgorithm != 0 && hmacOfHash[p.HashingAlgorithm] == 0:
		return bad("no MAC is made here by Hashing Algorithm %v", p.HashingAlgorithm)
	case s == &schemeHMAC && isHMAC(p.CryptographicAlgorithm) && p.HashingAlgorithm != 0 && hmacOfHash[p.HashingAlgorithm] != p.CryptographicAlgorithm:
		return bad("%v does not go with Hashing Algorithm %v", p.CryptographicAlgorithm, p.HashingAlgorithm)
	case s == &schemeCMAC && p.BlockCipherMode != 0 && p.BlockCipherMode != core.BlockCipherModeCMAC:
		return bad("a MAC by %v is made as CMAC, not by Block Cipher Mode %v", o.Algorithm(), p.BlockCipherMode)
	case s != &schemeHMAC && s != &SchemeHash && o.Algorithm() != 0 && p.CryptographicAlgorithm != 0 && !sameAlgorithm(p.CryptographicAlgorithm, o.Algorithm()):
		return bad("the Cryptographic Algorithm is %v and object %s is for %v", p.CryptographicAlgorithm, o.ID, o.Algorithm())
	case s.iv && !blocks && pad != 0 && pad != core.PaddingMethodNone:
		return bad("%s pads nothing, so Padding Method %v has no effect; leave it out", s.name, pad)
	case s == &schemeChaChaPoly && p.BlockCipherMode != 0 && p.BlockCipherMode != core.BlockCipherModeAEAD:
		return bad("%s has no Block Cipher Mode %v; leave it out, or give AEAD", s.name, p.BlockCipherMode)
	case s == &schemeSignPKCS1 && pad != 0 && pad != core.PaddingMethodPKCS1V1_5, s == &schemePSS && pad != 0 && pad != core.PaddingMethodPSS:
		return bad("%s are not made with Padding Method %v", s.name, pad)
	case p.CounterLength != nil && *p.CounterLength != counterBits:
		return bad("the counter of CTR takes the whole block, %d bits, not %d", counterBits, *p.CounterLength)
	}
	return nil
}

// counterBits is the length of the counter in CTR: the whole block of AES.
const counterBits = 128

var hmacOfHash = map[core.HashingAlgorithm]core.CryptographicAlgorithm{core.HashMD5: core.AlgorithmHMACMD5, core.HashSHA1: core.AlgorithmHMACSHA1,
	core.HashSHA224: core.AlgorithmHMACSHA224, core.HashSHA256: core.AlgorithmHMACSHA256, core.HashSHA384: core.AlgorithmHMACSHA384, core.HashSHA512: core.AlgorithmHMACSHA512}

func isHMAC(a core.CryptographicAlgorithm) bool {
	for _, h := range hmacOfHash {
		if a == h {
			return true
		}
	}
	return false
}

// CheckInputs refuses an IV, Additional Data or a Tag if the scheme has none, and an
// IV whose length differs from the IV Length of the parameters. If Additional Data
// were ignored, the client would believe that it is protected.
func (s *Scheme) CheckInputs(c *core.Cipher) error {
	if s == nil {
		return nil
	}
	n := c.Parameters.IVLength
	switch {
	case !s.iv && len(c.IV) > 0:
		return core.Errorf(core.InvalidField, "%s has no IV/Counter/Nonce; leave it out", s.name)
	case !s.authenticates && len(c.AAD) > 0:
		return core.Errorf(core.InvalidField, "%s does not authenticate, so Additional Data would not be protected; use GCM, or leave it out", s.name)
	case !s.authenticates && len(c.Tag) > 0:
		return core.Errorf(core.InvalidField, "%s has no Tag, so this one would not be checked; use GCM, or leave it out", s.name)
	case s.iv && n != nil && len(c.IV) > 0 && int64(*n) != 8*int64(len(c.IV)):
		return core.Errorf(core.InvalidField, "the IV Length is %d bits and the IV/Counter/Nonce has %d", *n, 8*len(c.IV))
	}
	return nil
}

// CheckMask refuses a use that the Cryptographic Usage Mask of o does not allow.
func CheckMask(o *core.ManagedObject, need core.UsageMask) error {
	if o.Mask()&need != need {
		return core.Errorf(core.IncompatibleUsageMask, "the Cryptographic Usage Mask of object %s does not allow %v", o.ID, need)
	}
	return nil
}

// MACParameters returns the parameters of MAC and MAC Verify. A Hashing Algorithm of
// the request replaces the one in the name of the key's algorithm.
func MACParameters(asked *core.CryptographicParameters, p core.CryptographicParameters) core.CryptographicParameters {
	if asked != nil && asked.HashingAlgorithm != 0 && asked.CryptographicAlgorithm == 0 {
		p.CryptographicAlgorithm = hmacOfHash[asked.HashingAlgorithm]
	}
	return p
}
