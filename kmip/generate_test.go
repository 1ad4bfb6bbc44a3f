package kmip_test

import (
	"bytes"
	"math"
	"math/big"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
)

// gen makes messages by chance that are valid in one version: optional fields
// are there or not, and values lie at the ends of their range more often than
// chance alone would have them. The same seed makes the same messages.
type gen struct {
	*rand.Rand
	v      core.Version
	answer bool // ovh's types are filled for a response
	plain  bool // without what the library's XML and JSON do not carry
}

func newGen(seed uint64, v core.Version) *gen {
	return &gen{Rand: rand.New(rand.NewPCG(seed, uint64(v))), v: v}
}

func (g *gen) maybe() bool { return g.IntN(2) == 0 }

func pick[T any](g *gen, from ...T) T { return from[g.IntN(len(from))] }

func opt[T any](g *gen, f func() T) *T {
	if g.maybe() {
		return nil
	}
	return ptr(f())
}

func some[T any](g *gen, most int, f func() T) []T {
	var out []T
	for range g.IntN(most + 1) {
		out = append(out, f())
	}
	return out
}

func (g *gen) text() string {
	return pick(g, "", "a", "1234567", "12345678", "123456789", "naïve ☃ 𝕊", "line\nand\ttab", g.control(), strings.Repeat("é", 1+g.IntN(700)))
}

// control is a control character, which the library's XML makes U+FFFD.
func (g *gen) control() string {
	if g.plain {
		return "0"
	}
	return "\x01"
}

func (g *gen) blob() []byte {
	b := make([]byte, pick(g, 0, 1, 7, 8, 9, 16, 255, g.IntN(2000)))
	for i := range b {
		b[i] = byte(g.Uint32())
	}
	return b
}

func (g *gen) optBlob() []byte {
	if g.maybe() {
		return nil
	}
	return g.blob()
}

// big is two's complement of any length and sign in its shortest form.
func (g *gen) big() []byte {
	n := new(big.Int)
	for range g.IntN(40) {
		n.Or(n.Lsh(n, 8), big.NewInt(int64(pick(g, 0, 0x7f, 0x80, 0xff, g.IntN(256)))))
	}
	if g.maybe() {
		n.Neg(n)
	}
	return twosComplement(n)
}

func twosComplement(n *big.Int) []byte {
	for size := 1; ; size++ {
		limit := new(big.Int).Lsh(big.NewInt(1), uint(8*size-1))
		if n.Cmp(limit) < 0 && n.Cmp(new(big.Int).Neg(limit)) >= 0 {
			m := new(big.Int).Set(n)
			if m.Sign() < 0 {
				m.Add(m, limit.Lsh(limit, 1))
			}
			return m.FillBytes(make([]byte, size))
		}
	}
}

func (g *gen) int32() int32 {
	if g.plain {
		return 1 + g.Int32N(math.MaxInt32) // XML and JSON take other numbers for unknown names of a mask
	}
	return pick(g, math.MinInt32, -1, 0, 1, math.MaxInt32, g.Int32())
}

func (g *gen) int64() int64   { return pick(g, math.MinInt64, -1, 0, 1, math.MaxInt64, g.Int64()) }
func (g *gen) uint32() uint32 { return pick(g, 0, 1, math.MaxUint32, g.Uint32()) }
func (g *gen) bool() bool     { return g.maybe() }

// date covers both ends of what time.Time can print, and 1970.
func (g *gen) date() int64 { return pick(g, -62135596800, -1, 0, 1, 253402300799, g.Int64N(4e9)) }

// enum is a value that the version has, or one of a vendor's.
func (g *gen) enum(t core.Tag) uint32 {
	info := t.Info().Enum
	if info == nil || g.IntN(10) == 0 {
		return 0x8000_0000 | g.Uint32N(1<<20)
	}
	for range 50 {
		if v := info.Values[g.IntN(len(info.Values))]; v.Value != 0 && g.v.Within(v.Since, v.Until) {
			return v.Value
		}
	}
	return 0x8000_0001
}

func enumOf[E ~uint32](g *gen, t core.Tag) E { return E(g.enum(t)) }

func optEnum[E ~uint32](g *gen, t core.Tag) E {
	if g.maybe() {
		return 0
	}
	return enumOf[E](g, t)
}

// member is a field of a structure of the standard.
type member struct {
	tag   core.Tag
	must  bool
	many  bool
	since core.Version
}

