package objects

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// Verbs on bytes that are no key of the server: derived from a key, wrapped under it or unwrapped
// with it. KMIP does not have them. Bytes that leave in clear need the right to Export Clear
// besides, and a key of class C: its own bytes could leave too. What a key of class N or X has
// wrapped can be a key of class X, which never leaves in clear.

// Bounds in bytes.
const (
	maxDerivedBytes = 4096
	maxWrappedBytes = 64 * 1024
)

// DeriveBytes derives bytes from a key and returns them in clear.
func (v *Verbs) DeriveBytes(ctx context.Context, c *core.Caller, in *operation.DeriveBytesInput) (operation.SecretOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionDeriveKey, in, deriveBytes)
}

func deriveBytes(k *engine.Call, in *operation.DeriveBytesInput) (out operation.SecretOutput, err error) {
	k.StateCheck = k.UseCheck(true)
	bases, err := findBases(k, []core.Identifier{in.ID})
	if err != nil {
		return out, err
	}
	base := bases[0]
	if err := decideClear(k, base); err != nil {
		return out, err
	}
	if in.Length < 1 || in.Length > maxDerivedBytes {
		return out, core.Errorf(core.InvalidField, "%d bytes cannot be derived in clear, but 1 to %d", in.Length, maxDerivedBytes)
	}
	p, err := planDerivation(k, &operation.DeriveKeyInput{ObjectType: core.ObjectTypeSecretData, Method: in.Method, Parameters: in.Parameters}, bases)
	if err != nil {
		return out, err
	}
	key, err := p.keys(k)
	if err == nil {
		err = p.markBase(k)
	}
	if err == nil {
		err = k.Consume(base, in.Length, nil)
	}
	if err != nil {
		return out, err
	}
	s := k.NewSecret()
	s.Set(append(s.Bytes()[:0], make([]byte, in.Length)...))
	k.Record.Detail = "derived bytes in clear by " + in.Method.String()
	if k.Record.ExecutedIn, err = k.Ports.HSM.DeriveBytes(k.Ctx, key, &p.Derivation, s.Bytes()); err != nil {
		return out, err
	}
	return secretOf(base, s), nil
}

func secretOf(o *core.ManagedObject, s *core.Secret) operation.SecretOutput {
	return operation.SecretOutput{ID: o.ID, Family: o.Family(), Version: o.FamilyVersion(), Secret: s}
}

// decideClear asks the policy for Export Clear, and refuses a key whose bytes do not leave.
func decideClear(k *engine.Call, o *core.ManagedObject) error {
	defer func(asked core.Asked) { k.Asked = asked }(k.Asked)
	k.Asked = core.Asked{Wrapped: &inClear}
	if _, err := k.Decide(core.ActionExportClear, o); err != nil {
		return err
	}
	k.AddGrant(core.RoleTarget, core.ActionExportClear, o.ID, mayLeaveInClear)
	return mayLeaveInClear(o, k.Now)
}

// mayLeaveInClear refuses what a key of class N or X derives or unwraps.
func mayLeaveInClear(o *core.ManagedObject, _ int64) error {
	if class := o.Material.Class; class != core.ClassC {
		return core.Errorf(core.Sensitive, "object %s is of class %s, and what it derives or unwraps does not leave in clear; make a key of it", o.ID, class)
	}
	return nil
}

// WrapBytes wraps bytes under a key. The caller must be allowed to Encrypt with it, as for Get
// with a Key Wrapping Specification.
func (v *Verbs) WrapBytes(ctx context.Context, c *core.Caller, in *operation.WrapBytesInput) (operation.WrapBytesOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionEncrypt, in, wrapGivenBytes)
}

