package format

import (
	"bytes"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"math/big"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/keys/keystest"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// Each public key comes back from each format that it is given out in as the
// same stored bytes.
func TestPublicFormats(t *testing.T) {
	keys := map[core.CryptographicAlgorithm]any{core.AlgorithmRSA: &keystest.RSAKey(2048).PublicKey}
	formats := map[core.CryptographicAlgorithm][]core.KeyFormatType{
		core.AlgorithmRSA:     {core.KeyFormatTypePKCS1, core.KeyFormatTypeX509, core.KeyFormatTypePKCS8, core.KeyFormatTypeTransparentRSAPublicKey},
		core.AlgorithmEC:      {core.KeyFormatTypeX509, core.KeyFormatTypeTransparentECPublicKey, core.KeyFormatTypeTransparentECDSAPublicKey},
		core.AlgorithmEd25519: {core.KeyFormatTypeX509},
	}
	keys[core.AlgorithmEd25519], _, _ = ed25519.GenerateKey(rand.Reader)
	for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[core.AlgorithmEC] = &k.PublicKey
		for alg, key := range keys {
			stored := keystest.SPKI(t, key)
			for _, f := range formats[alg] {
				var kb core.KeyBlock
				m := core.Material{Kind: core.KeyPublic, Format: core.KeyFormatTypeX509}
				if err := (Formats{}).Render(stored, &m, alg, f, &kb); err != nil {
					t.Fatalf("%v as %v: %v", alg, f, err)
				}
				n, err := Formats{}.Normalize(core.ObjectTypePublicKey, &kb, core.ClassC)
				if err != nil || !bytes.Equal(n.Bytes, stored) || n.Kind != core.KeyPublic || n.Algorithm != alg || n.Length == 0 || n.Format != f {
					t.Errorf("%v as %v comes back as %+v, %v", alg, f, n, err)
				}
			}
		}
	}
}

// Keys that no operation could use rightly are refused at Register.
func TestPublicKeysThatAreRefused(t *testing.T) {
	block := func(f core.KeyFormatType, alg core.CryptographicAlgorithm, b []byte) core.KeyBlock {
		return core.KeyBlock{Format: f, Algorithm: alg, Material: b}
	}
	transparent := func(n, e *big.Int) core.KeyBlock {
		return core.KeyBlock{Format: core.KeyFormatTypeTransparentRSAPublicKey, Transparent: []core.Field{{Tag: core.TagModulus, Value: core.BigInt(positive(n.Bytes()))}, {Tag: core.TagPublicExponent, Value: core.BigInt(positive(e.Bytes()))}}}
	}
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	x25519, _ := ecdh.X25519().GenerateKey(rand.Reader)
	k := keystest.RSAKey(2048)
	huge := new(big.Int).SetBit(big.NewInt(1), 16384, 1)
	point := func(b []byte) core.KeyBlock {
		return core.KeyBlock{Format: core.KeyFormatTypeTransparentECPublicKey, Transparent: []core.Field{{Tag: core.TagRecommendedCurve, Value: core.Enum(core.RecommendedCurveP256)}, {Tag: core.TagQString, Value: core.Bytes(b)}}}
	}
	for what, kb := range map[string]core.KeyBlock{
		"an EC key called RSA":      block(core.KeyFormatTypeX509, core.AlgorithmRSA, keystest.SPKI(t, &ec.PublicKey)),
		"an EC key called Ed25519":  block(core.KeyFormatTypeX509, core.AlgorithmEd25519, keystest.SPKI(t, &ec.PublicKey)),
		"an RSA key called AES":     block(core.KeyFormatTypePKCS1, core.AlgorithmAES, x509.MarshalPKCS1PublicKey(&k.PublicKey)),
		"an X25519 key called RSA":  block(core.KeyFormatTypeX509, core.AlgorithmRSA, keystest.SPKI(t, x25519.PublicKey())),
		"a modulus of 1":            transparent(big.NewInt(1), big.NewInt(3)),
		"a modulus of 16,385 bits":  transparent(huge, big.NewInt(65537)),
		"the same as PKCS_1":        block(core.KeyFormatTypePKCS1, 0, x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: huge, E: 65537})),
		"an even modulus":           transparent(new(big.Int).Lsh(k.N, 1), big.NewInt(65537)),
		"exponent 1":                transparent(k.N, big.NewInt(1)),
		"exponent 2":                transparent(k.N, big.NewInt(2)),
		"an exponent of 33 bits":    transparent(k.N, new(big.Int).Lsh(big.NewInt(1), 32)),
		"no modulus":                transparent(new(big.Int), big.NewInt(3)),
		"nothing":                   block(core.KeyFormatTypeX509, 0, []byte{}),
		"bytes behind the key":      block(core.KeyFormatTypeX509, 0, append(keystest.SPKI(t, &ec.PublicKey), 0)),
		"bytes behind PKCS_1":       block(core.KeyFormatTypePKCS1, 0, append(x509.MarshalPKCS1PublicKey(&k.PublicKey), 0)),
		"a point off its curve":     point(append([]byte{4}, make([]byte, 64)...)),
		"the point at infinity":     point([]byte{0}),
		"a compressed point":        point(append([]byte{2}, make([]byte, 32)...)),
		"a format of private keys":  block(core.KeyFormatTypeTransparentRSAPrivateKey, 0, []byte{1}),
		"material as a certificate": block(core.KeyFormatTypePKCS12, 0, keystest.SPKI(t, &ec.PublicKey)),
	} {
		if n, err := (Formats{}).Normalize(core.ObjectTypePublicKey, &kb, core.ClassC); err == nil {
			t.Errorf("%s is kept: %+v", what, n)
		} else if c := core.CodeOf(err); c != core.InvalidField && c != core.KeyFormatTypeNotSupported {
			t.Errorf("%s: %v has code %v", what, err, c)
		}
	}
}

