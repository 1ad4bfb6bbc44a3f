package objects

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// ttlvNeedsClassC says why only a class C key may come with TTLV Encoding.
const ttlvNeedsClassC = "a wrapped key that shall be Sensitive or not Extractable can be registered with Encoding Option No Encoding alone: the HSM unwraps key bytes, not a structure around them"

// openKeyValue unwraps a Key Value with TTLV Encoding, the default, and writes it into
// the key block, attributes included. It returns the clear bytes, which the key block
// refers to and the caller must retire. They are clear in this process, so only class C
// is allowed. It does nothing for a Key Value without TTLV Encoding.
func openKeyValue(k *engine.Call, in *core.RegisterInput) ([]byte, error) {
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
	const overhead = 8 // bytes, of RFC 3394
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
	bits := 8 * max(0, len(kb.Wrapped)-overhead)
	if with.Type == core.ObjectTypePrivateKey {
		bits = 0 // not known for RSA
		if p.PaddingMethod == core.PaddingMethodPKCS1V1_5 {
			return nil, core.Errorf(core.EncodingOptionError, "PKCS#1 v1.5 unwraps with Encoding Option No Encoding alone")
		}
	}
	tenant := k.Caller.Principal.Tenant
	if err := k.Engine.Tenants.Load(k.Ctx, tenant); err != nil {
		return nil, err
	}
	passing := core.Key{Tenant: tenant, ID: engine.NewID(), Type: core.ObjectTypeSymmetricKey}
	m, _, err := k.Ports.HSM.ImportWrapped(k.Ctx, passing, core.KeySpec{Kind: core.KeyGeneric, Class: class, Mode: core.ModeWrapped, Format: core.KeyFormatTypeRaw,
		Bits: bits}, with.Key(), p, kb.Wrapped)
	if err != nil {
		return nil, err
	}
	defer core.Retire(m.Blob) // it is sealed, and not needed again
	passing.Material = &m
	defer k.Ports.HSM.Forget(tenant, passing.ID)
	ttlv, err := k.Ports.HSM.Clear(k.Ctx, passing, make([]byte, 0, len(kb.Wrapped)))
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
	if spec.Class, err = chooseCustody(k, o, false); err != nil {
		return err
	}
	if err := chooseMode(k, o, &spec); err != nil {
		return err
	}
	var facts core.KeyFacts
	if o.Material, facts, err = k.Ports.HSM.ImportWrapped(k.Ctx, o.Key(), spec, with.Key(), p, kb.Wrapped); err != nil {
		return err
	}
	k.Record.ExecutedIn = facts.ExecutedIn
	o.Attributes = o.Attributes.Set(core.TagKeyFormatType, core.Enum(o.Material.Format))
	setDigest(o, facts.SHA256)
	return nil
}

// wrappedSpec returns the specification of a wrapped key. Algorithm and length are those
// that the client gives, because the bytes cannot be read.
func wrappedSpec(o *core.ManagedObject, kb *core.KeyBlock) (core.KeySpec, error) {
	if err := rules.MatchKey(o, &core.Normalized{}, kb); err != nil {
		return core.KeySpec{}, err
	}
	if !o.Attributes.Has(core.TagCryptographicLength) {
		return core.KeySpec{}, core.Errorf(core.InvalidField, "a wrapped key needs its Cryptographic Length")
	}
	if o.Type == core.ObjectTypePrivateKey {
		return rules.PairSpec(o)
	}
	return rules.SymmetricSpec(o)
}
