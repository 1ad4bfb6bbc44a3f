package soft

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"math/big"

	"github.com/keyreeve/keyreeve/core"
)

// Scheme is how a signature is made.
type Scheme uint8

// The schemes.
const (
	PKCS1 Scheme = iota + 1
	PSS
	ECDSA
	EdDSA
)

// SignaturePlan is one Sign or Signature Verify with every parameter decided.
type SignaturePlan struct {
	Scheme Scheme
	Hash   crypto.Hash
	MGF    crypto.Hash // PSS
	Salt   int         // PSS, bytes

	anySalt bool // the request has no Salt Length: verifying accepts any
	unnamed bool // the request names no hash: Hash is the default
}

type signing struct {
	scheme Scheme
	hash   core.HashingAlgorithm
}

var signatures = map[core.DigitalSignatureAlgorithm]signing{
	core.DigitalSignatureAlgorithmSHA1WithRSAEncryption:   {PKCS1, core.HashSHA1},
	core.DigitalSignatureAlgorithmSHA224WithRSAEncryption: {PKCS1, core.HashSHA224},
	core.DigitalSignatureAlgorithmSHA256WithRSAEncryption: {PKCS1, core.HashSHA256},
	core.DigitalSignatureAlgorithmSHA384WithRSAEncryption: {PKCS1, core.HashSHA384},
	core.DigitalSignatureAlgorithmSHA512WithRSAEncryption: {PKCS1, core.HashSHA512},
	core.DigitalSignatureAlgorithmRSASSAPSS:               {PSS, 0},
	core.DigitalSignatureAlgorithmECDSAWithSHA1:           {ECDSA, core.HashSHA1},
	core.DigitalSignatureAlgorithmECDSAWithSHA224:         {ECDSA, core.HashSHA224},
	core.DigitalSignatureAlgorithmECDSAWithSHA256:         {ECDSA, core.HashSHA256},
	core.DigitalSignatureAlgorithmECDSAWithSHA384:         {ECDSA, core.HashSHA384},
	core.DigitalSignatureAlgorithmECDSAWithSHA512:         {ECDSA, core.HashSHA512},
}

// ResolveSignature decides scheme and hash by the Digital Signature Algorithm, or by
// padding, hash and the algorithm of the key. If both are given, they must agree (KMIP
// 1.4 §3.6).
func ResolveSignature(p core.CryptographicParameters, key core.CryptographicAlgorithm) (SignaturePlan, error) {
	s := signing{hash: p.HashingAlgorithm}
	if p.DigitalSignatureAlgorithm != 0 {
		found, ok := signatures[p.DigitalSignatureAlgorithm]
		if !ok {
			return SignaturePlan{}, core.Errorf(core.InvalidField, "Digital Signature Algorithm %v is not supported", p.DigitalSignatureAlgorithm)
		}
		if s.hash != 0 && found.hash != 0 && s.hash != found.hash {
			return SignaturePlan{}, core.Errorf(core.InvalidField, "%v does not use Hashing Algorithm %v", p.DigitalSignatureAlgorithm, s.hash)
		}
		if s.scheme = found.scheme; found.hash != 0 {
			s.hash = found.hash
		}
	}
	return s.resolveForKey(p, key)
}

func (s signing) resolveForKey(p core.CryptographicParameters, key core.CryptographicAlgorithm) (SignaturePlan, error) {
	want := s.scheme
	switch key {
	case core.AlgorithmRSA:
		if want == 0 {
			want = PKCS1
			if p.PaddingMethod == core.PaddingMethodPSS {
				want = PSS
			}
		}
		if want != PKCS1 && want != PSS {
			return SignaturePlan{}, core.Errorf(core.InvalidField, "an RSA key does not sign by %v", p.DigitalSignatureAlgorithm)
		}
	case core.AlgorithmEC, core.AlgorithmECDSA:
		if want == 0 {
			want = ECDSA
		}
		if want != ECDSA {
			return SignaturePlan{}, core.Errorf(core.InvalidField, "an elliptic curve key does not sign by %v", p.DigitalSignatureAlgorithm)
		}
	case core.AlgorithmEd25519:
		return SignaturePlan{Scheme: EdDSA}, nil
	default:
		return SignaturePlan{}, core.Errorf(core.InvalidField, "keys of algorithm %v do not sign", key)
	}
	unnamed := s.hash == 0
	if unnamed {
		s.hash = core.HashSHA256
	}
	h, err := hashOf(s.hash)
	if err != nil {
		return SignaturePlan{}, err
	}
	plan := SignaturePlan{Scheme: want, Hash: h, unnamed: unnamed}
	return plan, plan.resolvePSS(p)
}

