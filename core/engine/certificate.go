package engine

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// takeCertificate keeps a certificate and reads from an X.509 one the
// attributes that the standard derives (KMIP 1.4 §3.8 to §3.15, 2.1 §4.6 to §4.8).
func (k *call) takeCertificate(o *core.ManagedObject, body *core.ObjectBody) error {
	if len(body.CertificateValue) == 0 {
		return core.Errorf(core.InvalidField, "the Certificate has no Certificate Value")
	}
	o.Attributes = o.Attributes.Set(core.TagCertificateType, core.Enum(body.CertificateType)).
		Set(core.TagCertificateLength, core.Int(int32(len(body.CertificateValue))))
	if body.CertificateType == core.CertificateTypeX509 {
		c, err := x509.ParseCertificate(body.CertificateValue)
		if err != nil {
			return core.Wrap(core.InvalidField, err, "the Certificate Value is no X.509 certificate in DER")
		}
		describe(o, c)
	}
	if err := k.takeData(o, body.CertificateValue, core.KeyFormatTypeX509); err != nil {
		return err
	}
	sum := sha256.Sum256(body.CertificateValue)
	o.Attributes = o.Attributes.Without(core.AttributeName{Tag: core.TagDigest})
	setDigest(o, sum[:])
	return nil
}

// describe fills in what the certificate says of itself.
func describe(o *core.ManagedObject, c *x509.Certificate) {
	as := o.Attributes
	alg, bits := publicKeyOf(c)
	if alg != 0 && !as.Has(core.TagCryptographicAlgorithm) {
		as = as.Set(core.TagCryptographicAlgorithm, core.Enum(alg)).Set(core.TagCryptographicLength, core.Int(int32(bits)))
	}
	serial := c.SerialNumber.Bytes()
	if len(serial) == 0 {
		serial = []byte{0}
	}
	as = as.Set(core.TagX509CertificateIdentifier, core.Structure(
		core.Field{Tag: core.TagIssuerDistinguishedName, Value: core.Bytes(c.RawIssuer)},
		core.Field{Tag: core.TagCertificateSerialNumber, Value: core.Bytes(serial)}))
	as = as.Set(core.TagX509CertificateIssuer, core.Structure(core.Field{Tag: core.TagIssuerDistinguishedName, Value: core.Bytes(c.RawIssuer)}))
	as = as.Set(core.TagX509CertificateSubject, core.Structure(core.Field{Tag: core.TagSubjectDistinguishedName, Value: core.Bytes(c.RawSubject)}))
	as = as.Set(core.TagCertificateIdentifier, core.Structure(
		core.Field{Tag: core.TagIssuer, Value: core.Text(c.Issuer.String())},
		core.Field{Tag: core.TagSerialNumber, Value: core.Text(strings.ToUpper(hex.EncodeToString(serial)))}))
	as = as.Set(core.TagCertificateIssuer, core.Structure(core.Field{Tag: core.TagCertificateIssuerDistinguishedName, Value: core.Text(c.Issuer.String())}))
	as = as.Set(core.TagCertificateSubject, core.Structure(core.Field{Tag: core.TagCertificateSubjectDistinguishedName, Value: core.Text(c.Subject.String())}))
	if d, ok := signatureOf[c.SignatureAlgorithm]; ok {
		as = as.Set(core.TagDigitalSignatureAlgorithm, core.Enum(d))
	}
	o.Attributes = as
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
