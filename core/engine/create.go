package engine

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// Create makes a symmetric key, or Secret Data, inside the token (KMIP 1.4
// §4.1, 2.1 §6.1.8).
func (e *Engine) Create(ctx context.Context, c *core.Caller, in *core.CreateInput) (core.CreateOutput, error) {
	return run(e, ctx, c, core.ActionCreate, in, (*call).create)
}

func (k *call) create(in *core.CreateInput) (out core.CreateOutput, err error) {
	if _, err := k.decide(k.action, nil); err != nil {
		return out, err
	}
	if in.ObjectType != core.ObjectTypeSymmetricKey && in.ObjectType != core.ObjectTypeSecretData {
		return out, core.Errorf(core.InvalidObjectType, "Create makes Symmetric Keys and Secret Data; %v come by another operation", in.ObjectType)
	}
	k.storage = in.ProtectionMasks
	given, err := k.template(in.Attributes, in.TemplateNames)
	if err != nil {
		return out, err
	}
	o, err := k.generate(in.ObjectType, given)
	if err != nil {
		return out, err
	}
	k.record.Object = o.ID
	if err := k.bear(core.ChangeOf(core.InsertObject{Object: o})); err != nil {
		return out, err
	}
	return core.CreateOutput{ObjectType: o.Type, ID: o.ID}, nil
}

// generate makes a symmetric object with fresh material; nothing is stored yet.
func (k *call) generate(t core.ObjectType, given core.Attributes) (*core.ManagedObject, error) {
	if err := k.requireForKey(t, given); err != nil {
		return nil, err
	}
	o, err := k.newborn(t, k.withMask(t, given))
	if err != nil {
		return nil, err
	}
	if t == core.ObjectTypeSecretData {
		o.Attributes = o.Attributes.Set(core.TagSecretDataType, core.Enum(core.SecretDataTypePassword))
	}
	spec, err := symmetricSpec(o)
	if err != nil {
		return nil, err
	}
	if spec.Class, err = k.custody(o, true); err != nil {
		return nil, err
	}
	if err := k.place(o, &spec); err != nil {
		return nil, err
	}
	var facts core.KeyFacts
	if o.Material, facts, err = k.ports.HSM.Generate(k.ctx, o.Key(), spec); err != nil {
		return nil, err
	}
	k.record.Where = facts.Where
	o.Attributes = o.Attributes.Set(core.TagCryptographicLength, core.Int(int32(spec.Bits))).Set(core.TagKeyFormatType, core.Enum(o.Material.Format))
	setDigest(o, facts.SHA256)
	setGenerator(o)
	return o, nil
}

// requireForKey demands what KMIP 1.4 Table 165 demands. KMIP 2.x demands no
// Cryptographic Usage Mask of Create and Create Key Pair: see impliedMask.
func (k *call) requireForKey(t core.ObjectType, given core.Attributes) error {
	if t == core.ObjectTypeSymmetricKey && !given.Has(core.TagCryptographicAlgorithm) {
		return core.Errorf(core.InvalidField, "%s needs a Cryptographic Algorithm", k.action)
	}
	if t == core.ObjectTypeSymmetricKey && !given.Has(core.TagCryptographicUsageMask) && k.caller.Version < core.V2_0 {
		return core.Errorf(core.InvalidField, "%s needs a Cryptographic Usage Mask", k.action)
	}
	return nil
}

// withMask adds the mask that the server sets if a client of KMIP 2.x gives none:
// every object that is made has one, and the server may set it (2.1 §4.17).
func (k *call) withMask(t core.ObjectType, given core.Attributes) core.Attributes {
	if k.caller.Version < core.V2_0 || given.Has(core.TagCryptographicUsageMask) {
		return given
	}
	v, _ := given.Get(core.TagCryptographicAlgorithm)
	return given.Set(core.TagCryptographicUsageMask, core.Mask(impliedMask(t, core.CryptographicAlgorithm(v.Uint()))))
}

// impliedMask allows what keys of the algorithm are there for, and neither wrapping
// nor derivation, which can carry other keys away.
func impliedMask(t core.ObjectType, alg core.CryptographicAlgorithm) core.UsageMask {
	rsa := alg == core.AlgorithmRSA
	switch {
	case t == core.ObjectTypePrivateKey && rsa:
		return core.MaskSign | core.MaskDecrypt
	case t == core.ObjectTypePublicKey && rsa:
		return core.MaskVerify | core.MaskEncrypt
	case t == core.ObjectTypePrivateKey:
		return core.MaskSign
	case t == core.ObjectTypePublicKey:
		return core.MaskVerify
	case t == core.ObjectTypeSecretData:
		return 0
	case symmetricSizes[alg].kind == core.KeyGeneric && alg != core.AlgorithmChaCha20 && alg != core.AlgorithmChaCha20Poly1305:
		return core.MaskMACGenerate | core.MaskMACVerify
	}
	return core.MaskEncrypt | core.MaskDecrypt
}

