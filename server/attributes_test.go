package server_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

func tag(t core.Tag) core.AttributeName { return core.AttributeName{Tag: t} }

// attributesOf asks for attributes by name.
func attributesOf(t *testing.T, c *kmiptest.Client, id string, names ...core.AttributeName) core.Attributes {
	t.Helper()
	out, err := kmiptest.Do(c, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id), Names: names})
	if err != nil {
		t.Fatal(err)
	}
	return out.Attributes
}

// register keeps a key in a key block.
func register(t *testing.T, c *kmiptest.Client, ot core.ObjectType, kb core.KeyBlock, more ...core.Attribute) string {
	t.Helper()
	body := core.ObjectBody{Type: ot, KeyBlock: kb, SecretDataType: core.SecretDataTypePassword}
	as := append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskSign | core.MaskEncrypt)}}, more...)
	out, err := kmiptest.Do(c, &kmip.Register, &operation.RegisterInput{ObjectType: ot, Attributes: as, Object: body})
	if err != nil {
		t.Fatal(err)
	}
	return out.ID
}

// KMIP 1.2 §3.17: the Digest of what a client registers is that of the Key
// Material in the format that it came in, of a structure that of its TTLV.
func TestDigestIsOfWhatWasRegistered(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, _ := x509.MarshalPKCS8PrivateKey(private)
	spki, _ := x509.MarshalPKIXPublicKey(&private.PublicKey)
	aes := []byte("0123456789abcdef")
	transparent := []core.Field{{Tag: core.TagKey, Value: core.Bytes(aes)}}
	ttlv := append([]byte{0x42, 0x00, 0x43, 1, 0, 0, 0, 24, 0x42, 0x00, 0x3f, 8, 0, 0, 0, 16}, aes...)
	for _, v := range []core.Version{core.V1_0, core.V1_1, core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		for _, r := range []struct {
			ot  core.ObjectType
			kb  core.KeyBlock
			sum [32]byte
		}{
			{core.ObjectTypeSymmetricKey, core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: aes, Algorithm: core.AlgorithmAES, Length: 128}, sha256.Sum256(aes)},
			{core.ObjectTypeSymmetricKey, core.KeyBlock{Format: core.KeyFormatTypeTransparentSymmetricKey, Transparent: transparent, Algorithm: core.AlgorithmAES, Length: 128}, sha256.Sum256(ttlv)},
			{core.ObjectTypePrivateKey, core.KeyBlock{Format: core.KeyFormatTypePKCS1, Material: x509.MarshalPKCS1PrivateKey(private), Algorithm: core.AlgorithmRSA, Length: 2048}, sha256.Sum256(x509.MarshalPKCS1PrivateKey(private))},
			{core.ObjectTypePrivateKey, core.KeyBlock{Format: core.KeyFormatTypePKCS8, Material: pkcs8, Algorithm: core.AlgorithmRSA, Length: 2048}, sha256.Sum256(pkcs8)},
			{core.ObjectTypePublicKey, core.KeyBlock{Format: core.KeyFormatTypePKCS1, Material: x509.MarshalPKCS1PublicKey(&private.PublicKey), Algorithm: core.AlgorithmRSA, Length: 2048}, sha256.Sum256(x509.MarshalPKCS1PublicKey(&private.PublicKey))},
			{core.ObjectTypePublicKey, core.KeyBlock{Format: core.KeyFormatTypeX509, Material: spki, Algorithm: core.AlgorithmRSA, Length: 2048}, sha256.Sum256(spki)},
			{core.ObjectTypeSecretData, core.KeyBlock{Format: core.KeyFormatTypeOpaque, Material: []byte("secret")}, sha256.Sum256([]byte("secret"))},
		} {
			var more core.Attributes
			if r.ot != core.ObjectTypeSecretData && r.ot != core.ObjectTypePublicKey && v >= core.V1_4 { // whose Digest the token makes
				more = core.Attributes{sensitive}
			}
			as := attributesOf(t, c, register(t, c, r.ot, r.kb, more...), tag(core.TagDigest))
			if len(as) != 1 {
				t.Fatalf("KMIP %v, %v as %v: %v", v, r.ot, r.kb.Format, as)
			}
			d := as[0].Value
			if !bytes.Equal(d.Field(core.TagDigestValue).Bytes, r.sum[:]) {
				t.Errorf("KMIP %v, %v as %v: the Digest is not that of the Key Material", v, r.ot, r.kb.Format)
			}
			// KMIP 1.0 has no Key Format Type in a Digest.
			format := core.KeyFormatType(d.Field(core.TagKeyFormatType).Uint())
			if want := r.kb.Format; (v == core.V1_0 && format != 0) || (v > core.V1_0 && format != want) {
				t.Errorf("KMIP %v, %v as %v: the Digest's Key Format Type is %v", v, r.ot, want, format)
			}
		}
	}
}

