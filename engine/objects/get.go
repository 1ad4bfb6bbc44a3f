package objects

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Get returns an object with its value (KMIP 1.4 §4.11, 2.1 §6.1.19). The value of a
// class N object is never returned. That of a class X object is returned only wrapped,
// as a Key Wrapping Specification asks.
func (v *Verbs) Get(ctx context.Context, c *core.Caller, in *core.GetInput) (core.GetOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionGet, in, get)
}

func get(k *engine.Call, in *core.GetInput) (core.GetOutput, error) {
	o, err := k.FindObject(in.ID)
	if err != nil {
		return core.GetOutput{}, err
	}
	if err := k.Require(o, engine.NotDestroyed); err != nil {
		return core.GetOutput{}, err
	}
	if isCompressed(in.Compression) {
		return core.GetOutput{}, core.Errorf(core.KeyCompressionTypeNotSupported, "Key Compression Type %v is not supported: public keys are returned uncompressed; leave the field out", in.Compression)
	}
	if in.Format != 0 && !hasFormat(o, in.Format) {
		return core.GetOutput{}, core.Errorf(core.KeyFormatTypeNotSupported, "a %v has no Key Format Type %v; leave the field out", o.Type, in.Format)
	}
	if in.WrapType == core.KeyWrapTypeAsRegistered {
		return core.GetOutput{}, core.Errorf(core.KeyWrapTypeNotSupported, "objects are not kept as they were wrapped; ask with a Key Wrapping Specification")
	}
	out := &k.GetOutput
	*out = core.GetOutput{ObjectType: o.Type, ID: o.ID}
	out.Object.Type = o.Type
	if in.Specification != nil {
		err = getWrapped(k, o, in, out)
	} else {
		err = getClear(k, o, in, out)
	}
	if err != nil {
		return core.GetOutput{}, err
	}
	clearFresh(k, o)
	return *out, nil
}

// hasFormat reports whether the value of o can have a Key Format Type. Only keys have
// one, and X.509 certificates, whose format is X.509.
func hasFormat(o *core.ManagedObject, f core.KeyFormatType) bool {
	switch o.Type {
	case core.ObjectTypeOpaqueObject, core.ObjectTypeTemplate:
		return false
	case core.ObjectTypeCertificate:
		return f == core.KeyFormatTypeX509 && core.CertificateType(o.Attributes.Num(core.TagCertificateType)) == core.CertificateTypeX509
	}
	return true
}

// isCompressed reports whether a Key Compression Type asks for a compressed public key.
// The default is uncompressed (KMIP 1.4 §2.1.3, 2.1 §3.1).
func isCompressed(t core.KeyCompressionType) bool {
	return t != 0 && t != core.KeyCompressionTypeECPublicKeyTypeUncompressed
}

// getClear writes the clear value into the answer. out.Secret owns the bytes.
func getClear(k *engine.Call, o *core.ManagedObject, in *core.GetInput, out *core.GetOutput) error {
	if o.Type == core.ObjectTypeTemplate {
		if err := k.ReserveMemory(engine.AnswerBytes(o)); err != nil {
			return err
		}
		out.Object.Template = rules.TemplateContent(o)
		return nil
	}
	if err := rules.CheckMayLeave(o, false); err != nil {
		return err
	}
	if err := revealClear(k, o, out); err != nil {
		return err
	}
	return shapeAnswer(k, o, in.Format, out)
}

// revealClear puts the clear bytes into out.Secret, which is zeroed if the operation
// fails.
func revealClear(k *engine.Call, o *core.ManagedObject, out *core.GetOutput) error {
	if err := k.LoadKeysOf(o); err != nil {
		return err
	}
	if err := k.ReserveMemory(max(o.Material.Length, len(o.Material.Blob), len(o.Material.TTLV))); err != nil {
		return err
	}
	s := k.NewSecret()
	out.Secret = s
	b, err := k.Ports.HSM.Clear(k.Ctx, o.Key(), s.Bytes()[:0])
	if err != nil {
		return err
	}
	s.Set(b)
	return nil
}

// shapeAnswer puts the clear bytes into the fields of the object's type, in the format
// that the client asks for; 0 is the format that is stored.
func shapeAnswer(k *engine.Call, o *core.ManagedObject, format core.KeyFormatType, out *core.GetOutput) error {
	value, body := out.Secret.Bytes(), &out.Object
	switch o.Type {
	case core.ObjectTypeOpaqueObject:
		body.OpaqueDataType, body.OpaqueData = uint32(o.Attributes.Num(core.TagOpaqueDataType)), value
		return nil
	case core.ObjectTypeCertificate:
		body.CertificateType, body.CertificateValue = core.CertificateType(o.Attributes.Num(core.TagCertificateType)), value
		return nil
	case core.ObjectTypeSecretData:
		body.SecretDataType = core.SecretDataType(o.Attributes.Num(core.TagSecretDataType))
	}
	if format == 0 {
		format = o.Material.Format
	}
	// The key block of Secret Data has no algorithm and length (KMIP 1.4 §2.1.3: they
	// may be left out if the value shows them).
	if o.Type != core.ObjectTypeSecretData {
		body.KeyBlock.Algorithm, body.KeyBlock.Length = o.Algorithm(), int32(o.Attributes.Num(core.TagCryptographicLength))
	}
	if keptAsStructure(o.Material.Kind, o.Material.Format) && format == o.Material.Format {
		body.KeyBlock.Format = format
		return k.Ports.Formats.DecodeKeyValue(value, &body.KeyBlock, k.Caller.Version)
	}
	return k.Ports.Formats.Render(value, &o.Material, o.Algorithm(), format, &body.KeyBlock)
}

// clearFresh sets Fresh to false, because the object has been returned to a client. If
// the object was changed in the meantime, Get does not fail: the next Get tries again.
func clearFresh(k *engine.Call, o *core.ManagedObject) {
	if !o.Attributes.Bool(core.TagFresh) {
		return
	}
	next := o.Successor()
	next.Version++
	next.Attributes = o.Attributes.Set(core.TagFresh, core.Bool(false))
	if k.Commit(core.ChangeOf(core.UpdateObject{Object: next})) == nil {
		k.NoteUndo(o, next)
	}
}
