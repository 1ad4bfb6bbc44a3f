package core

// The attributes that keyreeve itself makes and reads, as types: each is written by
// one function and read by one. Sections are those of KMIP 1.4 unless a version is
// given.

// Date returns the date in t's first instance, in Unix seconds, and whether there is
// one.
func (as Attributes) Date(t Tag) (unix int64, ok bool) {
	v, ok := as.Get(t)
	return v.Num, ok
}

// Name is a Name (§3.2).
type Name struct {
	Text string
	Type NameType // 0: none; in a search, any type
}

// PlainName returns a Name of the type Uninterpreted Text String.
func PlainName(text string) Name {
	return Name{Text: text, Type: NameTypeUninterpretedTextString}
}

// Value returns the Name as a structure.
func (n Name) Value() Value {
	if n.Type == 0 {
		return Structure(Field{TagNameValue, Text(n.Text)})
	}
	return Structure(Field{TagNameValue, Text(n.Text)}, Field{TagNameType, Enum(n.Type)})
}

// NameOf reads a Name.
func NameOf(v Value) Name {
	return Name{Text: v.Field(TagNameValue).Text, Type: NameType(v.Field(TagNameType).Uint())}
}

// Link is a Link from one object to another (§3.35).
type Link struct {
	Type LinkType
	ID   string // Unique Identifier of the other object
}

// Value returns the Link as a structure.
func (l Link) Value() Value {
	return Structure(Field{TagLinkType, Enum(l.Type)}, Field{TagLinkedObjectIdentifier, Text(l.ID)})
}

// LinkOf reads a Link.
func LinkOf(v Value) Link {
	return Link{Type: LinkType(v.Field(TagLinkType).Uint()), ID: v.Field(TagLinkedObjectIdentifier).Text}
}

// UsageLimits are Usage Limits (§3.21).
type UsageLimits struct {
	Total int64
	Count int64 // what is left
	Unit  UsageLimitsUnit
}

// Value returns the Usage Limits as a structure.
func (u UsageLimits) Value() Value {
	return Structure(Field{TagUsageLimitsTotal, Long(u.Total)}, Field{TagUsageLimitsCount, Long(u.Count)}, Field{TagUsageLimitsUnit, Enum(u.Unit)})
}

// UsageLimitsOf reads Usage Limits.
func UsageLimitsOf(v Value) UsageLimits {
	return UsageLimits{Total: v.Field(TagUsageLimitsTotal).Num, Count: v.Field(TagUsageLimitsCount).Num, Unit: UsageLimitsUnit(v.Field(TagUsageLimitsUnit).Uint())}
}

// Digest is the Digest of an object's value (§3.17).
type Digest struct {
	Hash   HashingAlgorithm
	Sum    []byte
	Format KeyFormatType // of the bytes that were hashed
}

// Value returns the Digest as a structure.
func (d Digest) Value() Value {
	return Structure(Field{TagHashingAlgorithm, Enum(d.Hash)}, Field{TagDigestValue, Bytes(d.Sum)}, Field{TagKeyFormatType, Enum(d.Format)})
}

// RandomNumberGenerator returns a Random Number Generator, or the RNG Parameters of a
// Query, with an algorithm alone (§3.44).
func RandomNumberGenerator(a RNGAlgorithm) Value {
	return Structure(Field{TagRNGAlgorithm, Enum(a)})
}

// RevocationReason is why an object was revoked (§3.31).
type RevocationReason struct {
	Code    RevocationReasonCode
	Message string
}

// Value returns the Revocation Reason as a structure, without an empty message.
func (r RevocationReason) Value() Value {
	if r.Message == "" {
		return Structure(Field{TagRevocationReasonCode, Enum(r.Code)})
	}
	return Structure(Field{TagRevocationReasonCode, Enum(r.Code)}, Field{TagRevocationMessage, Text(r.Message)})
}

// DomainParameters are Cryptographic Domain Parameters (§3.7).
type DomainParameters struct {
	Curve   RecommendedCurve // 0: none
	Qlength int              // 0: none; not written
}

// Value returns the domain parameters of a curve as a structure.
func (d DomainParameters) Value() Value {
	return Structure(Field{TagRecommendedCurve, Enum(d.Curve)})
}

// DomainParametersOf reads Cryptographic Domain Parameters.
func DomainParametersOf(v Value) DomainParameters {
	return DomainParameters{Curve: RecommendedCurve(v.Field(TagRecommendedCurve).Uint()), Qlength: int(v.Field(TagQlength).Num)}
}

// CertificateNames are the names in a certificate, in the two forms of the standard:
// as text (§3.13 to §3.15) and in DER (§3.10 to §3.12).
type CertificateNames struct {
	Issuer, Subject       string
	Serial                string // in hexadecimal
	IssuerDER, SubjectDER []byte
	SerialDER             []byte
}

// AddTo returns attributes with the six attributes of the names in place of those that
// they had.
func (n CertificateNames) AddTo(as Attributes) Attributes {
	return as.Set(TagCertificateIdentifier, Structure(Field{TagIssuer, Text(n.Issuer)}, Field{TagSerialNumber, Text(n.Serial)})).
		Set(TagCertificateIssuer, Structure(Field{TagCertificateIssuerDistinguishedName, Text(n.Issuer)})).
		Set(TagCertificateSubject, Structure(Field{TagCertificateSubjectDistinguishedName, Text(n.Subject)})).
		Set(TagX509CertificateIdentifier, Structure(Field{TagIssuerDistinguishedName, Bytes(n.IssuerDER)}, Field{TagCertificateSerialNumber, Bytes(n.SerialDER)})).
		Set(TagX509CertificateIssuer, Structure(Field{TagIssuerDistinguishedName, Bytes(n.IssuerDER)})).
		Set(TagX509CertificateSubject, Structure(Field{TagSubjectDistinguishedName, Bytes(n.SubjectDER)}))
}

// Structure returns a vendor attribute as the structure Attribute of KMIP 2.x (2.1
// §4.60).
func (a Attribute) Structure() Value {
	return Structure(Field{TagVendorIdentification, Text(a.Vendor)}, Field{TagAttributeName, Text(a.Name)}, Field{TagAttributeValue, a.Value})
}

// VendorAttributeOf reads the structure Attribute of KMIP 2.x.
func VendorAttributeOf(v Value) Attribute {
	return Attribute{Vendor: v.Field(TagVendorIdentification).Text, Name: v.Field(TagAttributeName).Text, Value: v.Field(TagAttributeValue)}
}
