package engine

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// Register keeps an object that the client brings (KMIP 1.4 §4.3, 2.1 §6.1.43).
func (e *Engine) Register(ctx context.Context, c *core.Caller, in *core.RegisterInput) (core.RegisterOutput, error) {
	return run(e, ctx, c, core.ActionRegister, in, (*call).register)
}

func (k *call) register(in *core.RegisterInput) (out core.RegisterOutput, err error) {
	if _, err := k.decide(k.action, nil); err != nil {
		return out, err
	}
	k.storage = in.ProtectionMasks
	opened, err := k.open(in)
	defer func() { core.Retire(opened) }()
	if err != nil {
		return out, err
	}
	given, err := k.registered(in)
	if err != nil {
		return out, err
	}
	o, err := k.newborn(in.ObjectType, given)
	if err != nil {
		return out, err
	}
	k.record.Object = o.ID
	if err := k.takeIn(o, in); err != nil {
		return out, err
	}
	if opened != nil && o.Material.Class != core.ClassC { // as the attributes inside ask
		return out, core.Errorf(core.EncodingOptionError, notOpened)
	}
	if err := k.bear(core.ChangeOf(core.InsertObject{Object: o})); err != nil {
		return out, err
	}
	return core.RegisterOutput{ID: o.ID}, nil
}

// registered checks the request's attributes. Before KMIP 1.2 those of a Template
// are its content too.
func (k *call) registered(in *core.RegisterInput) (core.Attributes, error) {
	if in.Object.Type != in.ObjectType {
		return nil, core.Errorf(core.InvalidField, "the Object Type is %v and the object is a %v", in.ObjectType, in.Object.Type)
	}
	given := in.Attributes
	if in.ObjectType == core.ObjectTypeTemplate && k.caller.Version < core.V1_2 {
		given = append(append(core.Attributes{}, given...), in.Object.Template...)
	}
	given, err := withinKeyValue(given, in.Object.KeyBlock.Attributes)
	if err != nil {
		return nil, err
	}
	return k.template(given, in.TemplateNames)
}

// withinKeyValue adds the attributes that stand in the Key Value to those of the
// request (KMIP 1.4 §2.1.4). Where both give an attribute that has one value, they
// must say the same: a key that is Sensitive inside must not become one that
// leaves in clear.
func withinKeyValue(given, inside core.Attributes) (core.Attributes, error) {
	out := given[:len(given):len(given)]
	for _, a := range inside {
		same := out.All(a.Ref())
		switch {
		case slices.ContainsFunc(same, func(b core.Attribute) bool { return b.Value.Equal(a.Value) }):
		case len(same) > 0 && !several(a.Ref()):
			return nil, core.Errorf(core.InvalidField, "the attribute %s in the Key Value differs from that of the request; give it once, or the same", printable(a.Ref().String()))
		default:
			out = append(out, a)
		}
	}
	return out, nil
}

// takeIn fills in what the object's own kind brings: attributes and material.
func (k *call) takeIn(o *core.ManagedObject, in *core.RegisterInput) error {
	switch in.ObjectType {
	case core.ObjectTypeSymmetricKey, core.ObjectTypePublicKey, core.ObjectTypePrivateKey, core.ObjectTypeSecretData:
		return k.takeKey(o, in)
	case core.ObjectTypeCertificate:
		return k.takeCertificate(o, &in.Object)
	case core.ObjectTypeOpaqueObject:
		if in.Object.OpaqueData == nil {
			return core.Errorf(core.InvalidField, "the Opaque Object has no Opaque Data Value")
		}
		o.Attributes = o.Attributes.Set(core.TagOpaqueDataType, core.Enum(in.Object.OpaqueDataType))
		return k.takeData(o, in.Object.OpaqueData, core.KeyFormatTypeOpaque)
	case core.ObjectTypeTemplate:
		if k.caller.Version >= core.V2_0 {
			return core.Errorf(core.InvalidObjectType, "KMIP 2 has no Templates")
		}
		if k.caller.Version >= core.V1_2 {
			return k.keepContent(o, in.Object.Template)
		}
		return nil
	}
	return core.Errorf(core.InvalidObjectType, "%v objects cannot be registered here; see docs/KMIP.md for those that can", in.ObjectType)
}