// Symmetric material is bounded in each format, and comes back as it was.
func TestSymmetricFormats(t *testing.T) {
	for alg, lengths := range map[core.CryptographicAlgorithm]map[int]core.KeyKind{
		core.AlgorithmAES:        {16: core.KeyAES, 24: core.KeyAES, 32: core.KeyAES, 15: core.KeyData, 128: core.KeyData},
		core.AlgorithmDES3:       {16: core.KeyDES3, 24: core.KeyDES3, 8: core.KeyData},
		core.AlgorithmHMACSHA256: {1: core.KeyGeneric, 200: core.KeyGeneric},
		core.AlgorithmChaCha20:   {32: core.KeyData},
	} {
		for n, kind := range lengths {
			raw := bytes.Repeat([]byte{0x61}, n)
			for _, kb := range []core.KeyBlock{{Format: core.KeyFormatTypeRaw, Material: raw}, {Format: core.KeyFormatTypeOpaque, Material: raw},
				{Format: core.KeyFormatTypeTransparentSymmetricKey, Transparent: []core.Field{{Tag: core.TagKey, Value: core.Bytes(raw)}}}} {
				kb.Algorithm = alg
				got, err := Formats{}.Normalize(core.ObjectTypeSymmetricKey, &kb, core.ClassC)
				if err != nil || got.Kind != kind || !bytes.Equal(got.Bytes, raw) || &got.Bytes[0] == &raw[0] {
					t.Errorf("%v of %d bytes as %v: %+v, %v", alg, n, kb.Format, got, err)
					continue
				}
				var back core.KeyBlock
				if err := (Formats{}).Render(got.Bytes, &core.Material{Kind: got.Kind, Format: got.Format}, alg, kb.Format, &back); err != nil || !bytes.Equal(back.Material, kb.Material) || len(back.Transparent) != len(kb.Transparent) {
					t.Errorf("%v as %v comes back as %+v, %v", alg, kb.Format, back, err)
				}
			}
		}
	}
	big := make([]byte, maxKeyBytes+1)
	for _, kb := range []core.KeyBlock{{Format: core.KeyFormatTypeRaw, Material: big}, {Format: core.KeyFormatTypeRaw, Material: []byte{}}, {Format: core.KeyFormatTypeRaw},
		{Format: core.KeyFormatTypeTransparentSymmetricKey, Transparent: []core.Field{{Tag: core.TagKey, Value: core.Bytes(big)}}},
		{Format: core.KeyFormatTypeTransparentSymmetricKey, Transparent: []core.Field{{Tag: core.TagKey, Value: core.Text("text")}}},
		{Format: core.KeyFormatTypeTransparentSymmetricKey, Transparent: []core.Field{}},
		{Format: core.KeyFormatTypePKCS8, Material: []byte{1}}, {Format: core.KeyFormatTypeRaw, Material: []byte{1}, Compression: core.KeyCompressionTypeECPublicKeyTypeX9_62CompressedPrime}} {
		if n, err := (Formats{}).Normalize(core.ObjectTypeSymmetricKey, &kb, core.ClassC); err == nil {
			t.Errorf("%v with %d bytes is kept: %d", kb.Format, len(kb.Material), len(n.Bytes))
		}
	}
}

