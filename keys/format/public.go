package format

import (
	"crypto/rsa"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// checkRSA refuses public keys that are invalid or unsafe. With exponent 1 every message
// is its own signature. Verifying a signature under a modulus of 512 KiB takes minutes.
func checkRSA(k *rsa.PublicKey) error {
	switch {
	case k.N.BitLen() > maxModulus:
		return core.Errorf(core.InvalidField, "the RSA key has %d bits; at most %d are allowed", k.N.BitLen(), maxModulus)
	case k.N.BitLen() < minModulus:
		return core.Errorf(core.InvalidField, "the RSA key has %d bits; at least %d are required", k.N.BitLen(), minModulus)
	case k.N.Sign() <= 0 || k.N.Bit(0) == 0:
		return core.Errorf(core.InvalidField, "the Modulus of the RSA key must be odd and positive")
	case k.E < 3 || k.E%2 == 0:
		return core.Errorf(core.InvalidField, "the Public Exponent of the RSA key is %d; it must be odd, and 3 or more", k.E)
	}
	return nil
}

// checkAlgorithm refuses a given algorithm that does not fit the kind of the key:
// operations choose what they do by the algorithm.
func checkAlgorithm(given core.CryptographicAlgorithm, allowed ...core.CryptographicAlgorithm) error {
	if given == 0 || slices.Contains(allowed, given) {
		return nil
	}
	return core.Errorf(core.InvalidField, "the Key Block says %v, but the key is for %v", given, allowed[0])
}