// resolvePSS reads the parameters that only PSS has.
func (s *SignaturePlan) resolvePSS(p core.CryptographicParameters) error {
	if s.Scheme != PSS {
		return nil
	}
	if p.MaskGenerator != 0 && p.MaskGenerator != core.MaskGeneratorMFG1 {
		return core.Errorf(core.InvalidField, "Mask Generator %v is not supported; MGF1 is", p.MaskGenerator)
	}
	if p.TrailerField != nil && *p.TrailerField != 1 {
		return core.Errorf(core.InvalidField, "Trailer Field %d is not supported; 1 is", *p.TrailerField)
	}
	// KMIP 1.4 Table 65: the hash of MGF1 is SHA-1 if none is named, and the salt is
	// as long as that hash.
	s.MGF = crypto.SHA1
	if p.MaskGeneratorHashing != 0 {
		var err error
		if s.MGF, err = hashOf(p.MaskGeneratorHashing); err != nil {
			return err
		}
	}
	s.Salt, s.anySalt = s.MGF.Size(), p.SaltLength == nil
	if p.SaltLength != nil {
		if s.Salt = int(*p.SaltLength); s.Salt < 0 || s.Salt > maxSalt {
			return core.Errorf(core.InvalidField, "the Salt Length is %d bytes; it must be 0 to %d", s.Salt, maxSalt)
		}
	}
	return nil
}

// Bounds in bytes.
const (
	maxSalt   = 512
	maxDigest = 64 // of Digested Data if the request names no hash
)

// Message returns the bytes to sign: the digest, or for EdDSA the data itself. If the
// request names no hash (KMIP 1.4 §4.31, 2.1 §6.1.55), Digested Data of 32 bytes counts as
// SHA-256, the default here. Other lengths are signed as they are; PKCS#1 v1.5 then names
// no hash, and the plan's Hash is 0.
func (s *SignaturePlan) Message(data []byte, digested bool) ([]byte, error) {
	switch {
	case s.Scheme == EdDSA && digested:
		return nil, core.Errorf(core.InvalidField, "Ed25519 signs the data itself; Digested Data cannot be signed")
	case s.Scheme == EdDSA:
		return data, nil
	case digested && s.unnamed && s.Scheme != PSS && len(data) != s.Hash.Size() && len(data) > 0 && len(data) <= maxDigest:
		s.Hash = 0
		return data, nil
	case digested && len(data) != s.Hash.Size():
		return nil, core.Errorf(core.InvalidField, "the Digested Data has %d bytes, but the hash has %d", len(data), s.Hash.Size())
	case digested:
		return data, nil
	}
	w := s.Hash.New()
	w.Write(data)
	return w.Sum(nil), nil
}

