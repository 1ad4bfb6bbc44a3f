package rules

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"

	"github.com/keyreeve/keyreeve/core"
)

// CertificateDamage returns the first attribute of an X.509 certificate that is
// wrong, and the reason. Both are "" if none is wrong, or o is no such certificate.
func CertificateDamage(o *core.ManagedObject) (attribute, why string) {
	as := o.Attributes
	if o.Type != core.ObjectTypeCertificate || core.CertificateType(as.Num(core.TagCertificateType)) != core.CertificateTypeX509 {
		return "", ""
	}
	value := func(t, field core.Tag) core.Value { v, _ := as.Get(t); return v.Field(field) }
	for _, n := range []struct {
		attribute, der, text, textField core.Tag
	}{
		{core.TagX509CertificateIssuer, core.TagIssuerDistinguishedName, core.TagCertificateIssuer, core.TagCertificateIssuerDistinguishedName},
		{core.TagX509CertificateSubject, core.TagSubjectDistinguishedName, core.TagCertificateSubject, core.TagCertificateSubjectDistinguishedName},
		{core.TagX509CertificateIdentifier, core.TagIssuerDistinguishedName, core.TagCertificateIdentifier, core.TagIssuer},
	} {
		if why := compareNames(value(n.attribute, n.der).Bytes, value(n.text, n.textField).Text); why != "" {
			return n.attribute.String(), why
		}
	}
	if !bytes.Equal(value(core.TagX509CertificateIssuer, core.TagIssuerDistinguishedName).Bytes, value(core.TagX509CertificateIdentifier, core.TagIssuerDistinguishedName).Bytes) {
		return core.TagX509CertificateIdentifier.String(), "it is another name than the X.509 Certificate Issuer"
	}
	return "", ""
}

// compareNames compares a name in DER with the same name as text, and returns how
// they differ. If this program cannot read the name's texts, only its form is checked.
func compareNames(der []byte, text string) string {
	var rdns pkix.RDNSequence
	rest, err := asn1.Unmarshal(der, &rdns)
	if err == nil && len(rest) == 0 {
		var name pkix.Name
		if name.FillFromRDNSequence(&rdns); name.String() != text {
			return "it is another name than the certificate has as text"
		}
		return ""
	}
	type part struct {
		Type  asn1.ObjectIdentifier
		Value asn1.RawValue
	}
	type partsSET []part
	var shape []partsSET
	if rest, err := asn1.Unmarshal(der, &shape); err != nil || len(rest) > 0 {
		return "it is no name in DER"
	}
	return ""
}