// structures lists the attributes that are structures (KMIP 1.4 §3, 2.1 §4).
var structures = map[core.Tag][]member{
	core.TagName:                           {{tag: core.TagNameValue, must: true}, {tag: core.TagNameType, must: true}},
	core.TagApplicationSpecificInformation: {{tag: core.TagApplicationNamespace, must: true}, {tag: core.TagApplicationData, must: true}},
	core.TagCertificateIdentifier:          {{tag: core.TagIssuer, must: true}, {tag: core.TagSerialNumber}},
	core.TagCertificateIssuer:              {{tag: core.TagCertificateIssuerDistinguishedName, must: true}, {tag: core.TagCertificateIssuerAlternativeName, many: true}},
	core.TagCertificateSubject:             {{tag: core.TagCertificateSubjectDistinguishedName, must: true}, {tag: core.TagCertificateSubjectAlternativeName, many: true}},
	core.TagCryptographicDomainParameters:  {{tag: core.TagQlength}, {tag: core.TagRecommendedCurve}},
	core.TagDigest:                         {{tag: core.TagHashingAlgorithm, must: true}, {tag: core.TagDigestValue, must: true}, {tag: core.TagKeyFormatType, since: core.V1_1}},
	core.TagLink:                           {{tag: core.TagLinkType, must: true}, {tag: core.TagLinkedObjectIdentifier, must: true}},
	core.TagRevocationReason:               {{tag: core.TagRevocationReasonCode, must: true}, {tag: core.TagRevocationMessage}},
	core.TagUsageLimits:                    {{tag: core.TagUsageLimitsTotal, must: true}, {tag: core.TagUsageLimitsCount}, {tag: core.TagUsageLimitsUnit, must: true}},
	core.TagX509CertificateIdentifier:      {{tag: core.TagIssuerDistinguishedName, must: true}, {tag: core.TagCertificateSerialNumber, must: true}},
	core.TagX509CertificateIssuer:          {{tag: core.TagIssuerDistinguishedName, must: true}, {tag: core.TagIssuerAlternativeName, many: true}},
	core.TagX509CertificateSubject:         {{tag: core.TagSubjectDistinguishedName, must: true}, {tag: core.TagSubjectAlternativeName, many: true}},
	core.TagKeyValueLocation:               {{tag: core.TagKeyValueLocationValue, must: true}, {tag: core.TagKeyValueLocationType, must: true}},
	core.TagAlternativeName:                {{tag: core.TagAlternativeNameValue, must: true}, {tag: core.TagAlternativeNameType, must: true}},
	core.TagRandomNumberGenerator: {{tag: core.TagRNGAlgorithm, must: true}, {tag: core.TagCryptographicAlgorithm}, {tag: core.TagCryptographicLength}, {tag: core.TagHashingAlgorithm},
		{tag: core.TagDRBGAlgorithm}, {tag: core.TagRecommendedCurve}, {tag: core.TagFIPS186Variation}, {tag: core.TagPredictionResistance}},
	core.TagCryptographicParameters: {{tag: core.TagBlockCipherMode}, {tag: core.TagPaddingMethod}, {tag: core.TagHashingAlgorithm}, {tag: core.TagKeyRoleType},
		{tag: core.TagDigitalSignatureAlgorithm, since: core.V1_2}, {tag: core.TagCryptographicAlgorithm, since: core.V1_2}, {tag: core.TagRandomIV, since: core.V1_2},
		{tag: core.TagIVLength, since: core.V1_2}, {tag: core.TagTagLength, since: core.V1_2}, {tag: core.TagFixedFieldLength, since: core.V1_2},
		{tag: core.TagInvocationFieldLength, since: core.V1_2}, {tag: core.TagCounterLength, since: core.V1_2}, {tag: core.TagInitialCounterValue, since: core.V1_2},
		{tag: core.TagSaltLength, since: core.V1_4}, {tag: core.TagMaskGenerator, since: core.V1_4}, {tag: core.TagMaskGeneratorHashingAlgorithm, since: core.V1_4},
		{tag: core.TagPSource, since: core.V1_4}, {tag: core.TagTrailerField, since: core.V1_4}},
	core.TagRotateName: {{tag: core.TagRotateNameValue, must: true}, {tag: core.TagRotateNameType, must: true}},

	core.TagExtensionInformation:  {{tag: core.TagExtensionName, must: true}, {tag: core.TagExtensionTag}, {tag: core.TagExtensionType}},
	core.TagProfileInformation:    {{tag: core.TagProfileName, must: true}, {tag: core.TagServerURI}, {tag: core.TagServerPort}},
	core.TagCapabilityInformation: {{tag: core.TagStreamingCapability}, {tag: core.TagAsynchronousCapability}, {tag: core.TagAttestationCapability}, {tag: core.TagBatchUndoCapability, since: core.V1_4}, {tag: core.TagBatchContinueCapability, since: core.V1_4}, {tag: core.TagUnwrapMode}, {tag: core.TagDestroyAction}, {tag: core.TagShreddingAlgorithm}, {tag: core.TagRNGMode}},
}

func (g *gen) structure(t core.Tag) core.Value {
	var fields []core.Field
	for _, m := range structures[t] {
		n := 1
		switch {
		case g.v < m.since:
			n = 0
		case m.many:
			n = g.IntN(3)
		case !m.must:
			n = g.IntN(2)
		}
		for range n {
			fields = append(fields, core.Field{Tag: m.tag, Value: g.value(m.tag)})
		}
	}
	return core.Structure(fields...)
}

