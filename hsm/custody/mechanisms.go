package custody

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// blockCipher is a block cipher in a mode.
type blockCipher struct {
	algorithm core.CryptographicAlgorithm
	mode      core.BlockCipherMode
}

var cipherMechanisms = map[blockCipher]hsm.MechanismType{
	{core.AlgorithmAES, core.BlockCipherModeECB}:  hsm.AESECB,
	{core.AlgorithmAES, core.BlockCipherModeCBC}:  hsm.AESCBC,
	{core.AlgorithmAES, core.BlockCipherModeCTR}:  hsm.AESCTR,
	{core.AlgorithmAES, core.BlockCipherModeGCM}:  hsm.AESGCM,
	{core.AlgorithmDES3, core.BlockCipherModeECB}: hsm.DES3ECB,
	{core.AlgorithmDES3, core.BlockCipherModeCBC}: hsm.DES3CBC,
}

// cipherMechanism returns the mechanism for a plan; 0 if there is none.
func cipherMechanism(p *soft.Plan) hsm.MechanismType {
	return cipherMechanisms[blockCipher{p.Algorithm, p.Mode}]
}

var hmacMechanisms = map[core.CryptographicAlgorithm]hsm.MechanismType{
	core.AlgorithmHMACMD5:    hsm.MD5HMAC,
	core.AlgorithmHMACSHA1:   hsm.SHA1HMAC,
	core.AlgorithmHMACSHA224: hsm.SHA224HMAC,
	core.AlgorithmHMACSHA256: hsm.SHA256HMAC,
	core.AlgorithmHMACSHA384: hsm.SHA384HMAC,
	core.AlgorithmHMACSHA512: hsm.SHA512HMAC,
}

// macMechanism returns the mechanism for a MAC; 0 if there is none.
func macMechanism(alg core.CryptographicAlgorithm) hsm.MechanismType {
	switch alg {
	case core.AlgorithmAES:
		return hsm.AESCMAC
	case core.AlgorithmDES3:
		return hsm.DES3CMAC
	}
	return hmacMechanisms[alg]
}
