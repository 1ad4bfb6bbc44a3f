package server_test

import (
	"bytes"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"math/big"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/keys/keystest"
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
	ecKey, edKey := keystest.ECKey(t, elliptic.P256()), keystest.Ed25519Key(t)
	ec := []core.CryptographicAlgorithm{core.AlgorithmEC, core.AlgorithmECDSA, core.AlgorithmECDH}
	for _, k := range []struct {
		what            string
		private, public any
		names           []core.CryptographicAlgorithm
		bits            int32
		curve           core.RecommendedCurve
	}{{"RSA", rsaKey, &rsaKey.PublicKey, []core.CryptographicAlgorithm{core.AlgorithmRSA}, 2048, 0},
		{"P-256", ecKey, &ecKey.PublicKey, ec, 256, core.RecommendedCurveP256},
		{"Ed25519", edKey, edKey.Public(), []core.CryptographicAlgorithm{core.AlgorithmEd25519}, 256, core.RecommendedCurveCURVE25519}} {
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

func (m *registrable) register(c claim, more ...core.Attribute) *operation.RegisterInput {
	as := append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskEncrypt | core.MaskSign)}}, more...)
	if c.attribute != 0 {
		as = append(as, core.Attribute{Tag: core.TagCryptographicAlgorithm, Value: core.Enum(c.attribute)})
	}
	if c.attributeLen != 0 {
		as = append(as, core.Attribute{Tag: core.TagCryptographicLength, Value: core.Int(c.attributeLen)})
	}
	in := &operation.RegisterInput{ObjectType: m.object, Attributes: as, Object: core.ObjectBody{Type: m.object,
		KeyBlock: core.KeyBlock{Format: m.format, Algorithm: c.block, Length: c.blockLen, Material: m.bytes, Transparent: m.fields}}}
	if m.object == core.ObjectTypeSecretData {
		in.Object.SecretDataType = core.SecretDataTypeSeed
	}
	return in
}

// What Key Block, attributes and bytes say of a key must agree, for each type of
// object, format, algorithm and length; what agrees comes back as it came.
func TestKeysMustBeWhatIsSaidOfThem(t *testing.T) {
	t.Parallel()
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
	got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(out.ID)})
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
	t.Parallel()
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
		got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(made.ID)})
		if kb := &got.Object.KeyBlock; err != nil || kb.Length != bits || len(kb.Material) != n {
			t.Errorf("a 3DES key of %d bits has %d bytes and comes back with %d bits, %v", bits, len(kb.Material), kb.Length, err)
		}
	}
}

// certificateOn is a certificate whose key is on secp256k1, made of one on P-256 by
// another name of the curve: the form alone matters, nobody verifies it here.
func certificateOn(t *testing.T, from, to string) []byte {
	t.Helper()
	key := keystest.ECKey(t, elliptic.P224())
	der := signCertificate(t, &x509.Certificate{SerialNumber: big.NewInt(77), Subject: pkix.Name{CommonName: "meter", Organization: []string{"Works"}}},
		&x509.Certificate{Subject: pkix.Name{CommonName: "meter"}}, &key.PublicKey, key)
	old, _ := hex.DecodeString(from)
	other, _ := hex.DecodeString(to)
	return bytes.ReplaceAll(der, old, other)
}

// A certificate on a curve that is not known here is kept, with what can be read of
// it; what contradicts it, and what is no certificate, is refused.
func TestCertificatesOnUnknownCurves(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	c := dial(t, s, "dev", core.V1_4)
	const p224, secp256k1 = "06052b81040021", "06052b8104000a"
	unknown := certificateOn(t, p224, secp256k1)
	if _, err := x509.ParseCertificate(unknown); err == nil {
		t.Fatal("crypto/x509 parses the certificate, so the test tries nothing")
	}
	register := func(kind core.CertificateType, value []byte, more ...core.Attribute) (string, error) {
		out, err := kmiptest.Do(c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeCertificate, Attributes: append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}}, more...),
			Object: core.ObjectBody{Type: core.ObjectTypeCertificate, CertificateType: kind, CertificateValue: value}})
		return out.ID, err
	}
	id, err := register(core.CertificateTypeX509, unknown)
	if err != nil {
		t.Fatal(err)
	}
	got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)})
	if err != nil || !bytes.Equal(got.Object.CertificateValue, unknown) {
		t.Errorf("it comes back as %x, %v", got.Object.CertificateValue, err)
	}
	all, err := kmiptest.Do(c, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id)})
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

