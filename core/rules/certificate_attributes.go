package rules

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/hex"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// DescribeCertificate reads an X.509 certificate in DER and adds the attributes that
// the standard derives from it (KMIP 1.4 §3.8 to §3.15, 2.1 §4.6 to §4.8). Bytes that
// are no certificate, and attributes that contradict it, are an error of code
// InvalidField. The caller keeps der.
func DescribeCertificate(o *core.ManagedObject, der []byte) error {
	c, key, err := readCertificate(bytes.Clone(der)) // the parser's result keeps slices of its input
	if err != nil {
		return err
	}
	if err := matchCertificate(o, key); err != nil {
		return err
	}
	addCertificateFacts(o, c, key)
	return CheckTotalSize(o.Attributes)
}

// matchCertificate refuses attributes that contradict the certificate.
func matchCertificate(o *core.ManagedObject, key publicKeyFacts) error {
	given := o.Algorithm()
	if given != 0 && key.algorithm != 0 && !sameAlgorithm(given, key.algorithm) {
		return core.Errorf(core.InvalidField, "the Cryptographic Algorithm is given as %v and the certificate's key is for %v", given, key.algorithm)
	}
	if n := int(o.Attributes.Num(core.TagCryptographicLength)); n != 0 && key.bits != 0 && n != key.bits {
		return core.Errorf(core.InvalidField, "the Cryptographic Length is given as %d and the certificate's key has %d bits", n, key.bits)
	}
	return nil
}

// addCertificateFacts adds the attributes of a certificate that was read. Algorithm
// and length that the client gave stay as they are.
func addCertificateFacts(o *core.ManagedObject, c *x509.Certificate, key publicKeyFacts) {
	as := o.Attributes
	if key.algorithm != 0 && !as.Has(core.TagCryptographicAlgorithm) {
		as = as.Set(core.TagCryptographicAlgorithm, core.Enum(key.algorithm))
	}
	if key.bits != 0 && !as.Has(core.TagCryptographicLength) {
		as = as.Set(core.TagCryptographicLength, core.Int(int32(key.bits)))
	}
	serial := c.SerialNumber.Bytes()
	if len(serial) == 0 {
		serial = []byte{0}
	}
	issuer, subject := bytes.Clone(c.RawIssuer), bytes.Clone(c.RawSubject) // so that they do not hold the whole certificate in memory
	der, _ := asn1.Marshal(c.SerialNumber)                                 // the same bytes as in the certificate: DER has one form of an integer
	names := core.CertificateNames{Issuer: c.Issuer.String(), Subject: c.Subject.String(), Serial: strings.ToUpper(hex.EncodeToString(serial)),
		IssuerDER: issuer, SubjectDER: subject, SerialDER: der}
	as = names.AddTo(as)
	if d, ok := signatureOf[c.SignatureAlgorithm]; ok {
		as = as.Set(core.TagDigitalSignatureAlgorithm, core.Enum(d))
	}
	as = appendName(as, subjectTags, &c.Subject)
	o.Attributes = appendName(as, issuerTags, &c.Issuer)
}

// subjectTags and issuerTags are the Certificate Attributes of KMIP 2.x (2.1
// §4.6) by the object identifiers of RFC 4519 and RFC 2985.
var (
	subjectTags = map[string]core.Tag{"2.5.4.3": core.TagCertificateSubjectCN, "2.5.4.10": core.TagCertificateSubjectO, "2.5.4.11": core.TagCertificateSubjectOU,
		"1.2.840.113549.1.9.1": core.TagCertificateSubjectEmail, "2.5.4.6": core.TagCertificateSubjectC, "2.5.4.8": core.TagCertificateSubjectST,
		"2.5.4.7": core.TagCertificateSubjectL, "0.9.2342.19200300.100.1.1": core.TagCertificateSubjectUID, "2.5.4.5": core.TagCertificateSubjectSerialNumber,
		"2.5.4.12": core.TagCertificateSubjectTitle, "0.9.2342.19200300.100.1.25": core.TagCertificateSubjectDC, "2.5.4.46": core.TagCertificateSubjectDNQualifier}
	issuerTags = map[string]core.Tag{"2.5.4.3": core.TagCertificateIssuerCN, "2.5.4.10": core.TagCertificateIssuerO, "2.5.4.11": core.TagCertificateIssuerOU,
		"1.2.840.113549.1.9.1": core.TagCertificateIssuerEmail, "2.5.4.6": core.TagCertificateIssuerC, "2.5.4.8": core.TagCertificateIssuerST,
		"2.5.4.7": core.TagCertificateIssuerL, "0.9.2342.19200300.100.1.1": core.TagCertificateIssuerUID, "2.5.4.5": core.TagCertificateIssuerSerialNumber,
		"2.5.4.12": core.TagCertificateIssuerTitle, "0.9.2342.19200300.100.1.25": core.TagCertificateIssuerDC, "2.5.4.46": core.TagCertificateIssuerDNQualifier}
)

