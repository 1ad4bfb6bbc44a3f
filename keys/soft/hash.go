package soft

import (
	"crypto"
	_ "crypto/md5"
	_ "crypto/sha1"
	_ "crypto/sha256"
	_ "crypto/sha3"
	_ "crypto/sha512"

	"github.com/keyreeve/keyreeve/core"
)

var hashes = map[core.HashingAlgorithm]crypto.Hash{core.HashMD5: crypto.MD5, core.HashSHA1: crypto.SHA1,
	core.HashSHA224: crypto.SHA224, core.HashSHA256: crypto.SHA256, core.HashSHA384: crypto.SHA384, core.HashSHA512: crypto.SHA512,
	core.HashSHA512_224: crypto.SHA512_224, core.HashSHA512_256: crypto.SHA512_256,
	core.HashSHA3_224: crypto.SHA3_224, core.HashSHA3_256: crypto.SHA3_256, core.HashSHA3_384: crypto.SHA3_384, core.HashSHA3_512: crypto.SHA3_512}

// hashOf returns Go's number of a Hashing Algorithm.
func hashOf(h core.HashingAlgorithm) (crypto.Hash, error) {
	if c, ok := hashes[h]; ok && c.Available() {
		return c, nil
	}
	return 0, core.Errorf(core.InvalidField, "Hashing Algorithm %v is not supported", h)
}

// Digest hashes data.
func Digest(h core.HashingAlgorithm, data []byte) ([]byte, error) {
	c, err := hashOf(h)
	if err != nil {
		return nil, err
	}
	w := c.New()
	w.Write(data)
	return w.Sum(nil), nil
}

var hmacHashes = map[core.CryptographicAlgorithm]crypto.Hash{core.AlgorithmHMACMD5: crypto.MD5, core.AlgorithmHMACSHA1: crypto.SHA1,
	core.AlgorithmHMACSHA224: crypto.SHA224, core.AlgorithmHMACSHA256: crypto.SHA256, core.AlgorithmHMACSHA384: crypto.SHA384,
	core.AlgorithmHMACSHA512: crypto.SHA512}

// HMACHash returns the hash of an HMAC algorithm.
func HMACHash(alg core.CryptographicAlgorithm) (crypto.Hash, error) {
	if h, ok := hmacHashes[alg]; ok {
		return h, nil
	}
	return 0, core.Errorf(core.BadCryptographicParameters, "%v is not a supported HMAC", alg)
}

// HMACOf returns the HMAC algorithm that uses a hash; 0 if there is none.
func HMACOf(h core.HashingAlgorithm) core.CryptographicAlgorithm {
	for alg, c := range hmacHashes {
		if hashes[h] == c && c != 0 {
			return alg
		}
	}
	return 0
}
