package objects

import (
	"context"
	"crypto/sha256"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// maxCertificateBytes bounds a Certificate Value, because writing a name with many parts
// as text takes quadratic time.
const maxCertificateBytes = 64 * 1024

// Register stores an object that the client sends (KMIP 1.4 §4.3, 2.1 §6.1.43).
func (v *Verbs) Register(ctx context.Context, c *core.Caller, in *operation.RegisterInput) (operation.RegisterOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionRegister, in, v.register)
}

func (v *Verbs) register(k *engine.Call, in *operation.RegisterInput) (out operation.RegisterOutput, err error) {
	k.StorageMasks = in.ProtectionMasks
	asked := askedRegister(in)
	if err := decideRegistered(k, in, asked); err != nil {
		return out, err
	}
	opened, err := openKeyValue(k, in)
	defer func() { core.Retire(opened) }()
	if err != nil {
		return out, err
	}
	given, err := mergeRegistered(k, in)
	if err != nil {
		return out, err
	}
	given = activatedNow(k, given, in.ActivateNow)
	o, err := newObject(k, in.ObjectType, given)
	if err != nil {
		return out, err
	}
	k.Record.Object = o.ID
	ch := core.ChangeOf(core.InsertObject{Object: o})
	if in.ImportJob != "" {
		err = v.takeTransported(k, o, in, ch)
	} else {
		err = takeObject(k, o, in)
	}
	if err != nil {
		return out, err
	}
	if taken := askedKey(o.Attributes); !isSameKey(asked, taken) { // by a Template, by the key itself, or by what was wrapped
		if err := decideRegistered(k, in, taken); err != nil {
			return out, err
		}
	}
	if opened != nil && o.Material.Class != core.ClassC { // because of attributes in the Key Value
		return out, core.Errorf(core.EncodingOptionError, ttlvNeedsClassC)
	}
	if err := insertNew(k, ch); err != nil {
		return out, err
	}
	if in.ImportJob != "" {
		v.jobs.ShowEnded(k, in.ImportJob, ch)
	}
	return operation.RegisterOutput{ID: o.ID, Made: o}, nil
}

// decideRegistered asks the policy whether the caller may register the key that is asked for.
func decideRegistered(k *engine.Call, in *operation.RegisterInput, asked core.Asked) error {
	if in.ImportClear {
		if err := decideAs(k, core.ActionImportClear, nil, asked); err != nil {
			return err
		}
	}
	return decideKey(k, nil, asked)
}

// mergeRegistered returns the attributes of the request, of the Key Value and of the
// named Templates. Before KMIP 1.2 the content of a Template is among its attributes.
func mergeRegistered(k *engine.Call, in *operation.RegisterInput) (core.Attributes, error) {
	if in.Object.Type != in.ObjectType {
		return nil, core.Errorf(core.InvalidField, "the Object Type is %v and the object is a %v", in.ObjectType, in.Object.Type)
	}
	given := in.Attributes
	if in.ObjectType == core.ObjectTypeTemplate && k.Caller.Version < core.V1_2 {
		given = append(append(core.Attributes{}, given...), in.Object.Template...)
	}
	given, err := mergeKeyValueAttributes(given, in.Object.KeyBlock.Attributes)
	if err != nil {
		return nil, err
	}
	return mergeTemplates(k, given, in.TemplateNames)
}

// mergeKeyValueAttributes adds the attributes in the Key Value to those of the request
// (KMIP 1.4 §2.1.4). If both give an attribute that has one value, the values must be
// equal: a key that is Sensitive in its Key Value must not be returned in clear later.
func mergeKeyValueAttributes(given, inside core.Attributes) (core.Attributes, error) {
	out := given[:len(given):len(given)]
	for _, a := range inside {
		same := out.All(a.Ref())
		switch {
		case slices.ContainsFunc(same, func(b core.Attribute) bool { return b.Value.Equal(a.Value) }):
		case len(same) > 0 && !rules.MayHaveSeveral(a.Ref()):
			return nil, core.Errorf(core.InvalidField, "the attribute %s in the Key Value differs from that of the request; give it once, or the same", core.ClientText(a.Ref().String()))
		default:
			out = append(out, a)
		}
	}
	return out, nil
}