// Whatever public key is taken is stored as one that can be read, used and
// given out again; nothing takes long.
func FuzzPublicKey(f *testing.F) {
	ec, _ := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	k := keystest.RSAKey(1024)
	for _, b := range [][]byte{keystest.SPKI(f, &k.PublicKey), keystest.SPKI(f, &ec.PublicKey), keystest.SPKI(f, ed)} {
		f.Add(uint32(core.KeyFormatTypeX509), uint32(0), b, []byte{})
	}
	f.Add(uint32(core.KeyFormatTypePKCS1), uint32(core.AlgorithmRSA), x509.MarshalPKCS1PublicKey(&k.PublicKey), []byte{})
	f.Add(uint32(core.KeyFormatTypeTransparentRSAPublicKey), uint32(core.AlgorithmRSA), k.N.Bytes(), []byte{1, 0, 1})
	q, _ := ec.PublicKey.Bytes()
	f.Add(uint32(core.KeyFormatTypeTransparentECPublicKey), uint32(core.AlgorithmEC), []byte{}, q)
	f.Fuzz(func(t *testing.T, format, alg uint32, a, b []byte) {
		kb := core.KeyBlock{Format: core.KeyFormatType(format), Algorithm: core.CryptographicAlgorithm(alg), Material: a}
		switch kb.Format {
		case core.KeyFormatTypeTransparentRSAPublicKey:
			kb.Material, kb.Transparent = nil, []core.Field{{Tag: core.TagModulus, Value: core.BigInt(a)}, {Tag: core.TagPublicExponent, Value: core.BigInt(b)}}
		case core.KeyFormatTypeTransparentECPublicKey:
			kb.Material, kb.Transparent = nil, []core.Field{{Tag: core.TagRecommendedCurve, Value: core.Enum(core.RecommendedCurveP256)}, {Tag: core.TagQString, Value: core.Bytes(b)}}
		}
		n, err := Formats{}.Normalize(core.ObjectTypePublicKey, &kb, core.ClassC)
		if err != nil {
			return
		}
		if n.Kind == core.KeyData { // not read, so kept as it came
			if !bytes.Equal(n.Bytes, kb.Material) {
				t.Fatalf("%+v is kept as %+v", kb, n)
			}
			return
		}
		if _, err := x509.ParsePKIXPublicKey(n.Bytes); err != nil || n.Length == 0 || n.Algorithm == 0 {
			t.Fatalf("%+v is stored: %v", n, err)
		}
		soft.VerifyPublic(n.Bytes, core.CryptographicParameters{}, n.Algorithm, []byte("data"), false, make([]byte, n.Length/8))
		soft.VerifyPublic(n.Bytes, core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS}, n.Algorithm, []byte("data"), false, make([]byte, (n.Length+7)/8))
		var out core.KeyBlock
		if err := (Formats{}).Render(n.Bytes, &core.Material{Kind: n.Kind, Format: n.Format}, n.Algorithm, core.KeyFormatTypeX509, &out); err != nil {
			t.Fatal(err)
		}
		if again, err := (Formats{}).Normalize(core.ObjectTypePublicKey, &out, core.ClassC); err != nil || !bytes.Equal(again.Bytes, n.Bytes) {
			t.Fatalf("%x comes back as %x, %v", n.Bytes, again.Bytes, err)
		}
	})
}
