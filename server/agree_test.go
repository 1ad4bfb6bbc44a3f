package server_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

// registrable is a key that is registered, with what is true of it.
type registrable struct {
	what    string
	object  core.ObjectType
	format  core.KeyFormatType
	bytes   []byte
	fields  []core.Field
	names   []core.CryptographicAlgorithm // that its bytes are a key for; nil: any
	lengths []int32                       // that its bytes have; nil: any
	curve   core.RecommendedCurve
}

func pairMaterial(t *testing.T) (out []registrable) {
	t.Helper()
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := []core.CryptographicAlgorithm{core.AlgorithmEC, core.AlgorithmECDSA, core.AlgorithmECDH}
	for _, k := range []struct {
		what            string
		private, public any
		names           []core.CryptographicAlgorithm
		bits            int32
		curve           core.RecommendedCurve
	}{{"RSA", rsaKey, &rsaKey.PublicKey, []core.CryptographicAlgorithm{core.AlgorithmRSA}, 2048, 0},
		{"P-256", ecKey, &ecKey.PublicKey, ec, 256, core.RecommendedCurveP256},
		{"Ed25519", edKey, edPublic, []core.CryptographicAlgorithm{core.AlgorithmEd25519}, 256, core.RecommendedCurveCURVE25519}} {
		pkcs8, err := x509.MarshalPKCS8PrivateKey(k.private)
		if err != nil {
			t.Fatal(err)
		}
		spki, err := x509.MarshalPKIXPublicKey(k.public)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, registrable{k.what, core.ObjectTypePrivateKey, core.KeyFormatTypePKCS8, pkcs8, nil, k.names, []int32{k.bits}, k.curve},
			registrable{k.what, core.ObjectTypePublicKey, core.KeyFormatTypeX509, spki, nil, k.names, []int32{k.bits}, k.curve})
	}
	sec1, err := x509.MarshalECPrivateKey(ecKey)
	if err != nil {
		t.Fatal(err)
	}
	rsaNames := []core.CryptographicAlgorithm{core.AlgorithmRSA}
	out = append(out, registrable{"P-256", core.ObjectTypePrivateKey, core.KeyFormatTypeECPrivateKey, sec1, nil, ec, []int32{256}, core.RecommendedCurveP256},
		registrable{"RSA", core.ObjectTypePrivateKey, core.KeyFormatTypePKCS1, x509.MarshalPKCS1PrivateKey(rsaKey), nil, rsaNames, []int32{2048}, 0},
		registrable{"RSA", core.ObjectTypePublicKey, core.KeyFormatTypePKCS1, x509.MarshalPKCS1PublicKey(&rsaKey.PublicKey), nil, rsaNames, []int32{2048}, 0})
	return out
}

func symmetricMaterial() (out []registrable) {
	for _, n := range []int{5, 16, 24, 32, 128} {
		raw := bytes.Repeat([]byte{0x5a}, n)
		lengths := []int32{int32(8 * n)}
		out = append(out, registrable{"symmetric", core.ObjectTypeSymmetricKey, core.KeyFormatTypeRaw, raw, nil, nil, lengths, 0},
			registrable{"symmetric", core.ObjectTypeSymmetricKey, core.KeyFormatTypeOpaque, raw, nil, nil, lengths, 0},
			registrable{"symmetric", core.ObjectTypeSymmetricKey, core.KeyFormatTypeTransparentSymmetricKey, nil, []core.Field{{Tag: core.TagKey, Value: core.Bytes(raw)}}, nil, lengths, 0},
			registrable{"secret", core.ObjectTypeSecretData, core.KeyFormatTypeOpaque, raw, nil, nil, lengths, 0})
	}
	return out
}

// claim is what the client says of a key, in the attributes and in the Key Block.
type claim struct {
	attribute, block       core.CryptographicAlgorithm
	attributeLen, blockLen int32
}

// holds is the rule that the test goes by, apart from the server's: every claim is
// true of the bytes, and two of one kind mean the same.
func (m *registrable) holds(c claim) bool {
	same := func(a, b core.CryptographicAlgorithm) bool {
		family := map[core.CryptographicAlgorithm]core.CryptographicAlgorithm{core.AlgorithmECDSA: core.AlgorithmEC, core.AlgorithmECDH: core.AlgorithmEC}
		if f, ok := family[a]; ok {
			a = f
		}
		if f, ok := family[b]; ok {
			b = f
		}
		return a == b
	}
	if c.attribute != 0 && c.block != 0 && !same(c.attribute, c.block) {
		return false
	}
	alg := c.attribute
	if alg == 0 {
		alg = c.block
	}
	for _, a := range []core.CryptographicAlgorithm{c.attribute, c.block} {
		ok := a == 0 || m.names == nil
		for _, n := range m.names {
			ok = ok || a == n || (a == c.block && a == core.AlgorithmEC && n == core.AlgorithmEd25519 && c.attribute == 0) // 1.x has no name for it
		}
		if !ok {
			return false
		}
	}
	for _, l := range []int32{c.attributeLen, c.blockLen} {
		if l == 0 || l == m.lengths[0] || (alg == core.AlgorithmDES3 && (l == 112 || l == 168) && l/7*8 == m.lengths[0]) {
			continue
		}
		return false
	}
	return true
}