// takeObject stores the value of the object in the token or under its keys, and sets the
// attributes that depend on the value.
func takeObject(k *engine.Call, o *core.ManagedObject, in *operation.RegisterInput) error {
	switch in.ObjectType {
	case core.ObjectTypeSymmetricKey, core.ObjectTypePublicKey, core.ObjectTypePrivateKey, core.ObjectTypeSecretData:
		return takeKey(k, o, in)
	case core.ObjectTypeCertificate:
		return takeCertificate(k, o, &in.Object)
	case core.ObjectTypeOpaqueObject:
		if in.Object.OpaqueData == nil {
			return core.Errorf(core.InvalidField, "the Opaque Object has no Opaque Data Value")
		}
		o.Attributes = o.Attributes.Set(core.TagOpaqueDataType, core.Enum(in.Object.OpaqueDataType))
		return takeData(k, o, in.Object.OpaqueData, core.KeyFormatTypeOpaque)
	case core.ObjectTypeTemplate:
		if k.Caller.Version >= core.V2_0 {
			return core.Errorf(core.InvalidObjectType, "KMIP 2 has no Templates")
		}
		if k.Caller.Version >= core.V1_2 {
			return setContent(o, in.Object.Template)
		}
		return nil
	}
	return core.Errorf(core.InvalidObjectType, "%v objects cannot be registered here; see docs/KMIP.md for those that can", in.ObjectType)
}

// requireForRegistered refuses a key without the attributes that it needs, and sets the type
// of Secret Data.
func requireForRegistered(o *core.ManagedObject, in *operation.RegisterInput) error {
	if in.ObjectType == core.ObjectTypeSecretData {
		o.Attributes = o.Attributes.Set(core.TagSecretDataType, core.Enum(in.Object.SecretDataType))
		return nil
	}
	if !o.Attributes.Has(core.TagCryptographicUsageMask) {
		return core.Errorf(core.InvalidField, "Register of a key needs a Cryptographic Usage Mask")
	}
	return nil
}

// takeKey takes a key or Secret Data in a key block.
func takeKey(k *engine.Call, o *core.ManagedObject, in *operation.RegisterInput) error {
	if err := requireForRegistered(o, in); err != nil {
		return err
	}
	kb := &in.Object.KeyBlock
	if kb.Wrapping != nil {
		return takeWrapped(k, o, kb)
	}
	class, err := classOfRegistered(k, o)
	if err != nil {
		return err
	}
	said := *kb
	if said.Algorithm == 0 { // it may be in the attributes only
		said.Algorithm = o.Algorithm()
	}
	n, err := normalize(k, in.ObjectType, &said, class)
	if err != nil {
		return err
	}
	defer core.Retire(n.Bytes)
	if err := rules.MatchKey(o, &n, kb); err != nil {
		return err
	}
	spec := core.KeySpec{Kind: n.Kind, Class: class, Bits: n.Length, Curve: n.Curve, Format: n.Format}
	if spec.Registered, err = asRegistered(k, kb); err != nil {
		return err
	}
	if kb.Transparent != nil {
		defer core.Retire(spec.Registered)
	}
	if err := chooseMode(k, o, &spec); err != nil {
		return err
	}
	if spec.Class == core.ClassX && (spec.Mode == core.ModeWrapped || o.Type == core.ObjectTypeSecretData) {
		plain := *kb
		plain.Attributes = nil
		if spec.TTLV, err = k.Ports.Formats.EncodeKeyValue(nil, &plain, k.Caller.Version); err != nil {
			return err
		}
		defer core.Retire(spec.TTLV)
	}
	var facts core.KeyFacts
	if o.Material, facts, err = k.Ports.HSM.Import(k.Ctx, o.Key(), spec, n.Bytes); err != nil {
		return err
	}
	noteTaken(k, o, facts)
	return nil
}

// normalize returns key material in the form that is stored. A structure that is not read
// here is stored as its Key Value in TTLV; see keptAsStructure.
func normalize(k *engine.Call, t core.ObjectType, kb *core.KeyBlock, class core.Class) (core.Normalized, error) {
	n, err := k.Ports.Formats.Normalize(t, kb, class)
	if err == nil && n.Bytes == nil && keptAsStructure(n.Kind, n.Format) {
		n.Bytes, err = k.Ports.Formats.EncodeKeyValue(nil, &core.KeyBlock{Transparent: kb.Transparent}, k.Caller.Version)
	}
	return n, err
}

// keptAsStructure reports whether the stored value is a Key Value whose Key Material is a
// structure: one half of a Transparent key pair that is not read here.
func keptAsStructure(kind core.KeyKind, f core.KeyFormatType) bool {
	return kind == core.KeyData && f > core.KeyFormatTypeTransparentSymmetricKey && f <= core.KeyFormatTypeTransparentECPublicKey
}

