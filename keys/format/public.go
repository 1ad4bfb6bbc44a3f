package format

import (
	"crypto/rsa"

	"github.com/keyreeve/keyreeve/core"
)

// checkRSA refuses public keys that are none or that nobody should use: with
// exponent 1 everything is its own signature, and checking one under a modulus of
// 512 KiB takes minutes.
func checkRSA(k *rsa.PublicKey) error {
	switch {
	case k.N.BitLen() > maxModulus:
		return core.Errorf(core.InvalidField, "the RSA key has %d bits; %d is the most", k.N.BitLen(), maxModulus)
	case k.N.BitLen() < minModulus:
		return core.Errorf(core.InvalidField, "the RSA key has %d bits; %d is the least", k.N.BitLen(), minModulus)
	case k.N.Sign() <= 0 || k.N.Bit(0) == 0:
		return core.Errorf(core.InvalidField, "the RSA key's Modulus is not odd and positive")
	case k.E < 3 || k.E%2 == 0:
		return core.Errorf(core.InvalidField, "the RSA key's Public Exponent is %d; it is odd and 3 or more", k.E)
	}
	return nil
}

// agrees refuses an algorithm that is given for another kind of public key than
// it is of: operations choose what they do by the algorithm.
func agrees(given core.CryptographicAlgorithm, may ...core.CryptographicAlgorithm) error {
	if given == 0 {
		return nil
	}
	for _, m := range may {
		if given == m {
			return nil
		}
	}
	return core.Errorf(core.InvalidField, "the Key Block says %v and the key is for %v", given, may[0])
}
