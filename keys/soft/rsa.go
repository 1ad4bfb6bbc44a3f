package soft

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/subtle"
	"crypto/x509"
	"io"

	"github.com/keyreeve/keyreeve/core"
)

// EncryptionPlan is how RSA encrypts: PKCS#1 v1.5, or OAEP with its hashes.
type EncryptionPlan struct {
	OAEP  bool
	Hash  crypto.Hash
	MGF   crypto.Hash
	Label []byte
}

// ResolveEncryption decides how an RSA key encrypts.
func ResolveEncryption(p core.CryptographicParameters) (EncryptionPlan, error) {
	switch p.PaddingMethod {
	case core.PaddingMethodPKCS1V1_5:
		return EncryptionPlan{}, nil
	case core.PaddingMethodOAEP, 0:
	default:
		return EncryptionPlan{}, core.Errorf(core.InvalidField, "RSA does not encrypt with Padding Method %v; use OAEP or PKCS1 v1.5", p.PaddingMethod)
	}
	if p.MaskGenerator != 0 && p.MaskGenerator != core.MaskGeneratorMFG1 {
		return EncryptionPlan{}, core.Errorf(core.InvalidField, "Mask Generator %v is not supported; MGF1 is", p.MaskGenerator)
	}
	e := EncryptionPlan{OAEP: true, Hash: crypto.SHA1, Label: p.PSource}
	var err error
	if p.HashingAlgorithm != 0 {
		if e.Hash, err = hashOf(p.HashingAlgorithm); err != nil {
			return e, err
		}
	} else if p.PaddingMethod == 0 {
		return e, core.Errorf(core.BadCryptographicParameters, "the Padding Method is missing: neither the request nor the key gives one")
	}
	// KMIP 1.4 §3.6: MGF1 uses SHA-1 if no hash is named for it.
	e.MGF = crypto.SHA1
	if p.MaskGeneratorHashing != 0 {
		e.MGF, err = hashOf(p.MaskGeneratorHashing)
	}
	return e, err
}

// EncryptPublic encrypts under a SubjectPublicKeyInfo.
func EncryptPublic(spki []byte, e EncryptionPlan, data []byte) ([]byte, error) {
	k, err := parseKind[*rsa.PublicKey](parsePublic, spki, "only RSA public keys encrypt")
	if err != nil {
		return nil, err
	}
	var out []byte
	if e.OAEP {
		out, err = rsa.EncryptOAEPWithOptions(rand.Reader, k, data, &rsa.OAEPOptions{Hash: e.Hash, MGFHash: e.MGF, Label: e.Label})
	} else {
		out, err = rsa.EncryptPKCS1v15(rand.Reader, k, data)
	}
	if err != nil {
		return nil, core.Wrap(core.CryptographicFailure, err, "encryption failed: %d bytes of data are too many for this key and padding", len(data))
	}
	return out, nil
}

// parsePublic reads a SubjectPublicKeyInfo.
func parsePublic(spki []byte) (any, error) {
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return nil, core.Wrap(core.CryptographicFailure, err, "the public key cannot be read")
	}
	return public, nil
}

// parsePrivate reads a private key in PKCS#8.
func parsePrivate(pkcs8 []byte) (any, error) {
	key, err := x509.ParsePKCS8PrivateKey(pkcs8)
	if err != nil {
		return nil, core.Wrap(core.CryptographicFailure, err, "the private key cannot be read")
	}
	return key, nil
}

// parseKind parses a key, and fails with the sentence otherwise if it is no K.
func parseKind[K any](parse func([]byte) (any, error), encoded []byte, otherwise string) (K, error) {
	key, err := parse(encoded)
	k, ok := key.(K)
	if err == nil && !ok {
		err = core.Errorf(core.InvalidField, "%s", otherwise)
	}
	return k, err
}

// DecryptPrivate decrypts with a PKCS#8 key in memory.
func DecryptPrivate(pkcs8 []byte, e EncryptionPlan, data []byte) ([]byte, error) {
	k, err := parseKind[*rsa.PrivateKey](parsePrivate, pkcs8, "only RSA private keys decrypt")
	if err != nil {
		return nil, err
	}
	var out []byte
	if e.OAEP {
		out, err = k.Decrypt(nil, data, &rsa.OAEPOptions{Hash: e.Hash, MGFHash: e.MGF, Label: e.Label})
	} else {
		out, err = rsa.DecryptPKCS1v15(nil, k, data)
	}
	if err != nil {
		return nil, wrongPadding()
	}
	return out, nil
}

// DecodeOAEP removes OAEP padding from the output of a token's raw RSA (RFC 8017
// §7.1.2). Its time does not depend on the content.
func DecodeOAEP(e EncryptionPlan, em []byte) ([]byte, error) {
	h := e.Hash.New()
	h.Write(e.Label)
	want := h.Sum(nil)
	n := len(want)
	if len(em) < 2*n+2 {
		return nil, wrongPadding()
	}
	seed, db := em[1:1+n], em[1+n:]
	mgf1XOR(seed, e.MGF, db)
	mgf1XOR(db, e.MGF, seed)
	good := subtle.ConstantTimeByteEq(em[0], 0) & subtle.ConstantTimeCompare(db[:n], want)
	looking, at, bad := 1, 0, 0
	for i, b := range db[n:] {
		one, zero := subtle.ConstantTimeByteEq(b, 1), subtle.ConstantTimeByteEq(b, 0)
		at = subtle.ConstantTimeSelect(looking&one, i, at)
		looking = subtle.ConstantTimeSelect(one, 0, looking)
		bad |= looking & (1 - zero)
	}
	if good&(1-bad)&(1-looking) != 1 {
		return nil, wrongPadding()
	}
	return append([]byte{}, db[n+at+1:]...), nil
}

func mgf1XOR(out []byte, hash crypto.Hash, seed []byte) {
	var counter [4]byte
	for done := 0; done < len(out); {
		h := hash.New()
		h.Write(seed)
		h.Write(counter[:])
		done += subtle.XORBytes(out[done:], out[done:], h.Sum(nil))
		for i := 3; i >= 0; i-- {
			if counter[i]++; counter[i] != 0 {
				break
			}
		}
	}
}

// EncodePSS is EMSA-PSS-ENCODE (RFC 8017 §9.1.1), for tokens whose own PSS does not take
// the wanted parameters. bits is the length of the modulus.
func EncodePSS(s *SignaturePlan, digest []byte, bits int) ([]byte, error) {
	size, n := (bits-1+7)/8, s.Hash.Size()
	if size < n+s.Salt+2 {
		return nil, core.Errorf(core.InvalidField, "a key of %d bits is too short for this hash and salt", bits)
	}
	salt := make([]byte, s.Salt)
	if _, err := io.ReadFull(rand.Reader, salt); err != nil {
		return nil, err
	}
	h := s.Hash.New()
	h.Write(make([]byte, 8))
	h.Write(digest)
	h.Write(salt)
	sum := h.Sum(nil)
	em := make([]byte, size)
	db := em[:size-n-1]
	db[len(db)-s.Salt-1] = 1
	copy(db[len(db)-s.Salt:], salt)
	mgf1XOR(db, s.MGF, sum)
	db[0] &= 0xff >> (8*size - (bits - 1))
	copy(em[len(db):], sum)
	em[size-1] = 0xbc
	return em, nil
}