// asRegistered returns the Key Material of a key block, for its Digest (KMIP 1.4 §3.17).
// If the Key Material is a structure, it returns TTLV in a buffer that the caller must
// zero.
func asRegistered(k *engine.Call, kb *core.KeyBlock) ([]byte, error) {
	if kb.Transparent == nil {
		return kb.Material, nil
	}
	const header = 8 // bytes, of the Key Value around the Key Material
	value, err := k.Ports.Formats.EncodeKeyValue(nil, &core.KeyBlock{Transparent: kb.Transparent}, k.Caller.Version)
	if err != nil {
		clear(value)
		return nil, err
	}
	return value[header:], nil
}

// classOfRegistered chooses the class of a registered key. A public key is always of
// class C.
func classOfRegistered(k *engine.Call, o *core.ManagedObject) (core.Class, error) {
	if o.Type != core.ObjectTypePublicKey {
		return chooseCustody(k, o, false)
	}
	if err := requireReadable(o.Attributes); err != nil {
		return "", err
	}
	if !rules.PermitsClass(k.StorageMasks, core.ClassC) {
		return "", core.Errorf(core.ProtectionStorageUnavailable, "the storage of public keys is %v, which no Protection Storage Mask of the request allows", rules.StorageOf(core.ClassC))
	}
	o.Attributes = o.Attributes.Set(core.TagSensitive, core.Bool(false)).Set(core.TagExtractable, core.Bool(true)).
		Set(core.TagAlwaysSensitive, core.Bool(false)).Set(core.TagNeverExtractable, core.Bool(false))
	rules.SetStorage(o, core.ClassC)
	return core.ClassC, nil
}

// requireReadable refuses attributes that would make a public key unreadable.
func requireReadable(as core.Attributes) error {
	if as.Bool(core.TagSensitive) || (as.Has(core.TagExtractable) && !as.Bool(core.TagExtractable)) {
		return core.Errorf(core.InvalidField, "a public key is kept so that it can be read, so Sensitive and not Extractable have no effect; leave them out")
	}
	return nil
}

// takeData seals bytes that are no key with the tenant's key D.
func takeData(k *engine.Call, o *core.ManagedObject, data []byte, f core.KeyFormatType) error {
	spec := core.KeySpec{Kind: core.KeyData, Format: f}
	if err := placeKey(k, o, &spec, false); err != nil {
		return err
	}
	var facts core.KeyFacts
	var err error
	if o.Material, facts, err = k.Ports.HSM.Import(k.Ctx, o.Key(), spec, data); err != nil {
		return err
	}
	k.Record.ExecutedIn = facts.ExecutedIn
	setDigest(o, facts.SHA256)
	return nil
}

// takeCertificate takes a certificate. From an X.509 certificate it derives attributes
// (KMIP 1.4 §3.8 to §3.15, 2.1 §4.6 to §4.8).
func takeCertificate(k *engine.Call, o *core.ManagedObject, body *core.ObjectBody) error {
	switch n := len(body.CertificateValue); {
	case n == 0:
		return core.Errorf(core.InvalidField, "the Certificate has no Certificate Value")
	case n > maxCertificateBytes:
		return core.Errorf(core.InvalidField, "the Certificate Value has %d bytes; at most %d are taken", n, maxCertificateBytes)
	}
	if err := rules.MatchCertificateType(o, body); err != nil {
		return err
	}
	o.Attributes = o.Attributes.Set(core.TagCertificateType, core.Enum(body.CertificateType)).
		Set(core.TagCertificateLength, core.Int(int32(len(body.CertificateValue))))
	if body.CertificateType == core.CertificateTypeX509 {
		if err := rules.DescribeCertificate(o, body.CertificateValue); err != nil {
			return err
		}
	}
	if err := takeData(k, o, body.CertificateValue, core.KeyFormatTypeX509); err != nil {
		return err
	}
	sum := sha256.Sum256(body.CertificateValue)
	o.Attributes = o.Attributes.Without(core.AttributeName{Tag: core.TagDigest})
	setDigest(o, sum[:])
	return nil
}

// ttlvNeedsClassC says why only a class C key may come with TTLV Encoding.
const ttlvNeedsClassC = "a wrapped key that shall be Sensitive or not Extractable can be registered with Encoding Option No Encoding alone: the HSM unwraps key bytes, not a structure around them"