// value is one of the type that the table gives a tag.
func (g *gen) value(t core.Tag) core.Value {
	info := t.Info()
	if structures[t] != nil {
		return g.structure(t)
	}
	if info.Kind == core.KindInteger && info.Enum != nil {
		return core.Mask(g.Uint32N(1<<20) | 1) // the library's XML and JSON do not read a mask of 0
	}
	k := info.Kind
	if k == core.KindAny {
		k = core.KindTextString
	}
	return g.ofKind(k, t)
}

func (g *gen) ofKind(k core.Kind, t core.Tag) core.Value {
	if g.plain && (k == core.KindStructure || k == core.KindDateTimeExtended) {
		k = core.KindLongInteger // XML loses a vendor structure's tag, JSON the epoch
	}
	switch k {
	case core.KindInteger:
		return core.Int(g.int32())
	case core.KindLongInteger:
		return core.Long(g.int64())
	case core.KindBigInteger:
		return core.BigInt(g.big())
	case core.KindEnumeration:
		return core.Enum(g.enum(t))
	case core.KindBoolean:
		return core.Bool(g.bool())
	case core.KindTextString:
		return core.Text(g.text())
	case core.KindByteString:
		return core.Bytes(g.blob())
	case core.KindDateTime:
		return core.Date(g.date())
	case core.KindInterval:
		return core.Interval(g.uint32())
	case core.KindDateTimeExtended:
		return core.Value{Kind: k, Num: g.date() * 1000}
	}
	return g.vendorStructure(2)
}

// vendorStructure is what a vendor may put into a structure of its own.
func (g *gen) vendorStructure(depth int) core.Value {
	var fields []core.Field
	for range g.IntN(4) {
		t := core.Tag(0x540000 + g.IntN(0x10000))
		k := core.Kind(2 + g.IntN(9))
		v := core.Value{}
		if depth > 0 && g.IntN(4) == 0 {
			v = g.vendorStructure(depth - 1)
		} else {
			v = g.ofKind(k, core.TagOpaqueDataType)
		}
		fields = append(fields, core.Field{Tag: t, Value: v})
	}
	return core.Structure(fields...)
}

// attribute is one that the version has, or a vendor's.
func (g *gen) attribute() core.Attribute {
	if g.IntN(5) == 0 {
		vendor := pick(g, "x", "y")
		if g.v >= core.V2_0 {
			vendor = pick(g, "x", "y", "ACME", "")
		}
		a := core.Attribute{Vendor: vendor, Name: pick(g, "Site", "a", "with-dash", "ünïcode"), Value: g.ofKind(core.Kind(1+g.IntN(10)), core.TagOpaqueDataType)}
		a.Index = g.index()
		return a
	}
	rules := core.AttributeRules()
	for {
		if r := rules[g.IntN(len(rules))]; g.v.Within(r.Since, r.Until) {
			return core.Attribute{Tag: r.Tag, Index: g.index(), Value: g.value(r.Tag)}
		}
	}
}

func (g *gen) index() int {
	if g.v >= core.V2_0 {
		return 0
	}
	return pick(g, 0, 0, 1, math.MaxInt32)
}

func (g *gen) attributes() core.Attributes { return some(g, 5, g.attribute) }

func (g *gen) names() []core.AttributeName {
	var out []core.AttributeName
	for _, a := range some(g, 4, g.attribute) {
		out = append(out, a.Ref())
	}
	return out
}

func (g *gen) identifier() core.Identifier {
	switch {
	case g.IntN(5) == 0:
		return core.Identifier{}
	case g.v >= core.V2_0 && g.IntN(4) == 0:
		return core.Identifier{Enum: enumOf[core.UniqueIdentifierEnum](g, core.TagUniqueIdentifier)}
	case g.v >= core.V2_0 && g.IntN(4) == 0:
		n := g.Int32N(120) - 60
		return core.Identifier{Nth: &n}
	}
	return core.ID(pick(g, "1", "c3f0a3b2-1111-4222-8333-444455556666", strings.Repeat("i", 100)))
}

func (g *gen) id() string { return pick(g, "1", "c3f0a3b2-1111-4222-8333-444455556666") }

func (g *gen) masks() []int32 {
	if g.v < core.V2_0 {
		return nil
	}
	return some(g, 3, g.int32)
}

func (g *gen) parameters() *core.CryptographicParameters {
	return opt(g, func() core.CryptographicParameters {
		return core.ParametersOf(g.structure(core.TagCryptographicParameters))
	})
}

func (g *gen) wrappingKey() *core.WrappingKeyInfo {
	return opt(g, func() core.WrappingKeyInfo { return core.WrappingKeyInfo{ID: g.id(), Parameters: g.parameters()} })
}

func (g *gen) encoding() core.EncodingOption {
	if g.v < core.V1_1 {
		return 0
	}
	return optEnum[core.EncodingOption](g, core.TagEncodingOption)
}