// appendName adds the parts of a name that are attributes of their own. A part that is
// no plain text, or too long for an attribute, is left out; the Distinguished Name
// still has it.
func appendName(as core.Attributes, tags map[string]core.Tag, n *pkix.Name) core.Attributes {
	for _, part := range n.Names {
		text, ok := part.Value.(string)
		a := core.Attribute{Tag: tags[part.Type.String()], Value: core.Text(text)}
		if ok && a.Tag != 0 && len(as) < MaxAttributes && CheckValue(&a) == nil {
			as = as.Add(a)
		}
	}
	return as
}

// publicKeyFactsOf returns the facts about a key that crypto/x509 has parsed.
func publicKeyFactsOf(c *x509.Certificate) publicKeyFacts {
	switch pub := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return publicKeyFacts{core.AlgorithmRSA, pub.N.BitLen()}
	case *ecdsa.PublicKey:
		return publicKeyFacts{core.AlgorithmEC, pub.Curve.Params().BitSize}
	case ed25519.PublicKey:
		return publicKeyFacts{core.AlgorithmEd25519, 256}
	}
	return publicKeyFacts{}
}

// signatureOf maps Go's names of signature algorithms to those of the standard.
var signatureOf = map[x509.SignatureAlgorithm]core.DigitalSignatureAlgorithm{
	x509.MD5WithRSA:       core.DigitalSignatureAlgorithmMD5WithRSAEncryption,
	x509.SHA1WithRSA:      core.DigitalSignatureAlgorithmSHA1WithRSAEncryption,
	x509.SHA256WithRSA:    core.DigitalSignatureAlgorithmSHA256WithRSAEncryption,
	x509.SHA384WithRSA:    core.DigitalSignatureAlgorithmSHA384WithRSAEncryption,
	x509.SHA512WithRSA:    core.DigitalSignatureAlgorithmSHA512WithRSAEncryption,
	x509.SHA256WithRSAPSS: core.DigitalSignatureAlgorithmRSASSAPSS,
	x509.SHA384WithRSAPSS: core.DigitalSignatureAlgorithmRSASSAPSS,
	x509.SHA512WithRSAPSS: core.DigitalSignatureAlgorithmRSASSAPSS,
	x509.DSAWithSHA1:      core.DigitalSignatureAlgorithmDSAWithSHA1,
	x509.DSAWithSHA256:    core.DigitalSignatureAlgorithmDSAWithSHA256,
	x509.ECDSAWithSHA1:    core.DigitalSignatureAlgorithmECDSAWithSHA1,
	x509.ECDSAWithSHA256:  core.DigitalSignatureAlgorithmECDSAWithSHA256,
	x509.ECDSAWithSHA384:  core.DigitalSignatureAlgorithmECDSAWithSHA384,
	x509.ECDSAWithSHA512:  core.DigitalSignatureAlgorithmECDSAWithSHA512,
}

// MatchCertificateType refuses a Certificate Type that the attributes or the value
// contradict.
func MatchCertificateType(o *core.ManagedObject, body *core.ObjectBody) error {
	if v, ok := o.Attributes.Get(core.TagCertificateType); ok && core.CertificateType(v.Uint()) != body.CertificateType {
		return core.Errorf(core.InvalidField, "the Certificate Type is %v in the attributes and %v in the Certificate", core.CertificateType(v.Uint()), body.CertificateType)
	}
	if body.CertificateType == core.CertificateTypePGP && !looksLikePGP(body.CertificateValue) {
		return core.Errorf(core.InvalidField, "the Certificate Type is PGP and the Certificate Value does not begin as a PGP packet")
	}
	return nil
}

// looksLikePGP reports whether a value can be a PGP certificate: a packet, whose first
// bit is set, or armored text (RFC 9580 §4.2, §6.2).
func looksLikePGP(b []byte) bool {
	return b[0]&0x80 != 0 || len(b) > 14 && string(b[:15]) == "-----BEGIN PGP "
}
