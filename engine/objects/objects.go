// Package objects has the operations that make objects, return them and change their
// state: Create, Create Key Pair, Register, Derive Key, Re-key, Re-key Key Pair, Get, Activate, Revoke and
// Destroy. It also archives, disables and deletes objects so that this can be taken back.
//
// They run on the road of package engine. Only the HSM port makes and opens key bytes.
// No other package of the engine imports this one. Start at [Verbs.Create].
package objects

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct {
	engine *engine.Engine
	jobs   ImportJobs // nil: there are none
}

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs { return &Verbs{engine: e} }

// Activate makes a Pre-Active object Active (KMIP 1.4 §4.19, 2.1 §6.1.1).
func (v *Verbs) Activate(ctx context.Context, c *core.Caller, in *operation.ActivateInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionActivate, in, activate)
}

func activate(k *engine.Call, in *operation.ActivateInput) (operation.IDOutput, error) {
	out, _, err := moveState(k, in.ID, core.Activate, func(next *core.ManagedObject, _ *core.Change) error {
		next.Attributes = next.Attributes.Set(core.TagActivationDate, core.Date(k.Now))
		return nil
	}, nil)
	return out, err
}

// Revoke makes an object Deactivated or Compromised, depending on the reason (KMIP 1.4
// §4.20, 2.1 §6.1.44).
func (v *Verbs) Revoke(ctx context.Context, c *core.Caller, in *operation.RevokeInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionRevoke, in, revoke)
}

func revoke(k *engine.Call, in *operation.RevokeInput) (operation.IDOutput, error) {
	event := core.Deactivate
	if in.Code == core.RevocationReasonCodeKeyCompromise || in.Code == core.RevocationReasonCodeCACompromise {
		event = core.Compromise
	}
	if event == core.Deactivate && in.CompromiseOccurrence != nil {
		return operation.IDOutput{}, core.Errorf(core.InvalidField, "a Compromise Occurrence Date goes with Key Compromise and CA Compromise alone; leave it out, or give such a reason")
	}
	out, _, err := moveState(k, in.ID, event, func(next *core.ManagedObject, _ *core.Change) error {
		a := core.Attribute{Tag: core.TagRevocationReason, Value: core.RevocationReason{Code: in.Code, Message: in.Message}.Value()}
		if err := rules.CheckText(a.Ref(), a.Value); err != nil {
			return err
		}
		next.Attributes = next.Attributes.Set(a.Tag, a.Value)
		if event == core.Deactivate {
			next.Attributes = next.Attributes.Set(core.TagDeactivationDate, core.Date(k.Now))
			return nil
		}
		occurred := next.Attributes.Num(core.TagInitialDate)
		if in.CompromiseOccurrence != nil {
			occurred = *in.CompromiseOccurrence
		}
		next.Attributes = next.Attributes.Set(core.TagCompromiseDate, core.Date(k.Now)).Set(core.TagCompromiseOccurrenceDate, core.Date(occurred))
		return nil
	}, nil)
	return out, err
}

// Destroy removes the key material of an object and keeps its attributes (KMIP 1.4
// §4.21, 2.1 §6.1.15). After success the key can never be used again, unless the batch
// fails and is undone. If the token cannot remove a resident key now, its token object
// is a pending destroy, which health and metrics show.
func (v *Verbs) Destroy(ctx context.Context, c *core.Caller, in *operation.DestroyInput) (operation.IDOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionDestroy, in, destroy)
}

func destroy(k *engine.Call, in *operation.DestroyInput) (operation.IDOutput, error) {
	tokens := map[string][]byte{}
	out, changed, err := moveState(k, in.ID, core.Destroy, func(next *core.ManagedObject, ch *core.Change) error {
		tokens[next.ID] = eraseMaterial(k, next, ch)
		return nil
	}, func(ch *core.Change, written []*core.ManagedObject) error { return freeAliases(k, ch, written...) })
	if err != nil {
		return out, err
	}
	for _, o := range changed {
		removeErased(k, o.ID, tokens[o.ID])
	}
	return out, nil
}

// eraseMaterial takes the key material from an object that is destroyed. It returns the
// CKA_ID of the token object to remove after the commit, nil if there is none.
func eraseMaterial(k *engine.Call, next *core.ManagedObject, ch *core.Change) (token []byte) {
	if next.Material.Mode == core.ModeResident {
		token = next.Material.CKAID
		ch.Add(core.BeginIntent{Intent: k.Engine.NewIntent(core.IntentDestroyObject, next.Tenant, next.ID, token, k.Now)})
	}
	next.Material = core.Material{Mode: next.Material.Mode, Class: next.Material.Class, Kind: next.Material.Kind, Format: next.Material.Format}
	next.Attributes = next.Attributes.Set(core.TagDestroyDate, core.Date(k.Now))
	return token
}