// takeKey keeps a key or Secret Data that comes in a key block.
func (k *call) takeKey(o *core.ManagedObject, in *core.RegisterInput) error {
	if in.ObjectType != core.ObjectTypeSecretData && !o.Attributes.Has(core.TagCryptographicUsageMask) {
		return core.Errorf(core.InvalidField, "Register of a key needs a Cryptographic Usage Mask")
	}
	if in.ObjectType == core.ObjectTypeSecretData {
		o.Attributes = o.Attributes.Set(core.TagSecretDataType, core.Enum(in.Object.SecretDataType))
	}
	kb := &in.Object.KeyBlock
	if kb.Wrapping != nil {
		return k.takeWrapped(o, kb)
	}
	class, err := k.classOfRegistered(o)
	if err != nil {
		return err
	}
	said := *kb
	if said.Algorithm == 0 { // which may stand in the attributes alone
		said.Algorithm = o.Algorithm()
	}
	n, err := k.normalize(in.ObjectType, &said, class)
	if err != nil {
		return err
	}
	defer core.Retire(n.Bytes)
	if err := agree(o, &n, kb); err != nil {
		return err
	}
	spec := core.KeySpec{Kind: n.Kind, Class: class, Bits: n.Length, Curve: n.Curve, Format: n.Format}
	if spec.Registered, err = k.asRegistered(kb); err != nil {
		return err
	}
	if kb.Transparent != nil {
		defer core.Retire(spec.Registered)
	}
	if err := k.place(o, &spec); err != nil {
		return err
	}
	if spec.Class == core.ClassX && (spec.Mode == core.ModeWrapped || o.Type == core.ObjectTypeSecretData) {
		plain := *kb
		plain.Attributes = nil
		if spec.TTLV, err = k.ports.Formats.EncodeKeyValue(nil, &plain, k.caller.Version); err != nil {
			return err
		}
		defer core.Retire(spec.TTLV)
	}
	var facts core.KeyFacts
	if o.Material, facts, err = k.ports.HSM.Import(k.ctx, o.Key(), spec, n.Bytes); err != nil {
		return err
	}
	k.record.Where = facts.Where
	o.Attributes = o.Attributes.Set(core.TagKeyFormatType, core.Enum(o.Material.Format))
	setDigest(o, facts.SHA256)
	return nil
}

// normalize brings key material to the form that is kept. A structure that is not read
// here is kept as its Key Value in TTLV; see shape.
func (k *call) normalize(t core.ObjectType, kb *core.KeyBlock, class core.Class) (core.Normalized, error) {
	n, err := k.ports.Formats.Normalize(t, kb, class)
	if err == nil && n.Bytes == nil && keptAsStructure(n.Kind, n.Format) {
		n.Bytes, err = k.ports.Formats.EncodeKeyValue(nil, &core.KeyBlock{Transparent: kb.Transparent}, k.caller.Version)
	}
	return n, err
}

// keptAsStructure reports whether what is kept is a Key Value whose Key Material is a
// structure: a Transparent key pair that is not read here.
func keptAsStructure(kind core.KeyKind, f core.KeyFormatType) bool {
	return kind == core.KeyData && f > core.KeyFormatTypeTransparentSymmetricKey && f <= core.KeyFormatTypeTransparentECPublicKey
}

// asRegistered is the Key Material of a key block: its bytes, or its TTLV where it
// is a structure, in a buffer of its own that the caller zeroes (KMIP 1.4 §3.17).
func (k *call) asRegistered(kb *core.KeyBlock) ([]byte, error) {
	if kb.Transparent == nil {
		return kb.Material, nil
	}
	const header = 8 // bytes, of the Key Value around the Key Material
	value, err := k.ports.Formats.EncodeKeyValue(nil, &core.KeyBlock{Transparent: kb.Transparent}, k.caller.Version)
	if err != nil {
		clear(value)
		return nil, err
	}
	return value[header:], nil
}

// classOfRegistered is custody for what comes from outside; a public key is
// public whatever is asked.
func (k *call) classOfRegistered(o *core.ManagedObject) (core.Class, error) {
	if o.Type != core.ObjectTypePublicKey {
		return k.custody(o, false)
	}
	if err := openly(o.Attributes); err != nil {
		return "", err
	}
	if !permitted(k.storage, core.ClassC) {
		return "", core.Errorf(core.ProtectionStorageUnavailable, "the storage of public keys is %v, which no Protection Storage Mask of the request allows", protection(core.ClassC))
	}
	o.Attributes = o.Attributes.Set(core.TagSensitive, core.Bool(false)).Set(core.TagExtractable, core.Bool(true)).
		Set(core.TagAlwaysSensitive, core.Bool(false)).Set(core.TagNeverExtractable, core.Bool(false))
	setProtection(o, core.ClassC)
	return core.ClassC, nil
}

// openly refuses attributes of a public key that would keep it from being read.
func openly(as core.Attributes) error {
	if as.Bool(core.TagSensitive) || (as.Has(core.TagExtractable) && !as.Bool(core.TagExtractable)) {
		return core.Errorf(core.InvalidField, "a public key is kept so that it can be read, so Sensitive and not Extractable have no effect; leave them out")
	}
	return nil
}

// takeData seals bytes that are no key under the tenant's D.
func (k *call) takeData(o *core.ManagedObject, data []byte, f core.KeyFormatType) error {
	class, err := k.custody(o, false)
	if err != nil {
		return err
	}
	spec := core.KeySpec{Kind: core.KeyData, Class: class, Format: f}
	if err := k.place(o, &spec); err != nil {
		return err
	}
	var facts core.KeyFacts
	if o.Material, facts, err = k.ports.HSM.Import(k.ctx, o.Key(), spec, data); err != nil {
		return err
	}
	k.record.Where = facts.Where
	setDigest(o, facts.SHA256)
	return nil
}