// openKeyValue unwraps a Key Value with TTLV Encoding, the default, and writes it into
// the key block, attributes included. It returns the clear bytes, which the key block
// refers to and the caller must retire. They are clear in this process, so only class C
// is allowed. It does nothing for a Key Value without TTLV Encoding.
func openKeyValue(k *engine.Call, in *operation.RegisterInput) ([]byte, error) {
	kb := &in.Object.KeyBlock
	w := kb.Wrapping
	if w != nil && (len(w.IV) > 0 || len(w.MAC) > 0) {
		return nil, core.Errorf(core.InvalidField, "the Key Wrapping Data has an IV/Counter/Nonce or a MAC/Signature, which keys are unwrapped without here; leave it out")
	}
	if w != nil && kb.Wrapped == nil {
		// Some clients put the wrapped bytes into a Key Value structure instead of a Byte
		// String. With No Encoding they can only be the wrapped key.
		if w.Encoding != core.EncodingOptionNoEncoding || kb.Material == nil {
			return nil, core.Errorf(core.InvalidField, "a wrapped Key Value is a Byte String")
		}
		kb.Wrapped, kb.Material = kb.Material, nil
	}
	if w == nil || w.Encoding == core.EncodingOptionNoEncoding {
		return nil, nil
	}
	with, p, err := wrappingKey(k, w.Method, w.Encryption, w.MACSignature, core.MaskUnwrapKey, false)
	if err != nil {
		return nil, err
	}
	class, err := chooseCustody(k, &core.ManagedObject{Attributes: in.Attributes}, false)
	if err != nil {
		return nil, err
	}
	if class != core.ClassC {
		return nil, core.Errorf(core.EncodingOptionError, ttlvNeedsClassC)
	}
	ttlv, err := unwrapInClear(k, with, p, kb.Wrapped, nil)
	if err != nil {
		return ttlv, err
	}
	kb.Wrapping, kb.Wrapped = nil, nil
	return ttlv, k.Ports.Formats.DecodeKeyValue(ttlv, kb, k.Caller.Version)
}

// takeWrapped takes a key that is wrapped under another key of the server. The key is
// never clear in this process.
func takeWrapped(k *engine.Call, o *core.ManagedObject, kb *core.KeyBlock) error {
	w := kb.Wrapping
	with, p, err := wrappingKey(k, w.Method, w.Encryption, w.MACSignature, core.MaskUnwrapKey, false)
	if err != nil {
		return err
	}
	spec, err := wrappedSpec(o, kb)
	if err != nil {
		return err
	}
	if err := placeKey(k, o, &spec, false); err != nil {
		return err
	}
	var facts core.KeyFacts
	if o.Material, facts, err = k.Ports.HSM.ImportWrapped(k.Ctx, o.Key(), spec, with.Key(), p, kb.Wrapped); err != nil {
		return err
	}
	noteTaken(k, o, facts)
	return nil
}

// noteTaken writes what the HSM tells of a key that it took into the record and the object.
func noteTaken(k *engine.Call, o *core.ManagedObject, facts core.KeyFacts) {
	k.Record.ExecutedIn = facts.ExecutedIn
	o.Attributes = o.Attributes.Set(core.TagKeyFormatType, core.Enum(o.Material.Format))
	setDigest(o, facts.SHA256)
}

// wrappedSpec returns the specification of a wrapped key. Algorithm and length are those
// that the client gives, because the bytes cannot be read.
func wrappedSpec(o *core.ManagedObject, kb *core.KeyBlock) (core.KeySpec, error) {
	if err := rules.MatchKey(o, &core.Normalized{}, kb); err != nil {
		return core.KeySpec{}, err
	}
	if !o.Attributes.Has(core.TagCryptographicLength) && (o.Type != core.ObjectTypePrivateKey || !o.Attributes.Has(core.TagCryptographicDomainParameters)) {
		return core.KeySpec{}, core.Errorf(core.InvalidField, "a wrapped key needs its Cryptographic Length, or its curve")
	}
	specOf := rules.SymmetricSpec
	if o.Type == core.ObjectTypePrivateKey {
		specOf = func(o *core.ManagedObject) (core.KeySpec, error) { return rules.PairSpec(o, true) } // it was made elsewhere
	}
	spec, err := specOf(o)
	if err == nil && !o.Attributes.Has(core.TagCryptographicLength) {
		o.Attributes = o.Attributes.Set(core.TagCryptographicLength, core.Int(int32(spec.Bits)))
	}
	return spec, err
}