// removeErased drops what is left of the key material of an object once the commit that
// erases it is durable.
func removeErased(k *engine.Call, id string, token []byte) {
	k.Ports.HSM.Forget(k.Caller.Principal.Tenant, id)
	// In a batch that may be undone, the token object stays until the end of the batch:
	// see FinishBatch. After a crash it is an orphan, which an operator can purge.
	if token != nil && k.Caller.Undo == nil {
		k.Engine.FinishDestroy(k.Ctx, core.TokenObject{Tenant: k.Caller.Principal.Tenant, ID: id, CKAID: token})
	}
}

// isReached has the states in which a version of a key is passed over when an event moves all versions.
// Without an entry, an event moves one object. A Pre-Active version is not passed over: it
// would become Active later.
var isReached = map[core.Event]map[core.State]bool{
	core.Deactivate: {core.Deactivated: true, core.Compromised: true, core.Destroyed: true, core.DestroyedCompromised: true},
	core.Compromise: {core.Compromised: true, core.DestroyedCompromised: true},
	core.Destroy:    {core.Destroyed: true, core.DestroyedCompromised: true},
}

// moveState changes the state of an object, or of the versions of a key, by an event. It returns
// the successors too. fill sets the attributes that belong to the event, and end is that of
// [versionChange]. Templates have no State and can only be destroyed (KMIP 1.4
// §11.20, §11.21). KMIP 1.x activates Cryptographic Objects only, and so no Opaque
// Object (1.4 §2.2, §4.19). KMIP 2.x activates every Managed Object (2.1 §6.1.1).
func moveState(k *engine.Call, id core.Identifier, event core.Event, fill func(next *core.ManagedObject, ch *core.Change) error, end func(*core.Change, []*core.ManagedObject) error) (operation.IDOutput, []*core.ManagedObject, error) {
	c := versionChange{end: end}
	if reached := isReached[event]; reached != nil {
		c.passes = func(o *core.ManagedObject) bool { return reached[o.StateAt(k.Now)] }
	}
	if c.passes == nil || !namesAllVersions(id) { // else the target may be passed over
		k.StateCheck = func(o *core.ManagedObject, _ int64) error {
			_, _, err := nextState(k, o, event)
			return err
		}
	}
	c.make = func(o *core.ManagedObject, ch *core.Change) (*core.ManagedObject, error) {
		from, to, err := nextState(k, o, event)
		if err != nil {
			return nil, err
		}
		next := o.Successor()
		if err := fill(next, ch); err != nil {
			return nil, err
		}
		next.Attributes = next.Attributes.Set(core.TagState, core.Enum(to))
		k.Record.Detail = from.String() + " -> " + to.String()
		return next, nil
	}
	next, changed, err := changeVersions(k, id, c)
	if err != nil {
		return operation.IDOutput{}, nil, err
	}
	return operation.IDOutput{ID: next.ID, Changed: next}, changed, nil
}

// nextState returns the state of an object, and the one that it enters on an event. It fails if
// the event is not possible.
func nextState(k *engine.Call, o *core.ManagedObject, event core.Event) (from, to core.State, err error) {
	from = o.StateAt(k.Now)
	if from == 0 {
		if event != core.Destroy {
			return from, from, core.Errorf(core.IllegalOperation, "object %s is a %v, which has no State", o.ID, o.Type)
		}
		from = core.PreActive
	}
	if event == core.Activate && o.Type == core.ObjectTypeOpaqueObject && k.SpeaksKMIP1() {
		return from, from, core.Errorf(core.IllegalOperation, "object %s is an Opaque Object, which KMIP 1.x does not activate", o.ID)
	}
	if event == core.Destroy && from.Gone() {
		return from, from, core.Errorf(core.ObjectDestroyed, "object %s is destroyed already", o.ID)
	}
	to, err = from.Next(event)
	return from, to, err
}

// Get returns an object with its value (KMIP 1.4 §4.11, 2.1 §6.1.19). The value of a
// class N object is never returned. That of a class X object is returned only wrapped,
// as a Key Wrapping Specification asks.
func (v *Verbs) Get(ctx context.Context, c *core.Caller, in *operation.GetInput) (operation.GetOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionGet, in, get)
}