var digestInfo = map[crypto.Hash][]byte{
	crypto.SHA1:   {0x30, 0x21, 0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00, 0x04, 0x14},
	crypto.SHA224: {0x30, 0x2d, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x04, 0x05, 0x00, 0x04, 0x1c},
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
	crypto.SHA384: {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
	crypto.SHA512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
}

// DigestInfo returns the DER that PKCS#1 v1.5 signs, for tokens that only pad.
func DigestInfo(h crypto.Hash, digest []byte) ([]byte, error) {
	prefix, ok := digestInfo[h]
	if h == 0 { // see Message
		return digest, nil
	}
	if !ok {
		return nil, core.Errorf(core.InvalidField, "PKCS#1 v1.5 does not sign with hash %v", h)
	}
	return append(append(make([]byte, 0, len(prefix)+len(digest)), prefix...), digest...), nil
}

// planMessage returns how to sign data, and the message that the private key signs.
func planMessage(p core.CryptographicParameters, alg core.CryptographicAlgorithm, data []byte, digested bool) (plan SignaturePlan, msg []byte, err error) {
	if plan, err = ResolveSignature(p, alg); err != nil {
		return plan, nil, err
	}
	msg, err = plan.Message(data, digested)
	return plan, msg, err
}

// VerifyPublic checks a signature against a SubjectPublicKeyInfo.
func VerifyPublic(spki []byte, p core.CryptographicParameters, alg core.CryptographicAlgorithm, data []byte, digested bool, sig []byte) (bool, error) {
	plan, msg, err := planMessage(p, alg, data, digested)
	if err != nil {
		return false, err
	}
	public, err := parsePublic(spki)
	if err != nil {
		return false, err
	}
	switch k := public.(type) {
	case *rsa.PublicKey:
		if plan.Scheme == PSS {
			ok := verifyPSS(k, &plan, msg, sig)
			if !ok && p.MaskGeneratorHashing == 0 {
				// If no hash is named for MGF1, the standard says SHA-1, but
				// most software uses the hash of the message.
				plan.MGF = plan.Hash
				ok = verifyPSS(k, &plan, msg, sig)
			}
			return ok, nil
		}
		return rsa.VerifyPKCS1v15(k, plan.Hash, msg, sig) == nil, nil
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(k, msg, sig), nil
	case ed25519.PublicKey:
		return ed25519.Verify(k, msg, sig), nil
	}
	return false, core.Errorf(core.InvalidField, "public keys of this kind do not verify signatures")
}

// verifyPSS is EMSA-PSS-VERIFY (RFC 8017 §9.1.2). Go requires the same hash for MGF1 and
// for the message. Nothing in it is secret.
func verifyPSS(k *rsa.PublicKey, plan *SignaturePlan, digest, sig []byte) bool {
	s := new(big.Int).SetBytes(sig)
	if len(sig) != k.Size() || s.Cmp(k.N) >= 0 {
		return false
	}
	bits := k.N.BitLen() - 1
	m := s.Exp(s, big.NewInt(int64(k.E)), k.N)
	if m.BitLen() > (bits+7)/8*8 { // RFC 8017 §8.1.2: "integer too large"
		return false
	}
	em := m.FillBytes(make([]byte, (bits+7)/8))
	n := plan.Hash.Size()
	if len(em) < n+2 || em[len(em)-1] != 0xbc {
		return false
	}
	db, sum := em[:len(em)-n-1], em[len(em)-n-1:len(em)-1]
	unused := byte(0xff) >> (8*len(em) - bits)
	if db[0]&^unused != 0 {
		return false
	}
	mgf1XOR(db, plan.MGF, sum)
	db[0] &= unused
	at := bytes.IndexByte(db, 1)
	if at < 0 || len(bytes.Trim(db[:at], "\x00")) > 0 {
		return false
	}
	salt := db[at+1:]
	h := plan.Hash.New()
	h.Write(make([]byte, 8))
	h.Write(digest)
	h.Write(salt)
	return bytes.Equal(h.Sum(nil), sum) && (plan.anySalt || len(salt) == plan.Salt)
}

// SignPrivate signs with a PKCS#8 key in memory.
func SignPrivate(pkcs8 []byte, p core.CryptographicParameters, alg core.CryptographicAlgorithm, data []byte, digested bool) ([]byte, error) {
	plan, msg, err := planMessage(p, alg, data, digested)
	if err != nil {
		return nil, err
	}
	signer, err := parseKind[crypto.Signer](parsePrivate, pkcs8, "private keys of this kind do not sign")
	if err != nil {
		return nil, err
	}
	if plan.Scheme == PSS && plan.MGF != plan.Hash {
		return nil, core.Errorf(core.UnsupportedByHSM, "only the HSM signs by PSS with a different hash for MGF1")
	}
	var opts crypto.SignerOpts = plan.Hash
	if plan.Scheme == PSS {
		opts = &rsa.PSSOptions{SaltLength: plan.Salt, Hash: plan.Hash}
	}
	return signer.Sign(rand.Reader, msg, opts)
}

type ecdsaSignature struct{ R, S *big.Int }

// ECDSAToDER turns the token's r|s into an ECDSA-Sig-Value, which KMIP carries.
func ECDSAToDER(raw []byte) ([]byte, error) {
	n := len(raw) / 2
	if n == 0 || len(raw)%2 != 0 {
		return nil, core.Errorf(core.CryptographicFailure, "the HSM returned an ECDSA signature of %d bytes, which is not r and s", len(raw))
	}
	return asn1.Marshal(ecdsaSignature{new(big.Int).SetBytes(raw[:n]), new(big.Int).SetBytes(raw[n:])})
}