func wrapGivenBytes(k *engine.Call, in *operation.WrapBytesInput) (out operation.WrapBytesOutput, err error) {
	with, p, err := targetWrappingKey(k, in, core.MaskWrapKey, true)
	if err != nil {
		return out, err
	}
	if len(in.Data) == 0 || len(in.Data) > maxWrappedBytes {
		return out, core.Errorf(core.InvalidField, "%d bytes cannot be wrapped, but 1 to %d", len(in.Data), maxWrappedBytes)
	}
	if err := k.Consume(with, len(in.Data), nil); err != nil {
		return out, err
	}
	key, err := engine.KeyFor(k, with)
	if err != nil {
		return out, err
	}
	k.Record.Detail = "wrapped bytes of the request"
	out.ID = with.ID
	out.Data, k.Record.ExecutedIn, err = k.Ports.HSM.WrapBytes(k.Ctx, key, p, in.Data)
	return out, err
}

// UnwrapBytes unwraps bytes with a key and returns them in clear.
func (v *Verbs) UnwrapBytes(ctx context.Context, c *core.Caller, in *operation.WrapBytesInput) (operation.SecretOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionDecrypt, in, unwrapBytes)
}

func unwrapBytes(k *engine.Call, in *operation.WrapBytesInput) (out operation.SecretOutput, err error) {
	with, p, err := targetWrappingKey(k, in, core.MaskUnwrapKey, false)
	if err != nil {
		return out, err
	}
	if err := decideClear(k, with); err != nil {
		return out, err
	}
	if len(in.Data) > maxWrappedBytes {
		return out, core.Errorf(core.InvalidField, "%d bytes cannot be unwrapped, but at most %d", len(in.Data), maxWrappedBytes)
	}
	s := k.NewSecret()
	b, err := unwrapInClear(k, with, p, in.Data, s.Bytes()[:0])
	s.Set(b)
	if err != nil {
		return out, err
	}
	k.Record.Detail, k.Record.ExecutedIn = "unwrapped bytes in clear", "token"
	return secretOf(with, s), nil
}

// targetWrappingKey is [wrappingKey] for a request whose only object is the wrapping key.
func targetWrappingKey(k *engine.Call, in *operation.WrapBytesInput, mask core.UsageMask, protect bool) (*core.ManagedObject, core.CryptographicParameters, error) {
	k.Record.Object = engine.ReferenceText(in.ID)
	with, p, err := wrappingKey(k, core.WrappingMethodEncrypt, &core.WrappingKeyInfo{Key: &in.ID, Parameters: in.Parameters}, nil, mask, protect)
	if err == nil {
		k.Record.Object = with.ID
		k.Record.Involved = slices.DeleteFunc(k.Record.Involved, func(o core.InvolvedObject) bool { return o.ID == with.ID })
	}
	return with, p, err
}

// unwrapInClear appends the bytes that a key has wrapped to dst. On their way they are a key of
// class C.
func unwrapInClear(k *engine.Call, with *core.ManagedObject, p core.CryptographicParameters, wrapped, dst []byte) ([]byte, error) {
	const overhead = 8 // bytes, of RFC 3394
	bits := 8 * max(0, len(wrapped)-overhead)
	if with.Type == core.ObjectTypePrivateKey {
		bits = 0 // not known for RSA
		if p.PaddingMethod == core.PaddingMethodPKCS1V1_5 {
			return dst, core.Errorf(core.EncodingOptionError, "PKCS#1 v1.5 unwraps into new keys alone, with Encoding Option No Encoding")
		}
	}
	tenant := k.Caller.Principal.Tenant
	if err := k.Engine.Tenants.Load(k.Ctx, tenant); err != nil {
		return dst, err
	}
	passing := core.Key{Tenant: tenant, ID: engine.NewID(), Type: core.ObjectTypeSymmetricKey}
	m, _, err := k.Ports.HSM.ImportWrapped(k.Ctx, passing, core.KeySpec{Kind: core.KeyGeneric, Class: core.ClassC, Mode: core.ModeWrapped, Format: core.KeyFormatTypeRaw,
		Bits: bits}, with.Key(), p, wrapped)
	if err != nil {
		return dst, err
	}
	defer core.Retire(m.Blob) // it is sealed, and not needed again
	passing.Material = &m
	defer k.Ports.HSM.Forget(tenant, passing.ID)
	if cap(dst)-len(dst) < len(wrapped) {
		dst = append(make([]byte, 0, len(dst)+len(wrapped)), dst...)
	}
	return k.Ports.HSM.Clear(k.Ctx, passing, dst)
}