// What Get wraps Register unwraps again, under either Encoding Option and in
// either version family; what is no such thing is refused for the right reason.
func TestWrappedOutAndIn(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, v := range []core.Version{core.V1_0, core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		kek, err := kmiptest.Do(c, &kmip.Create, kmiptest.AESKey(256, core.MaskWrapKey|core.MaskUnwrapKey, activeNow))
		if err != nil {
			t.Fatal(err)
		}
		key := aesKey(t, c, kmiptest.Name("inner"))
		get := func(id string, spec *core.KeyWrappingSpecification) core.KeyBlock {
			t.Helper()
			out, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id), Specification: spec})
			if err != nil {
				t.Fatalf("KMIP %v: %v", v, err)
			}
			kb := out.Object.KeyBlock
			kb.Material, kb.Wrapped = bytes.Clone(kb.Material), bytes.Clone(kb.Wrapped)
			return kb
		}
		wrapped := func(e core.EncodingOption, names ...core.AttributeName) core.KeyBlock {
			t.Helper()
			return get(key, &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: e, Encryption: &core.WrappingKeyInfo{ID: kek.ID}, AttributeNames: names})
		}
		register := func(kb core.KeyBlock, e core.EncodingOption, more ...core.Attribute) (string, error) {
			kb.Wrapping = &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: e, Encryption: &core.WrappingKeyInfo{ID: kek.ID}}
			as := append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskEncrypt)}}, more...)
			out, err := kmiptest.Do(c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: as,
				Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: kb}})
			return out.ID, err
		}
		want := get(key, nil).Material
		encodings := []core.EncodingOption{0}
		if v > core.V1_0 { // which has no Encoding Option: all is TTLV
			encodings = append(encodings, core.EncodingOptionTTLVEncoding, core.EncodingOptionNoEncoding)
		}
		for _, e := range encodings {
			id, err := register(wrapped(e), e)
			if err != nil {
				t.Errorf("KMIP %v, %v: %v", v, e, err)
			} else if got := get(id, nil).Material; !bytes.Equal(got, want) {
				t.Errorf("KMIP %v, %v: another key came back", v, e)
			}
		}
		// Under No Encoding some clients put the wrapped bytes into a structure.
		if v > core.V1_0 {
			kb := wrapped(core.EncodingOptionNoEncoding)
			kb.Material, kb.Wrapped = kb.Wrapped, nil
			if id, err := register(kb, core.EncodingOptionNoEncoding); err != nil {
				t.Errorf("KMIP %v, wrapped bytes as Key Material: %v", v, err)
			} else if got := get(id, nil).Material; !bytes.Equal(got, want) {
				t.Errorf("KMIP %v, wrapped bytes as Key Material: another key came back", v)
			}
			if _, err := register(kb, core.EncodingOptionTTLVEncoding); kmiptest.Reason(err) != core.ReasonInvalidField {
				t.Errorf("KMIP %v, a structure that is said to be wrapped TTLV: %v", v, err)
			}
		}
		// Attributes that are wrapped with the key come along.
		id, err := register(wrapped(0, core.AttributeName{Tag: core.TagName}), 0)
		if err != nil {
			t.Fatalf("KMIP %v, with a name inside: %v", v, err)
		}
		if out, err := kmiptest.Do(c, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id), Names: []core.AttributeName{{Tag: core.TagName}}}); err != nil || len(out.Attributes) != 1 {
			t.Errorf("KMIP %v: the name inside is lost: %v, %v", v, out.Attributes, err)
		}
		// What they ask for holds: a key that says inside that it is Sensitive
		// is not kept as one that is not.
		if v >= core.V1_4 {
			plain := get(key, nil)
			plain.Attributes = core.Attributes{sensitive}
			value, err := kmip.AppendKeyValue(nil, &plain, v)
			if err != nil {
				t.Fatal(err)
			}
			data, err := kmiptest.Do(c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSecretData, Attributes: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskEncrypt)}},
				Object: core.ObjectBody{Type: core.ObjectTypeSecretData, SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: value}}})
			if err != nil {
				t.Fatal(err)
			}
			inner := get(data.ID, &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{ID: kek.ID}})
			kb := wrapped(0)
			kb.Wrapped = inner.Wrapped
			if _, err := register(kb, 0); kmiptest.Reason(err) != core.ReasonEncodingOptionError {
				t.Errorf("KMIP %v, Sensitive inside: %v", v, err)
			}
		}
		broken := wrapped(0)
		broken.Wrapped[3] ^= 1
		failure := core.ReasonCryptographicFailure
		if v >= core.V2_0 { // which does not list it for Register (2.1 §6.1.43)
			failure = core.ReasonInvalidField
		}
		if _, err := register(broken, 0); kmiptest.Reason(err) != failure {
			t.Errorf("KMIP %v, a changed byte: %v; want %v", v, err, failure)
		}
		short := wrapped(0)
		short.Wrapped = short.Wrapped[:8]
		if _, err := register(short, 0); kmiptest.Reason(err) != core.ReasonInvalidField {
			t.Errorf("KMIP %v, eight bytes: %v", v, err)
		}
		if v > core.V1_0 {
			if _, err := register(wrapped(core.EncodingOptionNoEncoding), core.EncodingOptionTTLVEncoding); kmiptest.Reason(err) != core.ReasonInvalidField {
				t.Errorf("KMIP %v, key bytes said to be TTLV: %v", v, err)
			}
		}
		if v >= core.V1_4 {
			if _, err := register(wrapped(0), 0, sensitive); kmiptest.Reason(err) != core.ReasonEncodingOptionError {
				t.Errorf("KMIP %v, Sensitive: %v", v, err)
			}
		}
	}
}