func (g *gen) specification() *core.KeyWrappingSpecification {
	return opt(g, func() core.KeyWrappingSpecification {
		names := g.names()
		if g.v >= core.V2_0 {
			names = []core.AttributeName{{Tag: core.TagState}, {Vendor: "x", Name: "Site"}}[:g.IntN(3)]
		}
		return core.KeyWrappingSpecification{Method: enumOf[core.WrappingMethod](g, core.TagWrappingMethod), Encryption: g.wrappingKey(),
			MACSignature: g.wrappingKey(), AttributeNames: names, Encoding: g.encoding()}
	})
}

// keyBlock is one whose format goes with the material that it holds.
func (g *gen) keyBlock(t core.ObjectType) core.KeyBlock {
	k := core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: optEnum[core.CryptographicAlgorithm](g, core.TagCryptographicAlgorithm)}
	if g.maybe() {
		k.Length = 1 + g.Int32N(1<<20)
	}
	switch g.IntN(4) {
	case 0:
		k.Wrapped = g.blob()
		k.Wrapping = &core.KeyWrappingData{Method: enumOf[core.WrappingMethod](g, core.TagWrappingMethod), Encryption: g.wrappingKey(), MACSignature: g.wrappingKey(),
			MAC: g.optBlob(), IV: g.optBlob(), Encoding: g.encoding()}
		return k
	case 1:
		k.Format, k.Transparent = g.transparent(t)
	case 2:
		k.Material = g.blob()
		k.Format = pick(g, core.KeyFormatTypeOpaque, core.KeyFormatTypePKCS1, core.KeyFormatTypePKCS8, core.KeyFormatTypeX509, core.KeyFormatTypeECPrivateKey)
	default:
		k.Material = g.blob()
	}
	k.Attributes = g.attributes()
	return k
}

// transparent is Key Material as a structure (KMIP 1.4 §2.1.7).
func (g *gen) transparent(t core.ObjectType) (core.KeyFormatType, []core.Field) {
	num := func(tags ...core.Tag) (fs []core.Field) {
		for _, t := range tags {
			fs = append(fs, core.Field{Tag: t, Value: core.BigInt(g.big())})
		}
		return fs
	}
	curve := core.Field{Tag: core.TagRecommendedCurve, Value: core.Enum(core.RecommendedCurveP256)}
	switch t {
	case core.ObjectTypePrivateKey:
		if g.maybe() {
			return core.KeyFormatTypeTransparentECPrivateKey, append([]core.Field{curve}, num(core.TagD)...)
		}
		return core.KeyFormatTypeTransparentRSAPrivateKey, num(core.TagModulus, core.TagPrivateExponent, core.TagPublicExponent, core.TagP, core.TagQ,
			core.TagPrimeExponentP, core.TagPrimeExponentQ, core.TagCRTCoefficient)
	case core.ObjectTypePublicKey:
		if g.maybe() {
			return core.KeyFormatTypeTransparentECPublicKey, []core.Field{curve, {Tag: core.TagQString, Value: core.Bytes(g.blob())}}
		}
		return core.KeyFormatTypeTransparentRSAPublicKey, num(core.TagModulus, core.TagPublicExponent)
	}
	return core.KeyFormatTypeTransparentSymmetricKey, []core.Field{{Tag: core.TagKey, Value: core.Bytes(g.blob())}}
}

func (g *gen) object() core.ObjectBody {
	o := core.ObjectBody{Type: pick(g, core.ObjectTypeSymmetricKey, core.ObjectTypeSecretData, core.ObjectTypePrivateKey, core.ObjectTypePublicKey,
		core.ObjectTypeCertificate, core.ObjectTypeOpaqueObject, core.ObjectTypeSplitKey)}
	if g.v <= core.V1_4 && g.IntN(8) == 0 {
		return core.ObjectBody{Type: core.ObjectTypeTemplate, Template: g.attributes()}
	}
	if g.v >= core.V1_2 && g.IntN(8) == 0 {
		o.Type, o.PGPKeyVersion = core.ObjectTypePGPKey, g.int32()
	}
	switch o.Type {
	case core.ObjectTypeCertificate:
		o.CertificateType, o.CertificateValue = enumOf[core.CertificateType](g, core.TagCertificateType), g.blob()
		return o
	case core.ObjectTypeOpaqueObject:
		o.OpaqueDataType, o.OpaqueData = g.enum(core.TagOpaqueDataType), g.blob()
		return o
	case core.ObjectTypeSecretData:
		o.SecretDataType = enumOf[core.SecretDataType](g, core.TagSecretDataType)
	case core.ObjectTypeSplitKey:
		o.Split = &core.SplitKey{Parts: g.int32(), Identifier: g.int32(), Threshold: g.int32(), Method: enumOf[core.SplitKeyMethod](g, core.TagSplitKeyMethod)}
		if g.maybe() {
			o.Split.PrimeField = g.big()
		}
	}
	o.KeyBlock = g.keyBlock(o.Type)
	return o
}