func (m *registrable) register(c claim, more ...core.Attribute) *core.RegisterInput {
	as := append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskEncrypt | core.MaskSign)}}, more...)
	if c.attribute != 0 {
		as = append(as, core.Attribute{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(c.attribute)})
	}
	if c.attributeLen != 0 {
		as = append(as, core.Attribute{Tag: core.TagCryptographicLength, Value: core.Int(c.attributeLen)})
	}
	in := &core.RegisterInput{ObjectType: m.object, Attributes: as, Object: core.ObjectBody{Type: m.object,
		KeyBlock: core.KeyBlock{Format: m.format, Algorithm: c.block, Length: c.blockLen, Material: m.bytes, Transparent: m.fields}}}
	if m.object == core.ObjectTypeSecretData {
		in.Object.SecretDataType = core.SecretDataTypeSeed
	}
	return in
}

// What Key Block, attributes and bytes say of a key must agree, for each type of
// object, format, algorithm and length; what agrees comes back as it came.
func TestKeysMustBeWhatIsSaidOfThem(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	algorithms := []core.CryptographicAlgorithm{0, core.AlgorithmAES, core.AlgorithmDES3, core.AlgorithmHMACSHA256, core.AlgorithmBlowfish, core.AlgorithmRSA, core.AlgorithmECDSA, core.AlgorithmEC, core.AlgorithmEd25519}
	tried, kept := 0, 0
	for _, m := range append(symmetricMaterial(), pairMaterial(t)...) {
		right := m.lengths[0]
		for _, alg := range algorithms {
			if m.names == nil && (alg == core.AlgorithmRSA || alg == core.AlgorithmEC || alg == core.AlgorithmECDSA || alg == core.AlgorithmEd25519) {
				continue // bytes that name no algorithm are only held to their length
			}
			for _, length := range []int32{0, right, right / 8 * 7, right - 1, right * 2} {
				claims := []claim{{alg, 0, length, 0}, {0, alg, 0, length}}
				if length == right {
					claims = append(claims, claim{alg, alg, length, length}, claim{alg, core.AlgorithmAES, length, length}, claim{alg, alg, length, length + 8})
				}
				for _, said := range claims {
					tried++
					if checkClaim(t, c, &m, said) {
						kept++
					}
				}
			}
		}
		if m.object == core.ObjectTypePrivateKey || m.object == core.ObjectTypePublicKey {
			checkCurve(t, c, &m)
		}
	}
	if tried < 500 || kept < 150 || kept > tried/2 {
		t.Errorf("%d claims were tried and %d kept: the test does not try both sides", tried, kept)
	}
}

func checkClaim(t *testing.T, c *kmiptest.Client, m *registrable, said claim) (kept bool) {
	t.Helper()
	what := fmt.Sprintf("a %v %v in %v, said to be %+v", m.what, m.object, m.format, said)
	out, err := kmiptest.Do(c, &kmip.Register, m.register(said))
	if !m.holds(said) {
		if kmiptest.Reason(err) != core.ReasonInvalidField {
			t.Errorf("%s: %v; want Invalid Field", what, err)
		}
		return false
	}
	if err != nil {
		t.Errorf("%s: %v", what, err)
		return false
	}
	got, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(out.ID)})
	if err != nil {
		t.Errorf("%s: Get: %v", what, err)
		return true
	}
	kb := &got.Object.KeyBlock
	given := max(said.attributeLen, said.blockLen)
	if kb.Format != m.format || !bytes.Equal(kb.Material, m.bytes) || (m.object != core.ObjectTypeSecretData && given != 0 && kb.Length != given) {
		t.Errorf("%s: comes back as %v with %d bits", what, kb.Format, kb.Length)
	}
	return true
}

func checkCurve(t *testing.T, c *kmiptest.Client, m *registrable) {
	t.Helper()
	for _, curve := range []core.RecommendedCurve{core.RecommendedCurveP256, core.RecommendedCurveP384, core.RecommendedCurveCURVE25519} {
		_, err := kmiptest.Do(c, &kmip.Register, m.register(claim{}, core.Attribute{Tag: core.TagCryptographicDomainParameters,
			Value: core.Structure(core.Field{Tag: core.TagRecommendedCurve, Value: core.Enum(curve)})}))
		if (err == nil) != (curve == m.curve) {
			t.Errorf("a %s %v said to be on %v: %v", m.what, m.object, curve, err)
		}
	}
}