// symmetricSizes lists, per algorithm the token can make keys for, the kind,
// the lengths in bits that are keys, and the length that is taken when none is
// asked for. An empty list means any whole number of bytes up to maxGeneric.
var symmetricSizes = map[core.CryptographicAlgorithm]struct {
	kind  core.KeyKind
	bits  []int64
	usual int64
}{
	core.AlgorithmAES:              {core.KeyAES, []int64{128, 192, 256}, 256},
	core.AlgorithmDES3:             {core.KeyDES3, []int64{112, 128, 168, 192}, 168},
	core.AlgorithmHMACSHA1:         {core.KeyGeneric, nil, 160},
	core.AlgorithmHMACSHA224:       {core.KeyGeneric, nil, 224},
	core.AlgorithmHMACSHA256:       {core.KeyGeneric, nil, 256},
	core.AlgorithmHMACSHA384:       {core.KeyGeneric, nil, 384},
	core.AlgorithmHMACSHA512:       {core.KeyGeneric, nil, 512},
	core.AlgorithmChaCha20:         {core.KeyGeneric, []int64{256}, 256},
	core.AlgorithmChaCha20Poly1305: {core.KeyGeneric, []int64{256}, 256},
	0:                              {core.KeyGeneric, nil, 256}, // Secret Data
}

// Bounds on generated secrets, in bits.
const (
	minGeneric = 64
	maxGeneric = 4096
)

// quantumSafeBits is what a symmetric key needs to be Quantum Safe (KMIP 2.1
// §4.45): search by a quantum computer halves its strength.
const quantumSafeBits = 256

func symmetricSpec(o *core.ManagedObject) (core.KeySpec, error) {
	alg, bits := o.Algorithm(), o.Attributes.Num(core.TagCryptographicLength)
	size, ok := symmetricSizes[alg]
	if !ok {
		return core.KeySpec{}, core.Errorf(core.InvalidField, "keys of algorithm %v cannot be made here; see docs/KMIP.md for those that can", alg)
	}
	if bits == 0 {
		bits = size.usual
	}
	if o.Attributes.Bool(core.TagQuantumSafe) && bits < quantumSafeBits {
		return core.KeySpec{}, core.Errorf(core.GeneralFailure, "a key of %d bits is not Quantum Safe; ask for %d", bits, quantumSafeBits)
	}
	if !validLength(size.bits, bits) {
		return core.KeySpec{}, core.Errorf(core.InvalidField, "%d bits is no length of a key for %v", bits, alg)
	}
	return core.KeySpec{Kind: size.kind, Bits: int(bits), Format: core.KeyFormatTypeRaw}, nil
}

func validLength(allowed []int64, bits int64) bool {
	for _, b := range allowed {
		if b == bits {
			return true
		}
	}
	return len(allowed) == 0 && bits%8 == 0 && bits >= minGeneric && bits <= maxGeneric
}

// custodyAttribute lets a client choose a token object: vendor attribute
// x-keyreeve-custody = "resident".
var custodyAttribute = core.AttributeName{Vendor: "x", Name: "keyreeve-custody"}

// place chooses the mode, reserves a CKA_ID for a token object, and makes sure
// that the tenant has its keys.
func (k *call) place(o *core.ManagedObject, s *core.KeySpec) error {
	s.Mode = core.ModeWrapped
	for _, a := range o.Attributes.All(custodyAttribute) {
		switch core.Mode(a.Value.Text) {
		case core.ModeResident:
			s.Mode = core.ModeResident
			if s.Kind == core.KeyData || s.Kind == core.KeyPublic {
				return core.Errorf(core.InvalidField, "a %v is kept in the database, so x-keyreeve-custody = resident has no effect; leave it out", o.Type)
			}
		case core.ModeWrapped:
			if s.Kind == core.KeyEd25519 && s.Class != core.ClassC {
				return core.Errorf(core.InvalidField, "an Ed25519 key of class %s is kept in the HSM, which cannot wrap it, so x-keyreeve-custody = wrapped has no effect; leave it out", s.Class)
			}
		default:
			return core.Errorf(core.InvalidField, "x-keyreeve-custody is %q; it may be wrapped or resident", printable(a.Value.Text))
		}
	}
	if s.Kind == core.KeyEd25519 && s.Class != core.ClassC {
		s.Mode = core.ModeResident // an Ed25519 private key cannot be wrapped by the token (docs/KMIP.md)
	}
	if s.Kind == core.KeyData {
		s.Mode = core.ModeData
	}
	if err := k.engine.LoadTenant(k.ctx, o.Tenant); err != nil {
		return err
	}
	if s.Mode == core.ModeResident {
		return k.intend(o, s)
	}
	return nil
}

// holdBirth asks for one more object before anything is made in the token.
func (k *call) holdBirth() error {
	return k.hold(k.held.Add(core.Usage{Objects: 1, Bytes: rowBytes}))
}

// intend writes the row that says a token object is about to be made.
func (k *call) intend(o *core.ManagedObject, s *core.KeySpec) error {
	if err := k.hold(k.held.Add(core.Usage{ResidentKeys: 1})); err != nil {
		return err
	}
	s.CKAID = newToken()
	ch := core.ChangeOf(core.BeginIntent{Intent: k.engine.newIntent(core.IntentCreateObject, o.Tenant, o.ID, s.CKAID, k.now)})
	k.engine.own.begin(ch, k.ports.Clock.Mono(), true)
	return k.ports.Store.Commit(k.ctx, ch)
}

// bear commits newborn objects; the intents of token objects end with it. If
// it fails, the reconciler removes what the token then has in vain.
func (k *call) bear(ch *core.Change) error {
	for _, w := range core.WritesOf[core.InsertObject](ch) {
		finishBirth(ch, w.Object)
	}
	return k.commit(ch)
}

// finishBirth closes the intent that the token object of a new resident key was made
// under. If the reconciler was faster, the key is gone and the change must fail.
func finishBirth(ch *core.Change, o *core.ManagedObject) {
	if o.Material.Mode == core.ModeResident {
		ch.Add(core.FinishIntent{ID: tokenIntent(o.Material.CKAID), MustBeOpen: true})
	}
}