func (g *gen) templateNames() []string {
	if g.v >= core.V2_0 {
		return nil
	}
	return some(g, 2, g.text)
}

func (g *gen) stream() (correlation []byte, first, last *bool) {
	if g.v < core.V1_3 {
		return nil, nil, nil
	}
	return g.optBlob(), opt(g, g.bool), opt(g, g.bool)
}

func (g *gen) since(v core.Version, b []byte) []byte {
	if g.v < v {
		return nil
	}
	return b
}

// data must be there until 1.2.
func (g *gen) data() []byte {
	if g.v < core.V1_3 {
		return g.blob()
	}
	return g.optBlob()
}

func (g *gen) structures(t core.Tag) []core.Field {
	return some(g, 2, func() core.Field { return core.Field{Tag: t, Value: g.structure(t)} })
}

// produced is an operation with a maker of its two payloads.
type produced struct {
	op    core.Operation
	since core.Version
	make  func(t *testing.T, g *gen) (request, response []byte)

	succeed func(r *kmip.Response, id []byte, g *gen) error

	lent         func(b []byte, v core.Version) ([]string, error) // what of the request refers to b
	readRequest  func(b []byte, v core.Version) ([]byte, error)   // read and write again
	readResponse func(b []byte, v core.Version) ([]byte, error)
}

func from[I, O any](op *kmip.Operation[I, O], since core.Version, f func(g *gen) (I, O)) produced {
	return produced{op.Code, since, func(t *testing.T, g *gen) ([]byte, []byte) {
		in, out := f(g)
		return of(op, since, in, out).trip(t, g.v)
	}, func(r *kmip.Response, id []byte, g *gen) error {
		_, out := f(g)
		return kmip.Succeed(r, id, op, &out)
	}, func(b []byte, v core.Version) ([]string, error) {
		var in I
		err := op.DecodeRequest(b, v, false, &in)
		return references(&in, b), err
	}, func(b []byte, v core.Version) ([]byte, error) {
		var in I
		if err := op.DecodeRequest(b, v, false, &in); err != nil {
			return nil, err
		}
		return op.AppendRequest(nil, v, &in)
	}, func(b []byte, v core.Version) ([]byte, error) {
		var out O
		if err := op.DecodeResponse(b, v, &out); err != nil {
			return nil, err
		}
		return op.AppendResponse(nil, v, &out)
	}}
}

// attributeOut is the answer of the operations on one attribute.
func attributeOut(g *gen) operation.AttributeOutput {
	return operation.AttributeOutput{ID: g.id(), Attribute: g.attribute()}
}