func get(k *engine.Call, in *operation.GetInput) (operation.GetOutput, error) {
	k.Asked.Wrapped, k.StateCheck = wrappedOrClear(in), engine.NotDestroyed
	o, err := k.FindObject(in.ID)
	if err != nil {
		return operation.GetOutput{}, err
	}
	if err := k.Require(o, k.StateCheck); err != nil {
		return operation.GetOutput{}, err
	}
	if isCompressed(in.Compression) {
		return operation.GetOutput{}, core.Errorf(core.KeyCompressionTypeNotSupported, "Key Compression Type %v is not supported: public keys are returned uncompressed; leave the field out", in.Compression)
	}
	if in.Format != 0 && !hasFormat(o, in.Format) {
		return operation.GetOutput{}, core.Errorf(core.KeyFormatTypeNotSupported, "a %v has no Key Format Type %v; leave the field out", o.Type, in.Format)
	}
	if in.WrapType == core.KeyWrapTypeAsRegistered {
		return operation.GetOutput{}, core.Errorf(core.KeyWrapTypeNotSupported, "objects are not kept as they were wrapped; ask with a Key Wrapping Specification")
	}
	out := &k.Returned
	*out = engine.ReturnedObject{Object: core.ObjectBody{Type: o.Type}}
	if in.Specification != nil {
		err = getWrapped(k, o, in, out)
	} else {
		err = getClear(k, o, in, out)
	}
	if err != nil {
		return operation.GetOutput{}, err
	}
	clearFresh(k, o)
	return operation.GetOutput{ObjectType: o.Type, ID: o.ID, Object: out.Object, Secret: out.Secret}, nil
}

var inClear, wrapped = false, true