// What an object is, it is from its birth: an algorithm or a mask that were added
// later would not be those that its material is sealed with, and it would be lost.
func TestInnateAttributesAreNotAdded(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		out, err := kmiptest.Do(c, &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSecretData, Object: core.ObjectBody{Type: core.ObjectTypeSecretData,
			SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeOpaque, Material: []byte("secret")}}})
		if err != nil {
			t.Fatal(err)
		}
		refused := []core.ResultReason{core.ReasonPermissionDenied, core.ReasonReadOnlyAttribute}
		for _, a := range []core.Attribute{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}, {Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)},
			{Tag: core.TagCertificateType, Value: core.Enum(core.CertificateTypeX509)}} {
			if _, err := kmiptest.Do(c, &kmip.AddAttribute, &operation.AddAttributeInput{ID: core.ID(out.ID), Attribute: a}); !slices.Contains(refused, kmiptest.Reason(err)) {
				t.Errorf("KMIP %v: Add Attribute of a %v: %v", v, a.Tag, err)
			}
			if v < core.V2_0 {
				continue
			}
			if _, err := kmiptest.Do(c, &kmip.SetAttribute, &operation.SetAttributeInput{ID: core.ID(out.ID), Attribute: a}); kmiptest.Reason(err) != core.ReasonReadOnlyAttribute {
				t.Errorf("KMIP %v: Set Attribute of a %v: %v", v, a.Tag, err)
			}
		}
		got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(out.ID)})
		if err != nil || string(got.Object.KeyBlock.Material) != "secret" {
			t.Errorf("KMIP %v: Get afterwards: %v", v, err)
		}
	}
}

// A structure shows a client no field that its version does not have.
func TestStructuresAreOfTheClientsVersion(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	p := core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM, CryptographicAlgorithm: core.AlgorithmAES, HashingAlgorithm: core.HashSHA256,
		DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithmSHA256WithRSAEncryption}
	fields := append(p.Fields(), core.Field{Tag: core.TagTagLength, Value: core.Int(16)}, core.Field{Tag: core.TagSaltLength, Value: core.Int(20)})
	id := aesKey(t, dial(t, s, "dev", core.V2_1), core.Attribute{Tag: core.TagCryptographicParameters, Value: core.Structure(fields...)})
	for v, want := range map[core.Version][]core.Tag{
		core.V1_0: {core.TagBlockCipherMode, core.TagHashingAlgorithm}, core.V1_1: {core.TagBlockCipherMode, core.TagHashingAlgorithm},
		core.V1_2: {core.TagBlockCipherMode, core.TagHashingAlgorithm, core.TagDigitalSignatureAlgorithm, core.TagCryptographicAlgorithm, core.TagTagLength},
		core.V2_0: {core.TagBlockCipherMode, core.TagHashingAlgorithm, core.TagDigitalSignatureAlgorithm, core.TagCryptographicAlgorithm, core.TagTagLength, core.TagSaltLength},
	} {
		var got []core.Tag
		for _, a := range attributesOf(t, dial(t, s, "dev", v), id, tag(core.TagCryptographicParameters)) {
			for _, f := range a.Value.Fields {
				got = append(got, f.Tag)
			}
		}
		slices.Sort(got)
		if slices.Sort(want); !slices.Equal(got, want) {
			t.Errorf("KMIP %v shows Cryptographic Parameters with %v, want %v", v, got, want)
		}
	}
}