// everyOperation makes each operation's payloads; TestGeneratorKnowsEveryOperation
// holds it to be complete.
var everyOperation = []produced{
	from(&kmip.DiscoverVersions, core.V1_1, func(g *gen) (operation.DiscoverVersionsInput, operation.DiscoverVersionsOutput) {
		return operation.DiscoverVersionsInput{Versions: core.Versions[:g.IntN(8)]}, operation.DiscoverVersionsOutput{Versions: core.Versions[g.IntN(7):]}
	}),
	from(&kmip.Query, core.V1_0, func(g *gen) (operation.QueryInput, operation.QueryOutput) {
		in := operation.QueryInput{Functions: append(some(g, 4, func() core.QueryFunction { return enumOf[core.QueryFunction](g, core.TagQueryFunction) }), core.QueryFunctionQueryOperations)}
		out := operation.QueryOutput{Operations: some(g, 9, func() core.Operation { return enumOf[core.Operation](g, core.TagOperation) }),
			ObjectTypes: some(g, 9, func() core.ObjectType { return enumOf[core.ObjectType](g, core.TagObjectType) }), VendorIdentification: g.text(), ApplicationNamespaces: some(g, 3, g.text)}
		if g.maybe() {
			out.ServerInformation = append(g.vendorStructure(1).Fields, core.Field{Tag: core.TagServerName, Value: core.Text(g.text())})
		}
		out.Extensions = g.structures(core.TagExtensionInformation)
		out.AttestationTypes = some(g, 2, func() core.AttestationType { return enumOf[core.AttestationType](g, core.TagAttestationType) })
		out.RNGs = some(g, 2, func() core.Field {
			return core.Field{Tag: core.TagRNGParameters, Value: g.structure(core.TagRandomNumberGenerator)}
		})
		out.Profiles, out.Capabilities = g.structures(core.TagProfileInformation), g.structures(core.TagCapabilityInformation)
		out.ClientRegistration = some(g, 2, func() core.ClientRegistrationMethod {
			return enumOf[core.ClientRegistrationMethod](g, core.TagClientRegistrationMethod)
		})
		out.StorageProtectionMasks = g.masks()
		return in, out
	}),
	from(&kmip.Create, core.V1_0, func(g *gen) (operation.CreateInput, operation.CreateOutput) {
		return operation.CreateInput{ObjectType: enumOf[core.ObjectType](g, core.TagObjectType), Attributes: g.attributes(), TemplateNames: g.templateNames(), ProtectionMasks: g.masks()},
			operation.CreateOutput{ObjectType: enumOf[core.ObjectType](g, core.TagObjectType), ID: g.id(), Attributes: g.attributes()}
	}),
	from(&kmip.CreateKeyPair, core.V1_0, func(g *gen) (operation.CreateKeyPairInput, operation.CreateKeyPairOutput) {
		return g.keyPairInput(), operation.CreateKeyPairOutput{PrivateID: g.id(), PublicID: g.id()}
	}),
	from(&kmip.Register, core.V1_0, func(g *gen) (operation.RegisterInput, operation.RegisterOutput) {
		o := g.object()
		return operation.RegisterInput{ObjectType: o.Type, Attributes: g.attributes(), TemplateNames: g.templateNames(), Object: o, ProtectionMasks: g.masks()},
			operation.RegisterOutput{ID: g.id(), Attributes: g.attributes()}
	}),
	from(&kmip.ReKey, core.V1_0, func(g *gen) (operation.RekeyInput, operation.CreateOutput) {
		return operation.RekeyInput{ID: g.identifier(), Offset: opt(g, func() int64 { return int64(g.uint32()) }), Attributes: g.attributes(), TemplateNames: g.templateNames(), ProtectionMasks: g.masks()},
			operation.CreateOutput{ID: g.id(), Attributes: g.attributes()}
	}),
	from(&kmip.ReKeyKeyPair, core.V1_1, func(g *gen) (operation.RekeyKeyPairInput, operation.CreateKeyPairOutput) {
		return operation.RekeyKeyPairInput{ID: g.identifier(), Offset: opt(g, func() int64 { return int64(g.uint32()) }), CreateKeyPairInput: g.keyPairInput()},
			operation.CreateKeyPairOutput{PrivateID: g.id(), PublicID: g.id()}
	}),
	from(&kmip.DeriveKey, core.V1_0, func(g *gen) (operation.DeriveKeyInput, operation.DeriveKeyOutput) {
		data := some(g, 3, g.blob)
		if g.v < core.V2_0 && len(data) > 1 {
			data = data[:1]
		}
		return operation.DeriveKeyInput{ObjectType: enumOf[core.ObjectType](g, core.TagObjectType), IDs: some(g, 3, g.identifier), Method: enumOf[core.DerivationMethod](g, core.TagDerivationMethod),
				Parameters: operation.DerivationParameters{Parameters: g.parameters(), IV: g.optBlob(), Data: data, Salt: g.optBlob(), Iterations: opt(g, g.int32)}, Attributes: g.attributes(), TemplateNames: g.templateNames()},
			operation.DeriveKeyOutput{ID: g.id(), Attributes: g.attributes()}
	}),
	from(&kmip.Locate, core.V1_0, func(g *gen) (operation.LocateInput, operation.LocateOutput) {
		in := operation.LocateInput{MaximumItems: pick[int32](g, -1, 0, 1, math.MaxInt32), StorageStatus: g.Uint32N(8), Attributes: g.attributes()}
		if g.v >= core.V1_1 {
			in.GroupMember = optEnum[core.ObjectGroupMember](g, core.TagObjectGroupMember)
		}
		if g.v >= core.V1_3 {
			in.OffsetItems = pick[int32](g, 0, 1, math.MaxInt32)
		}
		return in, operation.LocateOutput{Located: pick[int32](g, -1, 0, 1, math.MaxInt32), IDs: some(g, 20, g.id)}
	}),
	from(&kmip.Check, core.V1_0, func(g *gen) (operation.CheckInput, operation.CheckOutput) {
		mask := func() core.UsageMask { return core.UsageMask(g.Uint32N(1 << 20)) }
		return operation.CheckInput{ID: g.identifier(), UsageLimitsCount: opt(g, g.int64), Mask: opt(g, mask), LeaseTime: opt(g, g.uint32)},
			operation.CheckOutput{ID: g.id(), UsageLimitsCount: opt(g, g.int64), Mask: opt(g, mask), LeaseTime: opt(g, g.uint32)}
	}),
	from(&kmip.Get, core.V1_0, func(g *gen) (operation.GetInput, operation.GetOutput) {
		in := operation.GetInput{ID: g.identifier(), Format: optEnum[core.KeyFormatType](g, core.TagKeyFormatType), WrapType: optEnum[core.KeyWrapType](g, core.TagKeyWrapType),
			Compression: optEnum[core.KeyCompressionType](g, core.TagKeyCompressionType), Specification: g.specification()}
		o := g.object()
		return in, operation.GetOutput{ObjectType: o.Type, ID: g.id(), Object: o}
	}),
	from(&kmip.GetAttributes, core.V1_0, func(g *gen) (operation.GetAttributesInput, operation.GetAttributesOutput) {
		return operation.GetAttributesInput{ID: g.identifier(), Names: g.names()}, operation.GetAttributesOutput{ID: g.id(), Attributes: g.attributes()}
	}),
	from(&kmip.GetAttributeList, core.V1_0, func(g *gen) (operation.GetAttributeListInput, operation.GetAttributeListOutput) {
		return operation.GetAttributeListInput{ID: g.identifier()}, operation.GetAttributeListOutput{ID: g.id(), Names: g.names()}
	}),
	from(&kmip.AddAttribute, core.V1_0, func(g *gen) (operation.AddAttributeInput, operation.AttributeOutput) {
		a := g.attribute()
		a.Index = 0 // the server gives it
		return operation.AddAttributeInput{ID: g.identifier(), Attribute: a}, attributeOut(g)
	}),
	from(&kmip.ModifyAttribute, core.V1_0, func(g *gen) (operation.ModifyAttributeInput, operation.AttributeOutput) {
		a := g.attribute()
		in := operation.ModifyAttributeInput{ID: g.identifier(), Name: a.Ref(), New: a}
		if g.v >= core.V2_0 && g.maybe() {
			in.CurrentValue = &a.Value
		}
		return in, attributeOut(g)
	}),
	from(&kmip.SetAttribute, core.V2_0, func(g *gen) (operation.SetAttributeInput, operation.AttributeOutput) {
		return operation.SetAttributeInput{ID: g.identifier(), Attribute: g.attribute()}, attributeOut(g)
	}),
	from(&kmip.DeleteAttribute, core.V1_0, func(g *gen) (operation.DeleteAttributeInput, operation.AttributeOutput) {
		a := g.attribute()
		in := operation.DeleteAttributeInput{ID: g.identifier(), Name: a.Ref()}
		in.Name.Index = a.Index
		if g.v >= core.V2_0 && g.maybe() {
			in.CurrentValue = &a.Value
		}
		return in, attributeOut(g)
	}),
	from(&kmip.Activate, core.V1_0, func(g *gen) (operation.ActivateInput, operation.IDOutput) {
		return operation.ActivateInput{ID: g.identifier()}, operation.IDOutput{ID: g.id()}
	}),
	from(&kmip.Revoke, core.V1_0, func(g *gen) (operation.RevokeInput, operation.IDOutput) {
		return operation.RevokeInput{ID: g.identifier(), Code: enumOf[core.RevocationReasonCode](g, core.TagRevocationReasonCode), Message: g.text(), CompromiseOccurrence: opt(g, g.date)}, operation.IDOutput{ID: g.id()}
	}),
	from(&kmip.Destroy, core.V1_0, func(g *gen) (operation.DestroyInput, operation.IDOutput) {
		return operation.DestroyInput{ID: g.identifier()}, operation.IDOutput{ID: g.id()}
	}),
	from(&kmip.Archive, core.V1_0, func(g *gen) (operation.LifeInput, operation.IDOutput) {
		return operation.LifeInput{ID: g.identifier()}, operation.IDOutput{ID: g.id()}
	}),
	from(&kmip.Recover, core.V1_0, func(g *gen) (operation.LifeInput, operation.IDOutput) {
		return operation.LifeInput{ID: g.identifier()}, operation.IDOutput{ID: g.id()}
	}),
	from(&kmip.Encrypt, core.V1_2, func(g *gen) (operation.EncryptInput, operation.EncryptOutput) {
		in := operation.EncryptInput{ID: g.identifier(), Parameters: g.parameters(), Data: g.data(), IV: g.optBlob(), AAD: g.since(core.V1_4, g.optBlob())}
		in.Correlation, in.Init, in.Final = g.stream()
		return in, operation.EncryptOutput{ID: g.id(), Data: g.blob(), IV: g.optBlob(), Tag: g.since(core.V1_4, g.optBlob()), Correlation: g.since(core.V1_3, g.optBlob())}
	}),
	from(&kmip.Decrypt, core.V1_2, func(g *gen) (operation.DecryptInput, operation.DecryptOutput) {
		in := operation.DecryptInput{ID: g.identifier(), Parameters: g.parameters(), Data: g.data(), IV: g.optBlob(), AAD: g.since(core.V1_4, g.optBlob()), Tag: g.since(core.V1_4, g.optBlob())}
		in.Correlation, in.Init, in.Final = g.stream()
		return in, operation.DecryptOutput{ID: g.id(), Data: g.blob(), Correlation: g.since(core.V1_3, g.optBlob())}
	}),
	from(&kmip.Sign, core.V1_2, func(g *gen) (operation.SignInput, operation.SignOutput) {
		in := operation.SignInput{ID: g.identifier(), Parameters: g.parameters(), Data: g.data(), Digested: g.since(core.V1_4, g.optBlob())}
		in.Correlation, in.Init, in.Final = g.stream()
		return in, operation.SignOutput{ID: g.id(), Signature: g.optBlob(), Correlation: g.since(core.V1_3, g.optBlob())}
	}),
	from(&kmip.SignatureVerify, core.V1_2, func(g *gen) (operation.SignatureVerifyInput, operation.SignatureVerifyOutput) {
		in := operation.SignatureVerifyInput{ID: g.identifier(), Parameters: g.parameters(), Data: g.optBlob(), Digested: g.since(core.V1_4, g.optBlob()), Signature: g.data()}
		in.Correlation, in.Init, in.Final = g.stream()
		return in, operation.SignatureVerifyOutput{ID: g.id(), Validity: enumOf[core.ValidityIndicator](g, core.TagValidityIndicator), Data: g.optBlob(), Correlation: g.since(core.V1_3, g.optBlob())}
	}),
	from(&kmip.MAC, core.V1_2, func(g *gen) (operation.MACInput, operation.MACOutput) {
		in := operation.MACInput{ID: g.identifier(), Parameters: g.parameters(), Data: g.data()}
		in.Correlation, in.Init, in.Final = g.stream()
		return in, operation.MACOutput{ID: g.id(), MAC: g.optBlob(), Correlation: g.since(core.V1_3, g.optBlob())}
	}),
	from(&kmip.MACVerify, core.V1_2, func(g *gen) (operation.MACVerifyInput, operation.MACVerifyOutput) {
		in := operation.MACVerifyInput{ID: g.identifier(), Parameters: g.parameters(), Data: g.optBlob(), MAC: g.data()}
		in.Correlation, in.Init, in.Final = g.stream()
		return in, operation.MACVerifyOutput{ID: g.id(), Validity: optEnum[core.ValidityIndicator](g, core.TagValidityIndicator), Correlation: g.since(core.V1_3, g.optBlob())}
	}),
	from(&kmip.Hash, core.V1_2, func(g *gen) (operation.HashInput, operation.HashOutput) {
		in := operation.HashInput{Parameters: g.parameters(), Data: g.data()}
		in.Correlation, in.Init, in.Final = g.stream()
		return in, operation.HashOutput{Data: g.optBlob(), Correlation: g.since(core.V1_3, g.optBlob())}
	}),
	from(&kmip.RNGRetrieve, core.V1_2, func(g *gen) (operation.RNGRetrieveInput, operation.RNGRetrieveOutput) {
		return operation.RNGRetrieveInput{Length: g.int32()}, operation.RNGRetrieveOutput{Data: g.blob()}
	}),
	from(&kmip.RNGSeed, core.V1_2, func(g *gen) (operation.RNGSeedInput, operation.RNGSeedOutput) {
		return operation.RNGSeedInput{Data: g.blob()}, operation.RNGSeedOutput{Amount: g.int32()}
	}),
}