// wrappedOrClear returns a pointer that costs no allocation.
func wrappedOrClear(in *operation.GetInput) *bool {
	if in.Specification != nil {
		return &wrapped
	}
	return &inClear
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
func getClear(k *engine.Call, o *core.ManagedObject, in *operation.GetInput, out *engine.ReturnedObject) error {
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
func revealClear(k *engine.Call, o *core.ManagedObject, out *engine.ReturnedObject) error {
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
func shapeAnswer(k *engine.Call, o *core.ManagedObject, format core.KeyFormatType, out *engine.ReturnedObject) error {
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

// getWrapped writes the object into the answer, wrapped under another key of the server
// (KMIP 1.4 §2.1.6). TTLV Encoding, the default, is possible for class C and for
// registered class X keys. For others it fails with EncodingOptionError.
func getWrapped(k *engine.Call, o *core.ManagedObject, in *operation.GetInput, out *engine.ReturnedObject) error {
	spec := in.Specification
	if !canWrap(o) {
		return core.Errorf(core.IllegalOperation, "a %v is not wrapped by Get; leave the Key Wrapping Specification out", o.Type)
	}
	if err := rules.CheckMayLeave(o, true); err != nil {
		return err
	}
	if err := requireMayRead(k, o, spec.AttributeNames); err != nil {
		return err
	}
	with, p, err := wrappingKey(k, spec.Method, spec.Encryption, spec.MACSignature, core.MaskWrapKey, true)
	if err != nil {
		return err
	}
	if err := k.LoadKeysOf(o); err != nil {
		return err
	}
	if err := k.ReserveMemory(max(o.Material.Length, len(o.Material.Blob), len(o.Material.TTLV))); err != nil {
		return err
	}
	kb := &out.Object.KeyBlock
	if spec.Encoding == core.EncodingOptionNoEncoding {
		err = wrapBytes(k, o, with, p, in, kb)
	} else {
		err = wrapTTLV(k, o, with, p, in, out)
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
	k.Record.ExecutedIn = "token"
	if with.Type == core.ObjectTypePublicKey && o.Material.Class == core.ClassC {
		k.Record.ExecutedIn = "memory" // see HSM.WrapOut
	}
	k.Record.Detail = "wrapped under " + with.ID
	return nil
}

// requireMayRead asks the policy for Get Attributes if a Key Wrapping Specification names
// attributes (KMIP 1.4 §2.1.6, 2.1 §7.9): the right to Get a key does not show its attributes.
func requireMayRead(k *engine.Call, o *core.ManagedObject, names []core.AttributeName) error {
	if len(names) == 0 {
		return nil
	}
	defer func(asked core.Asked) { k.Asked = asked }(k.Asked)
	k.Asked = core.Asked{}
	if _, err := k.Decide(core.ActionGetAttributes, o); err != nil {
		return err
	}
	k.AddGrant(core.RoleTarget, core.ActionGetAttributes, o.ID, nil)
	return nil
}

// canWrap reports whether Get wraps objects of this type.
func canWrap(o *core.ManagedObject) bool {
	return o.Type == core.ObjectTypeSymmetricKey || o.Type == core.ObjectTypePrivateKey || o.Type == core.ObjectTypeSecretData || o.Type == core.ObjectTypePublicKey
}

// wrapBytes wraps the bytes of the key itself (No Encoding).
func wrapBytes(k *engine.Call, o, with *core.ManagedObject, p core.CryptographicParameters, in *operation.GetInput, kb *core.KeyBlock) (err error) {
	if len(in.Specification.AttributeNames) > 0 {
		return core.Errorf(core.EncodingOptionError, "attributes can be wrapped with Encoding Option TTLV Encoding only")
	}
	if keptAsStructure(o.Material.Kind, o.Material.Format) {
		return core.Errorf(core.EncodingOptionError, "object %s is a structure; ask for it with Encoding Option TTLV Encoding", o.ID)
	}
	if in.Format != 0 && in.Format != o.Material.Format {
		return core.Errorf(core.KeyFormatTypeNotSupported, "object %s is wrapped as %v, the format it is kept in", o.ID, o.Material.Format)
	}
	if err := k.Consume(with, wrappedLength(o), nil); err != nil {
		return err
	}
	kb.Format = o.Material.Format
	kb.Wrapped, err = k.Ports.HSM.WrapOut(k.Ctx, o.Key(), with.Key(), p, nil)
	return err
}

// wrappedLength returns how many bytes of o a wrapping key protects, as far as this is
// known outside the token.
func wrappedLength(o *core.ManagedObject) int {
	return max(o.Material.Length, int(o.Attributes.Num(core.TagCryptographicLength)+7)/8)
}

// wrapTTLV wraps the Key Value as a TTLV structure.
func wrapTTLV(k *engine.Call, o, with *core.ManagedObject, p core.CryptographicParameters, in *operation.GetInput, out *engine.ReturnedObject) error {
	kb := &out.Object.KeyBlock
	if o.Material.Class == core.ClassX {
		if o.Material.TTLV == nil || len(in.Specification.AttributeNames) > 0 || (in.Format != 0 && in.Format != o.Material.Format) {
			return core.Errorf(core.EncodingOptionError, "object %s is Sensitive and was made in the HSM, which wraps key bytes alone; ask with Encoding Option No Encoding", o.ID)
		}
		if err := k.Consume(with, wrappedLength(o), nil); err != nil {
			return err
		}
		kb.Format = o.Material.Format
		var err error
		kb.Wrapped, err = k.Ports.HSM.WrapOut(k.Ctx, o.Key(), with.Key(), p, []byte{})
		return err
	}
	if err := revealClear(k, o, out); err != nil {
		return err
	}
	if err := shapeAnswer(k, o, in.Format, out); err != nil {
		return err
	}
	var err error
	if kb.Attributes, err = k.NamedAttributes(o, in.Specification.AttributeNames); err != nil {
		return err
	}
	value, err := k.Ports.Formats.EncodeKeyValue(nil, kb, k.Caller.Version)
	if err != nil {
		return err
	}
	defer clear(value)
	if err := k.Consume(with, len(value), nil); err != nil {
		return err
	}
	kb.Wrapped, err = k.Ports.HSM.WrapOut(k.Ctx, o.Key(), with.Key(), p, value)
	return err
}

// wrappingKey returns the key that wraps (protect) or unwraps, and its parameters. The
// policy must allow the caller to Encrypt or Decrypt with it, its mask and state must
// allow the use, and the token must support the method.
func wrappingKey(k *engine.Call, m core.WrappingMethod, info, mac *core.WrappingKeyInfo, mask core.UsageMask, protect bool) (*core.ManagedObject, core.CryptographicParameters, error) {
	var p core.CryptographicParameters
	if m != core.WrappingMethodEncrypt || mac != nil {
		return nil, p, core.Errorf(core.FeatureNotSupported, "keys are wrapped by Wrapping Method Encrypt alone, without MAC or signature")
	}
	if info == nil || info.ID == "" && info.Key == nil {
		return nil, p, core.Errorf(core.InvalidField, "the Encryption Key Information names no wrapping key")
	}
	with, err := loadWrappingKey(k, info, protect)
	if err != nil {
		return nil, p, err
	}
	if !protect {
		if with, err = privateHalf(k, with); err != nil {
			return nil, p, err
		}
		k.Involve(with.ID, core.RoleWrappingKey)
	}
	action, check := core.ActionEncrypt, k.UseCheck(protect)
	if !protect {
		action = core.ActionDecrypt
	}
	p = wrappingParameters(info.Parameters, with)
	defer func(asked core.Asked) { k.Asked = asked }(k.Asked)
	k.Asked = core.Asked{Parameters: &p}
	if _, err := k.Decide(action, with); err != nil {
		if info.Key != nil && core.CodeOf(err) == core.PermissionDenied && !engine.MaySee(k, with) {
			err = noWrappingKey(engine.NoKey(*info.Key))
		}
		return nil, p, err
	}
	if err := rules.CheckMask(with, mask); err != nil {
		return nil, p, err
	}
	if with.Archived() {
		return nil, p, core.Errorf(core.WrappingObjectArchived, "the wrapping key %s is archived; recover it first", with.ID)
	}
	if err := engine.RequireAvailable(action, with); err != nil {
		return nil, p, err
	}
	if with.StateAt(k.Now).Gone() {
		return nil, p, core.Errorf(core.WrappingObjectDestroyed, "the wrapping key %s is destroyed", with.ID)
	}
	if err := check(with, k.Now); err != nil {
		return nil, p, err
	}
	if protect && !offersParameters(with, info.Parameters) {
		return nil, p, core.Errorf(core.BadCryptographicParameters, "the wrapping key %s has Cryptographic Parameters, and none of them are those of the Key Wrapping Specification", with.ID)
	}
	if err := k.LoadKeysOf(with); err != nil {
		return nil, p, err
	}
	k.AddGrant(core.RoleWrappingKey, action, with.ID, check)
	s := &rules.SchemeKeyWrap
	if with.Type != core.ObjectTypeSymmetricKey {
		s = rules.CipherScheme(with, &p)
	}
	if err := s.CheckAsked(info.Parameters, with); err != nil {
		return nil, p, err
	}
	return with, p, nil
}

// loadWrappingKey loads the key that wraps (protect) or unwraps. Of a key family it sets the
// identifier of the version that is used.
func loadWrappingKey(k *engine.Call, info *core.WrappingKeyInfo, protect bool) (with *core.ManagedObject, err error) {
	if info.Key != nil {
		if with, err = engine.FindVersion(k, *info.Key, protect); err != nil {
			k.Involve(engine.ReferenceText(*info.Key), core.RoleWrappingKey)
			return nil, noWrappingKey(err)
		}
		info.ID = with.ID
	}
	k.Involve(core.ClientText(info.ID), core.RoleWrappingKey)
	if with, err = k.LoadObject(info.ID); core.CodeOf(err) == core.ItemNotFound {
		err = core.Errorf(core.WrappingObjectNotFound, "no object has the Unique Identifier %s of the wrapping key", core.ClientText(info.ID))
	}
	return with, err
}

// noWrappingKey gives an error of code ItemNotFound the code that it has for wrapping keys.
func noWrappingKey(err error) error {
	if core.CodeOf(err) != core.ItemNotFound {
		return err
	}
	return core.Errorf(core.WrappingObjectNotFound, "%s to wrap with", err)
}

// wrappingParameters returns the parameters with which a key wraps or unwraps.
func wrappingParameters(asked *core.CryptographicParameters, with *core.ManagedObject) core.CryptographicParameters {
	p := rules.CompleteParameters(asked, with)
	if p.BlockCipherMode == 0 && with.Type == core.ObjectTypeSymmetricKey {
		p.BlockCipherMode = core.BlockCipherModeNISTKeyWrap
	}
	return p
}

// privateHalf returns the private key of a public key, because clients name the public
// key that they wrapped with. Any other key is returned as it is.
func privateHalf(k *engine.Call, with *core.ManagedObject) (*core.ManagedObject, error) {
	if with.Type != core.ObjectTypePublicKey {
		return with, nil
	}
	if id := linkedFrom(with, core.LinkTypePrivateKeyLink); id != "" {
		return k.LoadObject(id)
	}
	return nil, core.Errorf(core.IllegalOperation, "the wrapping key %s is a public key without a Link to its private key, which unwraps", with.ID)
}

// offersParameters reports whether a wrapping key has the Cryptographic Parameters of the
// request (KMIP 1.4 §2.1.6). A key without parameters accepts all, because many clients
// give none to their wrapping keys.
func offersParameters(o *core.ManagedObject, asked *core.CryptographicParameters) bool {
	if asked == nil || !o.Attributes.Has(core.TagCryptographicParameters) {
		return true
	}
	f := core.Filter{Attributes: core.Attributes{{Tag: core.TagCryptographicParameters, Value: core.Structure(asked.Fields()...)}}}
	return f.Matches(o)
}