// The parts of a certificate's names are attributes of KMIP 2.x (2.1 §4.6), and
// its serial number is as in the certificate.
func TestCertificateAttributes(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	serial := new(big.Int).SetBytes([]byte{0x9b, 0xba, 0x23})
	subject := pkix.Name{CommonName: "device", Organization: []string{"ACME"}, OrganizationalUnit: []string{"tape", "disk"}, Country: []string{"CH"}, SerialNumber: "4711",
		ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "example"}}}
	root := &x509.Certificate{Subject: pkix.Name{CommonName: "root", Locality: []string{"Bern"}}}
	der := signCertificate(t, &x509.Certificate{SerialNumber: serial, Subject: subject}, root, &key.PublicKey, key)
	out, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeCertificate,
		Object: core.ObjectBody{Type: core.ObjectTypeCertificate, CertificateType: core.CertificateTypeX509, CertificateValue: der}})
	if err != nil {
		t.Fatal(err)
	}
	c2 := dial(t, s, "dev", core.V2_1)
	all := attributesOf(t, c2, out.ID)
	for n, want := range map[core.Tag][]string{core.TagCertificateSubjectCN: {"device"}, core.TagCertificateSubjectO: {"ACME"}, core.TagCertificateSubjectOU: {"disk", "tape"},
		core.TagCertificateSubjectC: {"CH"}, core.TagCertificateSubjectSerialNumber: {"4711"}, core.TagCertificateSubjectDC: {"example"}, core.TagCertificateSubjectL: nil,
		core.TagCertificateIssuerCN: {"root"}, core.TagCertificateIssuerL: {"Bern"}, core.TagCertificateIssuerO: nil} {
		var got []string
		for _, a := range all.All(tag(n)) {
			got = append(got, a.Value.Text)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v is %q, want %q", n, got, want)
		}
	}
	id, _ := all.Get(core.TagX509CertificateIdentifier)
	if got := id.Field(core.TagCertificateSerialNumber).Bytes; !bytes.Equal(got, []byte{2, 4, 0, 0x9b, 0xba, 0x23}) {
		t.Errorf("the Certificate Serial Number is %x, not the INTEGER that the certificate has", got)
	}
	found, err := kmiptest.Do(c2, &kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Tag: core.TagCertificateSubjectOU, Value: core.Text("disk")}}})
	if err != nil || !slices.Equal(found.IDs, []string{out.ID}) {
		t.Errorf("Locate by Certificate Subject OU finds %v, %v", found.IDs, err)
	}
	old := attributesOf(t, dial(t, s, "dev", core.V1_4), out.ID)
	if old.Has(core.TagCertificateSubjectCN) || !old.Has(core.TagX509CertificateSubject) {
		t.Error("KMIP 1.4 shows Certificate Attributes, which it does not have")
	}
}

// structureKey is a key in a Transparent structure that is not read here.
type structureKey struct {
	format      core.KeyFormatType
	object      core.ObjectType
	algorithm   core.CryptographicAlgorithm
	bits        int32 // that its numbers have; 0: not known here
	since, last core.Version
	fields      []core.Field
}