// request makes a whole request message of 1 to 4 items, with the header's
// optional fields on and off.
func (g *gen) request(t *testing.T) []byte {
	var items []kmip.ClientItem
	for range 1 + g.IntN(4) {
		p := g.operation()
		payload, _ := p.make(t, g)
		items = append(items, kmip.ClientItem{Operation: p.op, BatchID: g.optBlob(), Payload: func(dst []byte, _ core.Version) ([]byte, error) { return append(dst, payload...), nil }})
	}
	o := kmip.RequestOptions{MaximumResponseSize: pick[int32](g, 0, 1, math.MaxInt32), ErrorOption: optEnum[core.BatchErrorContinuationOption](g, core.TagBatchErrorContinuationOption)}
	if g.v >= core.V1_4 {
		o.ClientCorrelation = g.text()
	}
	msg, err := kmip.AppendRequest(nil, g.v, o, items...)
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// response makes a whole response message by the server's writer.
func (g *gen) response(t *testing.T) []byte {
	correlation := ""
	if g.v >= core.V1_4 {
		correlation = pick(g, "", "0123456789abcdef")
	}
	var r kmip.Response
	r.Begin(nil, g.v, g.date(), correlation)
	for range 1 + g.IntN(4) {
		p, id := g.operation(), g.optBlob()
		switch g.IntN(4) {
		case 0:
			r.Failure(p.op, id, core.StatusOperationFailed, enumOf[core.ResultReason](g, core.TagResultReason), pick(g, "a", "no such thing"))
		case 1:
			r.Failure(p.op, id, core.StatusOperationUndone, 0, "")
		default:
			if err := p.succeed(&r, id, g); err != nil {
				t.Fatal(err)
			}
		}
	}
	return bytes.Clone(r.End())
}

func (g *gen) operation() produced {
	for {
		if p := everyOperation[g.IntN(len(everyOperation))]; p.since <= g.v {
			return p
		}
	}
}

func (g *gen) keyPairInput() operation.CreateKeyPairInput {
	return operation.CreateKeyPairInput{Common: g.attributes(), Private: g.attributes(), Public: g.attributes(), CommonTemplates: g.templateNames(), PrivateTemplates: g.templateNames(), PublicTemplates: g.templateNames(), CommonProtection: g.masks(), PrivateProtection: g.masks(), PublicProtection: g.masks()}
}