// notOpened is why TTLV Encoding is for class C alone.
const notOpened = "a wrapped key that shall be Sensitive or not Extractable can be registered with Encoding Option No Encoding alone: the HSM unwraps key bytes, not a structure around them"

// open unwraps a Key Value that came with TTLV Encoding, the default, and fills
// the key block from it, attributes included; the block aliases what is
// returned. The token unwraps it as bytes, so it is clear here, and only class C
// may be that. What comes in another way is left as it is.
func (k *call) open(in *core.RegisterInput) ([]byte, error) {
	kb := &in.Object.KeyBlock
	w := kb.Wrapping
	if w != nil && (len(w.IV) > 0 || len(w.MAC) > 0) {
		return nil, core.Errorf(core.InvalidField, "the Key Wrapping Data has an IV/Counter/Nonce or a MAC/Signature, which keys are unwrapped without here; leave it out")
	}
	if w != nil && kb.Wrapped == nil {
		// Some clients put the wrapped bytes into a Key Value structure, where the
		// standard has a Byte String. Under No Encoding there is no doubt what they are.
		if w.Encoding != core.EncodingOptionNoEncoding || kb.Material == nil {
			return nil, core.Errorf(core.InvalidField, "a wrapped Key Value is a Byte String")
		}
		kb.Wrapped, kb.Material = kb.Material, nil
	}
	if w == nil || w.Encoding == core.EncodingOptionNoEncoding {
		return nil, nil
	}
	const overhead = 8 // bytes, of RFC 3394
	with, p, err := k.wrappingKey(w.Method, w.Encryption, w.MACSignature, core.MaskUnwrapKey, false)
	if err != nil {
		return nil, err
	}
	class, err := k.custody(&core.ManagedObject{Attributes: in.Attributes}, false)
	if err != nil {
		return nil, err
	}
	if class != core.ClassC {
		return nil, core.Errorf(core.EncodingOptionError, notOpened)
	}
	bits := 8 * max(0, len(kb.Wrapped)-overhead)
	if with.Type == core.ObjectTypePrivateKey {
		bits = 0 // RSA does not tell
		if p.PaddingMethod == core.PaddingMethodPKCS1V1_5 {
			return nil, core.Errorf(core.EncodingOptionError, "PKCS#1 v1.5 unwraps with Encoding Option No Encoding alone")
		}
	}
	tenant := k.caller.Principal.Tenant
	if err := k.engine.LoadTenant(k.ctx, tenant); err != nil {
		return nil, err
	}
	passing := core.Key{Tenant: tenant, ID: newID(), Type: core.ObjectTypeSymmetricKey}
	m, _, err := k.ports.HSM.ImportWrapped(k.ctx, passing, core.KeySpec{Kind: core.KeyGeneric, Class: class, Mode: core.ModeWrapped, Format: core.KeyFormatTypeRaw,
		Bits: bits}, with.Key(), p, kb.Wrapped)
	if err != nil {
		return nil, err
	}
	defer core.Retire(m.Blob) // under a key of the token, and nobody needs it again
	passing.Material = &m
	defer k.ports.HSM.Forget(tenant, passing.ID)
	ttlv, err := k.ports.HSM.Clear(k.ctx, passing, make([]byte, 0, len(kb.Wrapped)))
	if err != nil {
		return ttlv, err
	}
	kb.Wrapping, kb.Wrapped = nil, nil
	return ttlv, k.ports.Formats.DecodeKeyValue(ttlv, kb, k.caller.Version)
}

// takeWrapped keeps a key that comes wrapped under another key of the server;
// it is never clear on the way.
func (k *call) takeWrapped(o *core.ManagedObject, kb *core.KeyBlock) error {
	w := kb.Wrapping
	with, p, err := k.wrappingKey(w.Method, w.Encryption, w.MACSignature, core.MaskUnwrapKey, false)
	if err != nil {
		return err
	}
	spec, err := wrappedSpec(o, kb)
	if err != nil {
		return err
	}
	if spec.Class, err = k.custody(o, false); err != nil {
		return err
	}
	if err := k.place(o, &spec); err != nil {
		return err
	}
	var facts core.KeyFacts
	if o.Material, facts, err = k.ports.HSM.ImportWrapped(k.ctx, o.Key(), spec, with.Key(), p, kb.Wrapped); err != nil {
		return err
	}
	k.record.Where = facts.Where
	o.Attributes = o.Attributes.Set(core.TagKeyFormatType, core.Enum(o.Material.Format))
	setDigest(o, facts.SHA256)
	return nil
}

// wrappedSpec must take algorithm and length from what the client says: the
// bytes cannot be looked at.
func wrappedSpec(o *core.ManagedObject, kb *core.KeyBlock) (core.KeySpec, error) {
	if err := agree(o, &core.Normalized{}, kb); err != nil {
		return core.KeySpec{}, err
	}
	if !o.Attributes.Has(core.TagCryptographicLength) {
		return core.KeySpec{}, core.Errorf(core.InvalidField, "a wrapped key needs its Cryptographic Length")
	}
	if o.Type == core.ObjectTypePrivateKey {
		return pairSpec(o)
	}
	return symmetricSpec(o)
}
