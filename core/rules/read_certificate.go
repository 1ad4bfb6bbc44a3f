package rules

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"math/big"

	"github.com/keyreeve/keyreeve/core"
)

// readCertificate parses a certificate. If crypto/x509 cannot, but the bytes have the
// form of a certificate, names, serial number and algorithms are read here. The
// result keeps slices of der.
func readCertificate(der []byte) (*x509.Certificate, publicKeyFacts, error) {
	c, err := x509.ParseCertificate(der)
	if err == nil {
		return c, publicKeyFactsOf(c), nil
	}
	var form certificateForm
	if rest, ferr := asn1.Unmarshal(der, &form); ferr != nil || len(rest) > 0 || form.TBS.Serial == nil {
		return nil, publicKeyFacts{}, core.Wrap(core.InvalidField, err, "the Certificate Value is no X.509 certificate in DER")
	}
	c = &x509.Certificate{SerialNumber: form.TBS.Serial, RawIssuer: form.TBS.Issuer.FullBytes, RawSubject: form.TBS.Subject.FullBytes}
	for raw, name := range map[*asn1.RawValue]*pkix.Name{&form.TBS.Issuer: &c.Issuer, &form.TBS.Subject: &c.Subject} {
		var rdn pkix.RDNSequence
		if rest, nerr := asn1.Unmarshal(raw.FullBytes, &rdn); nerr != nil || len(rest) > 0 {
			return nil, publicKeyFacts{}, core.Wrap(core.InvalidField, nerr, "the Certificate Value is no X.509 certificate: a name in it cannot be read")
		}
		name.FillFromRDNSequence(&rdn)
	}
	c.SignatureAlgorithm = signatureByOID[form.SignatureAlgorithm.Algorithm.String()]
	return c, form.TBS.PublicKey.readFacts(), nil
}

// certificateForm has the fields of a Certificate (RFC 5280 §4.1) that attributes are
// read from. It is needed because crypto/x509 refuses keys on curves that Go lacks.
type certificateForm struct {
	TBS                tbsCertificate
	SignatureAlgorithm pkix.AlgorithmIdentifier
	Signature          asn1.BitString
}

type tbsCertificate struct {
	Version    int `asn1:"optional,explicit,default:0,tag:0"`
	Serial     *big.Int
	Signature  pkix.AlgorithmIdentifier
	Issuer     asn1.RawValue
	Validity   struct{ NotBefore, NotAfter asn1.RawValue }
	Subject    asn1.RawValue
	PublicKey  publicKeyForm
	IssuerID   asn1.BitString   `asn1:"optional,tag:1"`
	SubjectID  asn1.BitString   `asn1:"optional,tag:2"`
	Extensions []pkix.Extension `asn1:"omitempty,optional,explicit,tag:3"`
}

type publicKeyForm struct {
	Algorithm pkix.AlgorithmIdentifier
	Key       asn1.BitString
}

// publicKeyFacts describes the public key of a certificate; 0 means not known.
type publicKeyFacts struct {
	algorithm core.CryptographicAlgorithm
	bits      int
}

// readFacts returns the algorithm and the length of a key on an elliptic curve.
func (k *publicKeyForm) readFacts() publicKeyFacts {
	if k.Algorithm.Algorithm.String() != "1.2.840.10045.2.1" {
		return publicKeyFacts{}
	}
	var curve asn1.ObjectIdentifier
	if _, err := asn1.Unmarshal(k.Algorithm.Parameters.FullBytes, &curve); err != nil {
		return publicKeyFacts{algorithm: core.AlgorithmEC}
	}
	return publicKeyFacts{core.AlgorithmEC, curveBits[curve.String()]}
}

// curveBits lists the lengths, in bits, of curves that Go lacks (SEC 2, RFC 5639).
var curveBits = map[string]int{"1.2.840.10045.3.1.1": 192, "1.3.132.0.31": 192, "1.3.132.0.32": 224, "1.3.132.0.10": 256,
	"1.3.36.3.3.2.8.1.1.1": 160, "1.3.36.3.3.2.8.1.1.3": 192, "1.3.36.3.3.2.8.1.1.5": 224, "1.3.36.3.3.2.8.1.1.7": 256,
	"1.3.36.3.3.2.8.1.1.8": 256, "1.3.36.3.3.2.8.1.1.9": 320, "1.3.36.3.3.2.8.1.1.11": 384, "1.3.36.3.3.2.8.1.1.12": 384,
	"1.3.36.3.3.2.8.1.1.13": 512, "1.3.36.3.3.2.8.1.1.14": 512}

// signatureByOID lists the signature algorithms by object identifier (RFC 5758 §3.2,
// RFC 4055 §5).
var signatureByOID = map[string]x509.SignatureAlgorithm{"1.2.840.10045.4.1": x509.ECDSAWithSHA1, "1.2.840.10045.4.3.2": x509.ECDSAWithSHA256,
	"1.2.840.10045.4.3.3": x509.ECDSAWithSHA384, "1.2.840.10045.4.3.4": x509.ECDSAWithSHA512, "1.2.840.113549.1.1.5": x509.SHA1WithRSA,
	"1.2.840.113549.1.1.11": x509.SHA256WithRSA, "1.2.840.113549.1.1.12": x509.SHA384WithRSA, "1.2.840.113549.1.1.13": x509.SHA512WithRSA}