func structureKeys() (all []structureKey) {
	big := func(t core.Tag, n int) core.Field {
		return core.Field{Tag: t, Value: unsigned(append([]byte{0x80}, random(n-1)...))}
	}
	p, q, g := big(core.TagP, 128), big(core.TagQ, 20), big(core.TagG, 127)
	x, y := big(core.TagX, 20), big(core.TagY, 128)
	const private, public = core.ObjectTypePrivateKey, core.ObjectTypePublicKey
	all = append(all, structureKey{core.KeyFormatTypeTransparentDSAPrivateKey, private, core.AlgorithmDSA, 1024, core.V1_0, core.V2_1, []core.Field{p, q, g, x}},
		structureKey{core.KeyFormatTypeTransparentDSAPublicKey, public, core.AlgorithmDSA, 1024, core.V1_0, core.V2_1, []core.Field{p, q, g, y}},
		structureKey{core.KeyFormatTypeTransparentDHPrivateKey, private, core.AlgorithmDH, 1024, core.V1_0, core.V2_1, []core.Field{p, g, x}},
		structureKey{core.KeyFormatTypeTransparentDHPublicKey, public, core.AlgorithmDH, 1024, core.V1_0, core.V2_1, []core.Field{p, g, y}})
	for _, curve := range []core.RecommendedCurve{core.RecommendedCurveP192, core.RecommendedCurveSECP256K1, core.RecommendedCurveBRAINPOOLP256R1, core.RecommendedCurveSECT131R1} {
		named := core.Field{Tag: core.TagRecommendedCurve, Value: core.Enum(curve)}
		d, point := big(core.TagD, 32), core.Field{Tag: core.TagQString, Value: core.Bytes(append([]byte{4}, random(64)...))}
		since, old := core.V1_3, core.V1_2
		if curve != core.RecommendedCurveP192 && curve != core.RecommendedCurveSECT131R1 {
			old = 0 // the older versions do not name it
		}
		all = append(all, structureKey{core.KeyFormatTypeTransparentECPrivateKey, private, core.AlgorithmEC, 0, since, core.V2_1, []core.Field{named, d}},
			structureKey{core.KeyFormatTypeTransparentECPublicKey, public, core.AlgorithmEC, 0, since, core.V2_1, []core.Field{named, point}},
			structureKey{core.KeyFormatTypeTransparentECDSAPrivateKey, private, core.AlgorithmECDSA, 0, core.V1_0, old, []core.Field{named, d}},
			structureKey{core.KeyFormatTypeTransparentECDSAPublicKey, public, core.AlgorithmECDSA, 0, core.V1_0, old, []core.Field{named, point}},
			structureKey{core.KeyFormatTypeTransparentECDHPrivateKey, private, core.AlgorithmECDH, 0, core.V1_0, old, []core.Field{named, d}},
			structureKey{core.KeyFormatTypeTransparentECMQVPublicKey, public, core.AlgorithmECMQV, 0, core.V1_0, old, []core.Field{named, point}})
	}
	return all
}

func (k structureKey) registration(more ...core.Attribute) *operation.RegisterInput {
	mask := map[core.ObjectType]core.UsageMask{core.ObjectTypePrivateKey: core.MaskSign, core.ObjectTypePublicKey: core.MaskVerify}[k.object]
	return &operation.RegisterInput{ObjectType: k.object, Attributes: append(core.Attributes{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(mask)}, activeNow}, more...),
		Object: core.ObjectBody{Type: k.object, KeyBlock: core.KeyBlock{Format: k.format, Algorithm: k.algorithm, Length: k.bits, Transparent: k.fields}}}
}

