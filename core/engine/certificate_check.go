package engine

import (
	"bytes"
	"context"
	"crypto/x509/pkix"
	"encoding/asn1"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// DamagedCertificate is a certificate whose stored attributes do not agree.
type DamagedCertificate struct {
	Tenant, ID string
	Attribute  string // the attribute that is wrong
	Why        string
	Changed    int64 // the Last Change Date, Unix seconds
}

// String says what is wrong and what to do.
func (d DamagedCertificate) String() string {
	return fmt.Sprintf("the %s of certificate %s (tenant %s) is damaged: %s. It may hold parts of other requests, keys among them. "+
		"Get the certificate and register it again, destroy this object, and replace keys that clients sent before %s.",
		d.Attribute, d.ID, d.Tenant, d.Why, time.Unix(d.Changed, 0).UTC().Format(time.RFC3339))
}

// maxDamaged bounds a list of damaged certificates.
const maxDamaged = 100

// DamagedCertificates lists X.509 certificates of all tenants whose names are
// damaged, maxDamaged at most. Early builds kept these names in memory that later
// requests overwrote, and could store the result. Neither the token nor the
// certificate is needed: each name is stored in two forms, which are compared.
func DamagedCertificates(ctx context.Context, s core.Store) (out []DamagedCertificate, err error) {
	sets, err := s.KeySets(ctx, "")
	if err != nil {
		return nil, err
	}
	tenants := map[string]bool{}
	for _, k := range sets {
		tenants[k.Tenant] = true
	}
	f := core.Filter{Everyone: true, Attributes: core.Attributes{{Tag: core.TagObjectType, Value: core.Enum(core.ObjectTypeCertificate)}}}
	for tenant := range tenants {
		for beyond := int64(0); len(out) < maxDamaged; {
			page, err := s.Candidates(ctx, tenant, f, beyond, locatePage)
			if err != nil {
				return nil, err
			}
			for _, o := range page {
				if attribute, why := damage(o); why != "" && len(out) < maxDamaged {
					out = append(out, DamagedCertificate{o.Tenant, o.ID, attribute, why, o.Attributes.Num(core.TagLastChangeDate)})
				}
			}
			if len(page) < locatePage {
				break
			}
			beyond = page[len(page)-1].Seq
		}
	}
	return out, nil
}

// damage returns the first attribute of a certificate that is wrong, and why.
func damage(o *core.ManagedObject) (attribute, why string) {
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
		if why := wrongName(value(n.attribute, n.der).Bytes, value(n.text, n.textField).Text); why != "" {
			return n.attribute.String(), why
		}
	}
	if !bytes.Equal(value(core.TagX509CertificateIssuer, core.TagIssuerDistinguishedName).Bytes, value(core.TagX509CertificateIdentifier, core.TagIssuerDistinguishedName).Bytes) {
		return core.TagX509CertificateIdentifier.String(), "it is another name than the X.509 Certificate Issuer"
	}
	return "", ""
}

// wrongName compares a name in DER with the same name as text. A name with texts
// that are read in another way here is only held to be a name.
func wrongName(der []byte, text string) string {
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
