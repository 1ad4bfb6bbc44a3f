package server_test

import (
	"bytes"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"
	"slices"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
)

func tag(t core.Tag) core.AttributeName { return core.AttributeName{Tag: t} }

// attributesOf asks for attributes by name.
func attributesOf(t *testing.T, c *kmiptest.Client, id string, names ...core.AttributeName) core.Attributes {
	t.Helper()
	out, err := kmiptest.Do(c, &kmip.GetAttributes, &core.GetAttributesInput{ID: core.ID(id), Names: names})
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
	out, err := kmiptest.Do(c, &kmip.Register, &core.RegisterInput{ObjectType: ot, Attributes: as, Object: body})
	if err != nil {
		t.Fatal(err)
	}
	return out.ID
}

// KMIP 1.2 §3.17: the Digest of what a client registers is that of the Key
// Material in the format that it came in, of a structure that of its TTLV.
func TestDigestIsOfWhatWasRegistered(t *testing.T) {
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
				more = core.Attributes{{Tag: core.TagSensitive, Value: core.Bool(true)}}
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
	s := servertest.Start(t)
	for _, v := range []core.Version{core.V1_4, core.V2_1} {
		c := dial(t, s, "dev", v)
		out, err := kmiptest.Do(c, &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeSecretData, Object: core.ObjectBody{Type: core.ObjectTypeSecretData,
			SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeOpaque, Material: []byte("secret")}}})
		if err != nil {
			t.Fatal(err)
		}
		refused := []core.ResultReason{core.ReasonPermissionDenied, core.ReasonReadOnlyAttribute}
		for _, a := range []core.Attribute{{Tag: core.TagCryptographicUsageMask, Value: core.Mask(core.MaskVerify)}, {Tag: core.TagCryptographicAlgorithm, Value: core.Enum(core.AlgorithmAES)},
			{Tag: core.TagCertificateType, Value: core.Enum(core.CertificateTypeX509)}} {
			if _, err := kmiptest.Do(c, &kmip.AddAttribute, &core.AddAttributeInput{ID: core.ID(out.ID), Attribute: a}); !slices.Contains(refused, kmiptest.Reason(err)) {
				t.Errorf("KMIP %v: Add Attribute of a %v: %v", v, a.Tag, err)
			}
			if v < core.V2_0 {
				continue
			}
			if _, err := kmiptest.Do(c, &kmip.SetAttribute, &core.SetAttributeInput{ID: core.ID(out.ID), Attribute: a}); kmiptest.Reason(err) != core.ReasonReadOnlyAttribute {
				t.Errorf("KMIP %v: Set Attribute of a %v: %v", v, a.Tag, err)
			}
		}
		got, err := kmiptest.Do(c, &kmip.Get, &core.GetInput{ID: core.ID(out.ID)})
		if err != nil || string(got.Object.KeyBlock.Material) != "secret" {
			t.Errorf("KMIP %v: Get afterwards: %v", v, err)
		}
	}
}

// A structure shows a client no field that its version does not have.
func TestStructuresAreOfTheClientsVersion(t *testing.T) {
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
	s := servertest.Start(t)
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	serial := new(big.Int).SetBytes([]byte{0x9b, 0xba, 0x23})
	subject := pkix.Name{CommonName: "device", Organization: []string{"ACME"}, OrganizationalUnit: []string{"tape", "disk"}, Country: []string{"CH"}, SerialNumber: "4711",
		ExtraNames: []pkix.AttributeTypeAndValue{{Type: asn1.ObjectIdentifier{0, 9, 2342, 19200300, 100, 1, 25}, Value: "example"}}}
	c := &x509.Certificate{SerialNumber: serial, Subject: subject, NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<31, 0)}
	der, err := x509.CreateCertificate(rand.Reader, c, &x509.Certificate{Subject: pkix.Name{CommonName: "root", Locality: []string{"Bern"}}}, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	out, err := kmiptest.Do(dial(t, s, "dev", core.V1_4), &kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeCertificate,
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
	found, err := kmiptest.Do(c2, &kmip.Locate, &core.LocateInput{MaximumItems: -1, Attributes: core.Attributes{{Tag: core.TagCertificateSubjectOU, Value: core.Text("disk")}}})
	if err != nil || !slices.Equal(found.IDs, []string{out.ID}) {
		t.Errorf("Locate by Certificate Subject OU finds %v, %v", found.IDs, err)
	}
	old := attributesOf(t, dial(t, s, "dev", core.V1_4), out.ID)
	if old.Has(core.TagCertificateSubjectCN) || !old.Has(core.TagX509CertificateSubject) {
		t.Error("KMIP 1.4 shows Certificate Attributes, which it does not have")
	}
}