// 3DES keys have two lengths each, and both are made and given back as they came.
func TestLengthsOf3DES(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	for bits, n := range map[int32]int{112: 16, 128: 16, 168: 24, 192: 24} {
		in := kmiptest.AESKey(bits, core.MaskEncrypt)
		in.Attributes[0].Value = core.Enum(core.AlgorithmDES3)
		made, err := kmiptest.Do(c, &kmip.Create, in)
		if err != nil {
			t.Errorf("Create of %d bits: %v", bits, err)
			continue
		}
		got, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(made.ID)})
		if kb := &got.Object.KeyBlock; err != nil || kb.Length != bits || len(kb.Material) != n {
			t.Errorf("a 3DES key of %d bits has %d bytes and comes back with %d bits, %v", bits, len(kb.Material), kb.Length, err)
		}
	}
}

// certificateOn is a certificate whose key is on secp256k1, made of one on P-256 by
// another name of the curve: the form alone matters, nobody verifies it here.
func certificateOn(t *testing.T, from, to string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "meter", Organization: []string{"Works"}},
		NotBefore: time.Now(), NotAfter: time.Now().Add(time.Hour)}, &x509.Certificate{Subject: pkix.Name{CommonName: "meter"}}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	old, _ := hex.DecodeString(from)
	other, _ := hex.DecodeString(to)
	return bytes.ReplaceAll(der, old, other)
}

// A certificate on a curve that is not known here is kept, with what can be read of
// it; what contradicts it, and what is no certificate, is refused.
func TestCertificatesOnUnknownCurves(t *testing.T) {
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	const p224, secp256k1 = "06052b81040021", "06052b8104000a"
	unknown := certificateOn(t, p224, secp256k1)
	if _, err := x509.ParseCertificate(unknown); err == nil {
		t.Fatal("crypto/x509 parses the certificate, so the test tries nothing")
	}
	register := func(kind core.CertificateType, value []byte, more ...core.Attribute) (string, error) {
		out, err := kmiptest.Do(c, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeCertificate, Attributes: append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}, more...),
			Object: core.ObjectBody{Type: core.ObjectTypeCertificate, CertificateType: kind, CertificateValue: value}})
		return out.ID, err
	}
	id, err := register(core.CertificateTypeX509, unknown)
	if err != nil {
		t.Fatal(err)
	}
	got, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(id)})
	if err != nil || !bytes.Equal(got.Object.CertificateValue, unknown) {
		t.Errorf("it comes back as %x, %v", got.Object.CertificateValue, err)
	}
	all, err := kmiptest.Do(c, &kmip.GetAttributes, &core.GetAttributesInput{ID: core.ID(id)})
	if err != nil {
		t.Fatal(err)
	}
	if alg := all.Attributes.Num(core.TagCryptographicAlgorithm); alg != int64(core.AlgorithmEC) || all.Attributes.Num(core.TagCryptographicLength) != 256 ||
		!all.Attributes.Has(core.TagX509CertificateSubject) || all.Attributes.Num(core.TagDigitalSignatureAlgorithm) != int64(core.DigitalSignatureAlgorithmECDSAWithSHA256) {
		t.Errorf("its attributes are %v", all.Attributes)
	}
	number := func(tag core.Tag, v core.Value) core.Attribute { return core.Attribute{Tag: tag, Value: v} }
	for what, try := range map[string]func() (string, error){
		"X.509 called PGP": func() (string, error) { return register(core.CertificateTypePGP, unknown) },
		"no certificate":   func() (string, error) { return register(core.CertificateTypeX509, []byte{0x30, 0x03, 2, 1, 1}) },
		"one with a tail":  func() (string, error) { return register(core.CertificateTypeX509, append(bytes.Clone(unknown), 0)) },
		"one cut short":    func() (string, error) { return register(core.CertificateTypeX509, unknown[:len(unknown)-1]) },
		"an RSA one": func() (string, error) {
			return register(core.CertificateTypeX509, unknown, number(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA)))
		},
		"one of 384 bits": func() (string, error) {
			return register(core.CertificateTypeX509, unknown, number(core.TagCryptographicLength, core.Int(384)))
		},
	} {
		if _, err := try(); kmiptest.Reason(err) != core.ReasonInvalidField {
			t.Errorf("%s: %v; want Invalid Field", what, err)
		}
	}
	if _, err := register(core.CertificateTypePGP, []byte{0x99, 1, 2, 3}); err != nil {
		t.Errorf("a PGP certificate: %v", err)
	}
}
