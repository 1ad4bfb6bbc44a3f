package rules

import "github.com/keyreeve/keyreeve/core"

// EffectiveParameters returns the parameters by which a use of a key is executed, with the
// defaults of what neither the request nor the key names. Policies judge by them, so
// leaving a field out, or naming it in another way, does not escape a denial.
func EffectiveParameters(action core.Action, asked *core.CryptographicParameters, o *core.ManagedObject) core.CryptographicParameters {
	p := CompleteParameters(asked, o)
	switch action {
	case core.ActionEncrypt, core.ActionDecrypt:
		if p.PaddingMethod == 0 && CipherScheme(o, &p) == &schemeOAEP {
			p.PaddingMethod = core.PaddingMethodOAEP
		}
	case core.ActionSign, core.ActionSignatureVerify:
		completeSignature(o, &p)
	case core.ActionMAC, core.ActionMACVerify:
		p = MACParameters(asked, p)
		if p.HashingAlgorithm == 0 {
			p.HashingAlgorithm = hashOfHMAC(p.CryptographicAlgorithm)
		}
	}
	return p
}

// completeSignature sets the padding and the hash of a signature.
func completeSignature(o *core.ManagedObject, p *core.CryptographicParameters) {
	scheme := SignScheme(o, p)
	switch {
	case p.PaddingMethod != 0:
	case scheme == &schemePSS:
		p.PaddingMethod = core.PaddingMethodPSS
	case scheme == &schemeSignPKCS1:
		p.PaddingMethod = core.PaddingMethodPKCS1V1_5
	}
	if p.HashingAlgorithm == 0 {
		p.HashingAlgorithm = hashOfSignature[p.DigitalSignatureAlgorithm]
	}
	if p.HashingAlgorithm == 0 && (scheme == &schemePSS || scheme == &schemeSignPKCS1 || scheme == &schemeECDSA) {
		p.HashingAlgorithm = core.HashSHA256
	}
}

func hashOfHMAC(a core.CryptographicAlgorithm) core.HashingAlgorithm {
	for hash, hmac := range hmacOfHash {
		if hmac == a {
			return hash
		}
	}
	return 0
}

// hashOfSignature has the hash that a Digital Signature Algorithm names.
var hashOfSignature = map[core.DigitalSignatureAlgorithm]core.HashingAlgorithm{
	core.DigitalSignatureAlgorithmSHA1WithRSAEncryption:   core.HashSHA1,
	core.DigitalSignatureAlgorithmSHA224WithRSAEncryption: core.HashSHA224,
	core.DigitalSignatureAlgorithmSHA256WithRSAEncryption: core.HashSHA256,
	core.DigitalSignatureAlgorithmSHA384WithRSAEncryption: core.HashSHA384,
	core.DigitalSignatureAlgorithmSHA512WithRSAEncryption: core.HashSHA512,
	core.DigitalSignatureAlgorithmECDSAWithSHA1:           core.HashSHA1,
	core.DigitalSignatureAlgorithmECDSAWithSHA224:         core.HashSHA224,
	core.DigitalSignatureAlgorithmECDSAWithSHA256:         core.HashSHA256,
	core.DigitalSignatureAlgorithmECDSAWithSHA384:         core.HashSHA384,
	core.DigitalSignatureAlgorithmECDSAWithSHA512:         core.HashSHA512,
}