// A client registers its own RSA public key and has keys given out under it, as
// zkey does, with OAEP and with PKCS#1 v1.5; class N stays.
func TestGetWrappedUnderTheClientsRSAKey(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	mine, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range []core.Version{core.V1_2, core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		public, err := kmiptest.Do(c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypePublicKey,
			Attributes: core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskWrapKey)}, activeNow},
			Object:     core.ObjectBody{Type: core.ObjectTypePublicKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypePKCS1, Algorithm: core.AlgorithmRSA, Length: 2048, Material: x509.MarshalPKCS1PublicKey(&mine.PublicKey)}}})
		if err != nil {
			t.Fatal(err)
		}
		key, want := clearKey(t, c)
		for _, padding := range []core.PaddingMethod{core.PaddingMethodOAEP, core.PaddingMethodPKCS1V1_5} {
			parameters := &core.CryptographicParameters{PaddingMethod: padding}
			if padding == core.PaddingMethodOAEP { // the other has no hash
				parameters.HashingAlgorithm = core.HashSHA1
			}
			got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(key), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding,
				Encryption: &core.WrappingKeyInfo{ID: public.ID, Parameters: parameters}}})
			if err != nil {
				t.Errorf("KMIP %v, %v: %v", v, padding, err)
				continue
			}
			opened, err := mine.Decrypt(nil, got.Object.KeyBlock.Wrapped, &rsa.PKCS1v15DecryptOptions{})
			if padding == core.PaddingMethodOAEP {
				opened, err = rsa.DecryptOAEP(sha1.New(), nil, mine, got.Object.KeyBlock.Wrapped, nil)
			}
			if err != nil || !bytes.Equal(opened, want) {
				t.Errorf("KMIP %v, %v: another key was wrapped, %v", v, padding, err)
			}
		}
	}
}

// clearKey makes an AES key and returns its identifier and its bytes.
func clearKey(t *testing.T, c *kmiptest.Client) (id string, material []byte) {
	t.Helper()
	id = aesKey(t, c)
	clear, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)})
	if err != nil {
		t.Fatal(err)
	}
	return id, bytes.Clone(clear.Object.KeyBlock.Material)
}

// A key that comes wrapped under a pair of the server's is kept, whichever half the
// client names, and with attributes inside.
func TestRegisterWrappedUnderRSA(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		attribute := func(tag core.Tag, value core.Value) core.Attribute { return core.Attribute{Tag: tag, Value: value} }
		pair, err := kmiptest.Do(c, &kmip.CreateKeyPair, &operation.CreateKeyPairInput{
			Common:  core.Attributes{attribute(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmRSA)), attribute(core.TagCryptographicLength, core.Int(2048)), activeNow},
			Private: core.Attributes{attribute(core.TagCryptographicUsageMask, core.Mask(core.MaskUnwrapKey))},
			Public:  core.Attributes{attribute(core.TagCryptographicUsageMask, core.Mask(core.MaskWrapKey))}})
		if err != nil {
			t.Fatal(err)
		}
		key, want := clearKey(t, c)
		for _, encoding := range []core.EncodingOption{core.EncodingOptionNoEncoding, core.EncodingOptionTTLVEncoding} {
			info := &core.WrappingKeyInfo{ID: pair.PublicID, Parameters: &core.CryptographicParameters{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA1}}
			got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(key), Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: encoding, Encryption: info}})
			if err != nil {
				t.Errorf("KMIP %v, %v: Get: %v", v, encoding, err)
				continue
			}
			wrapped := bytes.Clone(got.Object.KeyBlock.Wrapped)
			for _, half := range []string{pair.PrivateID, pair.PublicID} {
				for _, length := range []int32{int32(8 * len(want)), 128} {
					other := *info
					other.ID = half
					out, err := kmiptest.Do(c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: core.Attributes{attribute(core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))},
						Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: length, Wrapped: wrapped,
							Wrapping: &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: encoding, Encryption: &other}}}})
					if length != int32(8*len(want)) {
						if err == nil {
							t.Errorf("KMIP %v, %v: %d bytes called a key of %d bits are kept", v, encoding, len(want), length)
						}
						continue
					}
					if err != nil {
						t.Errorf("KMIP %v, %v: Register: %v", v, encoding, err)
						continue
					}
					back, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(out.ID)})
					if err != nil || !bytes.Equal(back.Object.KeyBlock.Material, want) {
						t.Errorf("KMIP %v, %v: another key came back, %v", v, encoding, err)
					}
				}
			}
		}
	}
}
