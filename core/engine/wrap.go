package engine

import (
	"github.com/keyreeve/keyreeve/core"
)

// getWrapped fills the answer with the object wrapped under another key of the
// server (KMIP 1.4 §2.1.6). TTLV Encoding, the default, is possible for class
// C and for registered class X keys; else the answer is Encoding Option Error.
func (k *call) getWrapped(o *core.ManagedObject, in *core.GetInput, out *core.GetOutput) error {
	spec := in.Specification
	if !wrappable(o) {
		return core.Errorf(core.IllegalOperation, "a %v is not wrapped by Get; leave the Key Wrapping Specification out", o.Type)
	}
	if err := mayLeave(o, true); err != nil {
		return err
	}
	with, p, err := k.wrappingKey(spec.Method, spec.Encryption, spec.MACSignature, core.MaskWrapKey, true)
	if err != nil {
		return err
	}
	if err := k.keysOf(o); err != nil {
		return err
	}
	if err := k.room(max(o.Material.Length, len(o.Material.Blob), len(o.Material.TTLV))); err != nil {
		return err
	}
	kb := &out.Object.KeyBlock
	if spec.Encoding == core.EncodingOptionNoEncoding {
		err = k.wrapBytes(o, with, p, in, kb)
	} else {
		err = k.wrapTTLV(o, with, p, in, out)
	}
	if err != nil {
		return err
	}
	if o.Type == core.ObjectTypeSecretData {
		out.Object.SecretDataType = core.SecretDataType(o.Attributes.Num(core.TagSecretDataType))
	}
	kb.Material, kb.Transparent, kb.Attributes = nil, nil, nil
	kb.Algorithm, kb.Length = o.Algorithm(), int32(o.Attributes.Num(core.TagCryptographicLength))
	kb.Wrapping = &core.KeyWrappingData{Method: spec.Method, Encryption: spec.Encryption, Encoding: spec.Encoding}
	k.record.Where = "token"
	if with.Type == core.ObjectTypePublicKey && o.Material.Class == core.ClassC {
		k.record.Where = "memory" // see HSM.WrapOut
	}
	k.record.Detail = "wrapped under " + with.ID
	return nil
}

func wrappable(o *core.ManagedObject) bool {
	return o.Type == core.ObjectTypeSymmetricKey || o.Type == core.ObjectTypePrivateKey || o.Type == core.ObjectTypeSecretData || o.Type == core.ObjectTypePublicKey
}

// wrapBytes wraps the bytes of the key itself (No Encoding).
func (k *call) wrapBytes(o, with *core.ManagedObject, p core.CryptographicParameters, in *core.GetInput, kb *core.KeyBlock) (err error) {
	if len(in.Specification.AttributeNames) > 0 {
		return core.Errorf(core.EncodingOptionError, "attributes can be wrapped with Encoding Option TTLV Encoding alone")
	}
	if keptAsStructure(o.Material.Kind, o.Material.Format) {
		return core.Errorf(core.EncodingOptionError, "object %s is a structure; ask for it with Encoding Option TTLV Encoding", o.ID)
	}
	if in.Format != 0 && in.Format != o.Material.Format {
		return core.Errorf(core.KeyFormatTypeNotSupported, "object %s is wrapped as %v, the format it is kept in", o.ID, o.Material.Format)
	}
	if err := k.consume(with, wrappedLength(o), nil); err != nil {
		return err
	}
	kb.Format = o.Material.Format
	kb.Wrapped, err = k.ports.HSM.WrapOut(k.ctx, o.Key(), with.Key(), p, nil)
	return err
}

// wrappedLength is how many bytes of o a wrapping key protects, as far as they
// are known outside the token.
func wrappedLength(o *core.ManagedObject) int {
	return max(o.Material.Length, int(o.Attributes.Num(core.TagCryptographicLength)+7)/8)
}

// wrapTTLV wraps the Key Value as a TTLV structure.
func (k *call) wrapTTLV(o, with *core.ManagedObject, p core.CryptographicParameters, in *core.GetInput, out *core.GetOutput) error {
	kb := &out.Object.KeyBlock
	if o.Material.Class == core.ClassX {
		if o.Material.TTLV == nil || len(in.Specification.AttributeNames) > 0 || (in.Format != 0 && in.Format != o.Material.Format) {
			return core.Errorf(core.EncodingOptionError, "object %s is Sensitive and was made in the HSM, which wraps key bytes alone; ask with Encoding Option No Encoding", o.ID)
		}
		if err := k.consume(with, wrappedLength(o), nil); err != nil {
			return err
		}
		kb.Format = o.Material.Format
		var err error
		kb.Wrapped, err = k.ports.HSM.WrapOut(k.ctx, o.Key(), with.Key(), p, []byte{})
		return err
	}
	if err := k.reveal(o, out); err != nil {
		return err
	}
	if err := k.shape(o, in.Format, out); err != nil {
		return err
	}
	var err error
	if kb.Attributes, err = k.named(o, in.Specification.AttributeNames); err != nil {
		return err
	}
	value, err := k.ports.Formats.EncodeKeyValue(nil, kb, k.caller.Version)
	if err != nil {
		return err
	}
	defer clear(value)
	if err := k.consume(with, len(value), nil); err != nil {
		return err
	}
	kb.Wrapped, err = k.ports.HSM.WrapOut(k.ctx, o.Key(), with.Key(), p, value)
	return err
}