// Transparent keys that are not read here, DSA, Diffie-Hellman and curves that Go lacks,
// are kept as they came in every version: in class C alone, used by nothing, and refused
// where what is said of them contradicts them.
func TestStructuresThatAreNotReadAreKept(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t)
	kept := 0
	for _, v := range []core.Version{core.V1_0, core.V1_1, core.V1_2, core.V1_3, core.V1_4, core.V2_0, core.V2_1} {
		c := dial(t, s, "dev", v)
		for _, k := range structureKeys() {
			if v < k.since || v > k.last {
				continue
			}
			what := fmt.Sprintf("KMIP %v, %v", v, k.format)
			out, err := kmiptest.Do(c, &kmip.Register, k.registration())
			if err != nil {
				t.Errorf("%s: %v", what, err)
				continue
			}
			kept++
			comesBack(t, c, what, k, out.ID)
			if k.object == core.ObjectTypePrivateKey {
				_, err = kmiptest.Do(c, &kmip.Sign, &operation.SignInput{ID: core.ID(out.ID), Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: []byte("data")})
			} else {
				_, err = kmiptest.Do(c, &kmip.SignatureVerify, &operation.SignatureVerifyInput{ID: core.ID(out.ID), Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: []byte("data"), Signature: []byte("sig")})
			}
			if v >= core.V1_2 && err == nil {
				t.Errorf("%s is used", what)
			}
			refusedStructures(t, c, v, what, k)
		}
	}
	if kept < 60 {
		t.Errorf("%d keys were kept: the test tries too little", kept)
	}
}

// sameFields compares numbers without the zeros before them, which Big Integers are
// filled up with.
func sameFields(a, b []core.Field) bool {
	return slices.EqualFunc(a, b, func(a, b core.Field) bool {
		return a.Tag == b.Tag && a.Value.Kind == b.Value.Kind && a.Value.Uint() == b.Value.Uint() && bytes.Equal(bytes.TrimLeft(a.Value.Bytes, "\x00"), bytes.TrimLeft(b.Value.Bytes, "\x00"))
	})
}

func comesBack(t *testing.T, c *kmiptest.Client, what string, k structureKey, id string) {
	t.Helper()
	got, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id)})
	kb := &got.Object.KeyBlock
	if err != nil || kb.Format != k.format || kb.Algorithm != k.algorithm || kb.Length != k.bits || !sameFields(kb.Transparent, k.fields) {
		t.Errorf("%s comes back as %v, %v of %d bits, %v: %v", what, kb.Format, kb.Algorithm, kb.Length, kb.Transparent, err)
	}
	if _, err := kmiptest.Do(c, &kmip.Get, &operation.GetInput{ID: core.ID(id), Format: core.KeyFormatTypePKCS8}); kmiptest.Reason(err) != core.ReasonKeyFormatTypeNotSupported {
		t.Errorf("%s asked for as PKCS#8: %v", what, err)
	}
	all, err := kmiptest.Do(c, &kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(id)})
	if err != nil || all.Attributes.Num(core.TagCryptographicAlgorithm) != int64(k.algorithm) {
		t.Errorf("%s has the attributes %v, %v", what, all.Attributes, err)
	}
}

func refusedStructures(t *testing.T, c *kmiptest.Client, v core.Version, what string, k structureKey) {
	t.Helper()
	tries := map[string]structureKey{}
	other := k
	other.algorithm = core.AlgorithmRSA
	tries["called RSA"] = other
	other = k
	other.fields = k.fields[:len(k.fields)-1]
	tries["without its last number"] = other
	if k.bits != 0 {
		other = k
		other.bits = 2048
		tries["with another length"] = other
	}
	other = k
	other.object = core.ObjectTypePrivateKey + core.ObjectTypePublicKey - k.object
	tries["as the other half"] = other
	for how, other := range tries {
		want := core.ReasonInvalidField
		if how == "as the other half" {
			if want = core.ReasonKeyFormatTypeNotSupported; v >= core.V2_0 { // which does not list it for Register
				want = core.ReasonFeatureNotSupported
			}
		}
		if _, err := kmiptest.Do(c, &kmip.Register, other.registration()); kmiptest.Reason(err) != want {
			t.Errorf("%s %s: %v; want %v", what, how, err, want)
		}
	}
	if k.object == core.ObjectTypePrivateKey && v >= core.V1_4 {
		for _, more := range []core.Attributes{{sensitive}, {locked}} {
			if _, err := kmiptest.Do(c, &kmip.Register, k.registration(more...)); kmiptest.Reason(err) != core.ReasonInvalidField {
				t.Errorf("%s with %v: %v; want Invalid Field", what, more, err)
			}
		}
	}
}
