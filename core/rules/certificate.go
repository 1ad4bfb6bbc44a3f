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

// DescribeCertificate fills in what the certificate says of itself.
func DescribeCertificate(o *core.ManagedObject, c *x509.Certificate, key publicKeyFacts) {
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
	der, _ := asn1.Marshal(c.SerialNumber)                                 // as in the certificate, like the names; an integer has a form
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

// appendName adds the parts of a name that are attributes of their own. A part
// that is no plain text, or too long for an attribute, is left out: it is still in
// the Distinguished Name.
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

func publicKeyOf(c *x509.Certificate) (core.CryptographicAlgorithm, int) {
	switch pub := c.PublicKey.(type) {
	case *rsa.PublicKey:
		return core.AlgorithmRSA, pub.N.BitLen()
	case *ecdsa.PublicKey:
		return core.AlgorithmEC, pub.Curve.Params().BitSize
	case ed25519.PublicKey:
		return core.AlgorithmEd25519, 256
	}
	return 0, 0
}

// signatureOf maps what Go calls the certificate's signature to the standard's name.
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
