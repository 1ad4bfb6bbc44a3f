package format

import (
	"bytes"
	"crypto/ecdh"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/keys/keystest"
)

// Key bytes that are not read here are kept as they came, in class C alone, as
// data that nothing uses, and given back in their own format alone.
func TestUnreadKeysAreKeptAsGiven(t *testing.T) {
	x25519, err := ecdh.X25519().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der := func(v any) []byte {
		b, err := asn1.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	type algorithm struct{ Algorithm, Curve asn1.ObjectIdentifier }
	secp256k1 := algorithm{asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, asn1.ObjectIdentifier{1, 3, 132, 0, 10}}
	scalar := bytes.Repeat([]byte{7}, 32)
	sec1 := der(struct {
		Version int
		D       []byte
		Curve   asn1.ObjectIdentifier `asn1:"explicit,tag:0"`
	}{1, scalar, secp256k1.Curve})
	pbe := der(struct {
		Algorithm algorithm
		Data      []byte
	}{algorithm{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 12, 1, 3}, asn1.ObjectIdentifier{1, 2}}, scalar})
	pkcs8, err := x509.MarshalPKCS8PrivateKey(x25519)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		t      core.ObjectType
		format core.KeyFormatType
		alg    core.CryptographicAlgorithm
		bytes  []byte
	}{
		"PKCS#8 under a password": {core.ObjectTypePrivateKey, core.KeyFormatTypePKCS8, core.AlgorithmRSA, pbe},
		"PKCS#8 of X25519":        {core.ObjectTypePrivateKey, core.KeyFormatTypePKCS8, core.AlgorithmECDH, pkcs8},
		"PKCS#8 on secp256k1": {core.ObjectTypePrivateKey, core.KeyFormatTypePKCS8, core.AlgorithmEC, der(struct {
			Version   int
			Algorithm algorithm
			Key       []byte
		}{0, secp256k1, sec1})},
		"EC Private Key on secp256k1":    {core.ObjectTypePrivateKey, core.KeyFormatTypeECPrivateKey, core.AlgorithmECDSA, sec1},
		"PKCS#12":                        {core.ObjectTypePrivateKey, core.KeyFormatTypePKCS12, 0, []byte("a file")},
		"an opaque private key":          {core.ObjectTypePrivateKey, core.KeyFormatTypeOpaque, core.AlgorithmRSA, []byte("opaque")},
		"a vendor's private key":         {core.ObjectTypePrivateKey, 0x8000_0001, core.AlgorithmEC, []byte("vendor")},
		"SubjectPublicKeyInfo of X25519": {core.ObjectTypePublicKey, core.KeyFormatTypeX509, 0, keystest.SPKI(t, x25519.PublicKey())},
		"SubjectPublicKeyInfo on secp256k1": {core.ObjectTypePublicKey, core.KeyFormatTypeX509, core.AlgorithmECDSA, der(struct {
			Algorithm algorithm
			Key       asn1.BitString
		}{secp256k1, asn1.BitString{Bytes: append([]byte{4}, make([]byte, 64)...), BitLength: 65 * 8}})},
		"a raw public key": {core.ObjectTypePublicKey, core.KeyFormatTypeRaw, core.AlgorithmEC, []byte("raw")},
	} {
		kb := core.KeyBlock{Format: c.format, Algorithm: c.alg, Material: c.bytes}
		n, err := Formats{}.Normalize(c.t, &kb, core.ClassC)
		if err != nil || n.Kind != core.KeyData || !bytes.Equal(n.Bytes, c.bytes) || &n.Bytes[0] == &c.bytes[0] || n.Length != 0 {
			t.Errorf("%s: %+v, %v", what, n, err)
			continue
		}
		for _, want := range []core.KeyFormatType{c.format, core.KeyFormatTypePKCS1, core.KeyFormatTypePKCS8, core.KeyFormatTypeX509, core.KeyFormatTypeTransparentSymmetricKey} {
			var back core.KeyBlock
			err := Formats{}.Render(n.Bytes, &core.Material{Kind: n.Kind, Format: n.Format}, c.alg, want, &back)
			if (err == nil) != (want == c.format) && !symmetricFormat(c.format) {
				t.Errorf("%s given as %v: %v", what, want, err)
			}
			if want == c.format && !bytes.Equal(back.Material, c.bytes) {
				t.Errorf("%s comes back as %x", what, back.Material)
			}
		}
		if c.t == core.ObjectTypePrivateKey {
			for _, class := range []core.Class{core.ClassN, core.ClassX} {
				if _, err := (Formats{}).Normalize(c.t, &kb, class); core.CodeOf(err) != core.InvalidField {
					t.Errorf("%s in class %s: %v; want Invalid Field", what, class, err)
				}
			}
		}
		if !keptAsGiven(c.format) && what != "PKCS#8 under a password" {
			kb.Algorithm = core.AlgorithmRSA
			if _, err := (Formats{}).Normalize(c.t, &kb, core.ClassC); core.CodeOf(err) != core.InvalidField {
				t.Errorf("%s called RSA: %v; want Invalid Field", what, err)
			}
		}
	}
}
