package soft

import (
	"crypto/elliptic"
	"crypto/sha256"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/keys/keystest"
)

// KMIP 1.4 §4.31: Digested Data may come without the name of its hash. It is
// signed as it is, unless it has the length of the default's.
func TestDigestedDataWithoutAHash(t *testing.T) {
	rsaKey := keystest.RSAKey(2048)
	ecKey := keystest.ECKey(t, elliptic.P256())
	digest := sha256.Sum256([]byte("data"))
	for alg, key := range map[core.CryptographicAlgorithm]any{core.AlgorithmRSA: rsaKey, core.AlgorithmEC: ecKey} {
		private := keystest.PKCS8(t, key)
		var public any = &rsaKey.PublicKey
		if alg == core.AlgorithmEC {
			public = &ecKey.PublicKey
		}
		spki := keystest.SPKI(t, public)
		var none core.CryptographicParameters
		for _, n := range []int{1, 16, 20, 32, 48, 64} {
			data := append(digest[:], digest[:]...)[:n]
			sig, err := SignPrivate(private, none, alg, data, true)
			if err != nil {
				t.Errorf("%v: a digest of %d bytes is not signed: %v", alg, n, err)
				continue
			}
			if ok, err := VerifyPublic(spki, none, alg, data, true, sig); err != nil || !ok {
				t.Errorf("%v: the signature of a digest of %d bytes is %v, %v", alg, n, ok, err)
			}
			data[0] ^= 1
			if ok, _ := VerifyPublic(spki, none, alg, data, true, sig); ok {
				t.Errorf("%v: a digest of %d bytes verifies after it was changed", alg, n)
			}
			data[0] ^= 1
		}
		sig, err := SignPrivate(private, none, alg, digest[:], true)
		if err != nil {
			t.Fatal(err)
		}
		if ok, err := VerifyPublic(spki, none, alg, []byte("data"), false, sig); err != nil || !ok {
			t.Errorf("%v: a SHA-256 digest is not signed as such: %v, %v", alg, ok, err)
		}
		for _, data := range [][]byte{{}, make([]byte, maxDigest+1)} {
			if _, err := SignPrivate(private, none, alg, data, true); core.CodeOf(err) != core.InvalidField {
				t.Errorf("%v: a digest of %d bytes: %v; want Invalid Field", alg, len(data), err)
			}
		}
		if _, err := SignPrivate(private, core.CryptographicParameters{HashingAlgorithm: core.HashSHA1}, alg, digest[:], true); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%v: 32 bytes named a SHA-1 digest: %v; want Invalid Field", alg, err)
		}
	}
}