// wrappingKey finds and checks the key that wraps or unwraps: the caller must
// be allowed to use it as it would for Encrypt or Decrypt, its mask and state
// must allow it, and the method must be one that the token can do.
func (k *call) wrappingKey(m core.WrappingMethod, info, mac *core.WrappingKeyInfo, mask core.UsageMask, protect bool) (*core.ManagedObject, core.CryptographicParameters, error) {
	var p core.CryptographicParameters
	if m != core.WrappingMethodEncrypt || mac != nil {
		return nil, p, core.Errorf(core.FeatureNotSupported, "keys are wrapped by Wrapping Method Encrypt alone, without MAC or signature")
	}
	if info == nil || info.ID == "" {
		return nil, p, core.Errorf(core.InvalidField, "the Encryption Key Information names no wrapping key")
	}
	k.involve(printable(info.ID), core.RoleWrappingKey)
	with, err := k.load(info.ID)
	if err != nil {
		if core.CodeOf(err) == core.ItemNotFound {
			err = core.Errorf(core.WrappingObjectNotFound, "no object has the Unique Identifier %s of the wrapping key", printable(info.ID))
		}
		return nil, p, err
	}
	if !protect {
		if with, err = k.privateHalf(with); err != nil {
			return nil, p, err
		}
		k.involve(with.ID, core.RoleWrappingKey)
	}
	action, check := core.ActionEncrypt, protects
	if !protect {
		action, check = core.ActionDecrypt, k.engine.processes
	}
	if _, err := k.decide(action, with); err != nil {
		return nil, p, err
	}
	if err := checkMask(with, mask); err != nil {
		return nil, p, err
	}
	if with.StateAt(k.now).Gone() {
		return nil, p, core.Errorf(core.WrappingObjectDestroyed, "the wrapping key %s is destroyed", with.ID)
	}
	if err := check(with, k.now); err != nil {
		return nil, p, err
	}
	if protect && !offers(with, info.Parameters) {
		return nil, p, core.Errorf(core.BadCryptographicParameters, "the wrapping key %s has Cryptographic Parameters, and none of them are those of the Key Wrapping Specification", with.ID)
	}
	if err := k.keysOf(with); err != nil {
		return nil, p, err
	}
	k.grant(core.RoleWrappingKey, action, with.ID, check)
	p = k.parameters(info.Parameters, with)
	s := &schemeWrap
	if with.Type != core.ObjectTypeSymmetricKey {
		s = cipherScheme(with, &p)
	}
	if err := s.checkAsked(info.Parameters, with); err != nil {
		return nil, p, err
	}
	if p.BlockCipherMode == 0 && with.Type == core.ObjectTypeSymmetricKey {
		p.BlockCipherMode = core.BlockCipherModeNISTKeyWrap
	}
	return with, p, nil
}

// privateHalf is the private key that unwraps where a client names the public key
// that it wrapped under; any other key is itself.
func (k *call) privateHalf(with *core.ManagedObject) (*core.ManagedObject, error) {
	if with.Type != core.ObjectTypePublicKey {
		return with, nil
	}
	for _, a := range with.Attributes.All(core.AttributeName{Tag: core.TagLink}) {
		if l := core.LinkOf(a.Value); l.Type == core.LinkTypePrivateKeyLink {
			return k.load(l.ID)
		}
	}
	return nil, core.Errorf(core.IllegalOperation, "the wrapping key %s is a public key without a Link to its private key, which unwraps", with.ID)
}

// offers reports whether the wrapping key has the Cryptographic Parameters that
// are asked for (KMIP 1.4 §2.1.6). A key that has none is taken at the client's
// word, since many clients give their wrapping keys none.
func offers(o *core.ManagedObject, asked *core.CryptographicParameters) bool {
	if asked == nil || !o.Attributes.Has(core.TagCryptographicParameters) {
		return true
	}
	f := core.Filter{Attributes: core.Attributes{{Tag: core.TagCryptographicParameters, Value: core.Structure(asked.Fields()...)}}}
	return f.Matches(o)
}

// checkMask refuses a use that the Cryptographic Usage Mask does not list.
func checkMask(o *core.ManagedObject, need core.UsageMask) error {
	if o.Mask()&need != need {
		return core.Errorf(core.IncompatibleUsageMask, "the Cryptographic Usage Mask of object %s does not allow %v", o.ID, need)
	}
	return nil
}
