package member

import (
	"crypto"
	"encoding/binary"
	"errors"
	"slices"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// Mechanisms and key types that the binding has no names for.
const (
	ckmAESKeyWrap    = uint(hsm.AESKeyWrap)
	ckmAESKeyWrapPad = uint(hsm.AESKeyWrapPad)
	ckmEdwardsGen    = 0x1055
	ckkEdwardsEC     = 0x40
)

var keyWrap = oneMechanism(ckmAESKeyWrap, nil)

// useAttributes are CKA_... and mechanismFlags are CKF_..., by use.
var (
	useAttributes = map[hsm.Uses]uint{hsm.Encrypt: p11.CKA_ENCRYPT, hsm.Decrypt: p11.CKA_DECRYPT, hsm.Sign: p11.CKA_SIGN, hsm.Verify: p11.CKA_VERIFY,
		hsm.Wrap: p11.CKA_WRAP, hsm.Unwrap: p11.CKA_UNWRAP, hsm.Derive: p11.CKA_DERIVE}
	mechanismFlags = map[hsm.Uses]uint{hsm.Encrypt: p11.CKF_ENCRYPT, hsm.Decrypt: p11.CKF_DECRYPT, hsm.Sign: p11.CKF_SIGN, hsm.Wrap: p11.CKF_WRAP,
		hsm.Unwrap: p11.CKF_UNWRAP, hsm.Generate: p11.CKF_GENERATE, hsm.Digest: p11.CKF_DIGEST}
)

// secretUses and privateUses are the uses that each template states, in its order.
// SIGN_RECOVER of a private key is always off.
var (
	secretUses  = []hsm.Uses{hsm.Encrypt, hsm.Decrypt, hsm.Sign, hsm.Verify, hsm.Wrap, hsm.Unwrap, hsm.Derive}
	privateUses = []hsm.Uses{hsm.Decrypt, hsm.Sign, hsm.Unwrap, hsm.Derive}
)

// keyTypes are CKA_CLASS and CKA_KEY_TYPE, and the mechanism that makes such a key.
var keyTypes = map[hsm.KeyType]struct{ class, key, generator uint }{
	hsm.GenericSecret: {p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET, p11.CKM_GENERIC_SECRET_KEY_GEN},
	hsm.AES:           {p11.CKO_SECRET_KEY, p11.CKK_AES, p11.CKM_AES_KEY_GEN},
	hsm.DES2:          {p11.CKO_SECRET_KEY, p11.CKK_DES2, p11.CKM_DES2_KEY_GEN},
	hsm.DES3:          {p11.CKO_SECRET_KEY, p11.CKK_DES3, p11.CKM_DES3_KEY_GEN},
	hsm.RSA:           {p11.CKO_PRIVATE_KEY, p11.CKK_RSA, p11.CKM_RSA_PKCS_KEY_PAIR_GEN},
	hsm.EC:            {p11.CKO_PRIVATE_KEY, p11.CKK_EC, p11.CKM_EC_KEY_PAIR_GEN},
	hsm.EdwardsEC:     {p11.CKO_PRIVATE_KEY, ckkEdwardsEC, ckmEdwardsGen},
}

// attributesOf writes a template in full, since the defaults of tokens allow everything.
// Tokens apply attributes in order, so unmodifiable is the last.
func attributesOf(t hsm.Template) []*p11.Attribute {
	typ := keyTypes[t.Type]
	as := []*p11.Attribute{
		p11.NewAttribute(p11.CKA_CLASS, typ.class), p11.NewAttribute(p11.CKA_KEY_TYPE, typ.key),
		p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_PRIVATE, true),
		p11.NewAttribute(p11.CKA_SENSITIVE, t.Sensitive), p11.NewAttribute(p11.CKA_EXTRACTABLE, t.Extractable),
	}
	uses := secretUses
	if t.Type.IsPrivate() {
		uses = privateUses
		as = append(as, p11.NewAttribute(p11.CKA_SIGN_RECOVER, false))
	}
	for _, u := range uses {
		as = append(as, p11.NewAttribute(useAttributes[u], t.Uses&u != 0))
	}
	if t.Label != "" {
		as = append(as, p11.NewAttribute(p11.CKA_ID, t.CKAID), p11.NewAttribute(p11.CKA_LABEL, t.Label))
	}
	if t.Bytes > 0 {
		as = append(as, p11.NewAttribute(p11.CKA_VALUE_LEN, t.Bytes))
	}
	if t.Curve != nil {
		as = append(as, p11.NewAttribute(p11.CKA_EC_PARAMS, t.Curve))
	}
	if t.Unmodifiable {
		as = append(as, unmodifiable())
	}
	return as
}

// wrappableSecret and readableSecret are templates of secrets that can only be wrapped, or
// only be read or wrapped.
var (
	wrappableSecret = hsm.Template{Type: hsm.GenericSecret, Sensitive: true, Extractable: true}
	readableSecret  = hsm.Template{Type: hsm.GenericSecret, Extractable: true}
)

// aesKey returns the template of an AES key without a use.
func aesKey(sensitive, extractable bool) []*p11.Attribute {
	return attributesOf(hsm.Template{Type: hsm.AES, Sensitive: sensitive, Extractable: extractable})
}

// unmodifiable must be the last attribute: tokens apply attributes in order.
func unmodifiable() *p11.Attribute { return p11.NewAttribute(p11.CKA_MODIFIABLE, false) }

func mechanismList(ms ...uint64) *p11.Attribute {
	var b []byte
	for _, m := range ms {
		b = binary.NativeEndian.AppendUint64(b, m)
	}
	return p11.NewAttribute(p11.CKA_ALLOWED_MECHANISMS, b)
}

var protections = map[hsm.Attribute]uint{hsm.Private: p11.CKA_PRIVATE, hsm.Sensitive: p11.CKA_SENSITIVE, hsm.Extractable: p11.CKA_EXTRACTABLE}

func flagsOf(lines []hsm.Flag) (flags []flag) {
	for _, l := range lines {
		flags = append(flags, flag{protections[l.Attribute], l.Value})
	}
	return flags
}

// setKeyTemplate returns the part of a set key's template that has simple values.
func setKeyTemplate(t hsm.KeyTemplate) hsm.Template {
	return hsm.Template{Type: t.Type, Sensitive: true, Uses: t.Uses}
}

// setKeyAttributes returns the attributes to make a key of a set in a session. The key
// becomes unmodifiable when it is copied into the token.
func setKeyAttributes(t hsm.KeyTemplate) []*p11.Attribute {
	simple := setKeyTemplate(t)
	simple.Bytes = hsm.SetKeyBytes
	as := append(attributesOf(simple), mechanismList(uint64(t.Mechanism)))
	if t.Wraps != nil {
		as = append(as, p11.NewAttribute(p11.CKA_WRAP_TEMPLATE, nestedTemplate(flagsOf(t.Wraps)...)))
	}
	if t.Unwraps != nil {
		as = append(as, p11.NewAttribute(p11.CKA_UNWRAP_TEMPLATE, nestedTemplate(flagsOf(t.Unwraps)...)))
	}
	return as
}

// generatorOf returns the mechanism that makes keys of a type.
func generatorOf(t hsm.KeyType) []*p11.Mechanism {
	return oneMechanism(keyTypes[t].generator, nil)
}

// publicAttributes returns the template of an RSA public key that can only wrap.
func publicAttributes(k *hsm.RSAPublicKey) []*p11.Attribute {
	return []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PUBLIC_KEY), p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_RSA),
		p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_PRIVATE, false), p11.NewAttribute(p11.CKA_WRAP, true),
		p11.NewAttribute(p11.CKA_ENCRYPT, false), p11.NewAttribute(p11.CKA_VERIFY, false),
		p11.NewAttribute(p11.CKA_MODULUS, k.Modulus), p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, k.Exponent)}
}

// pairAttributes returns the template of the public half of a pair, with the parameters of
// both halves.
func pairAttributes(o *hsm.Order) []*p11.Attribute {
	public := []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_PRIVATE, false), p11.NewAttribute(p11.CKA_VERIFY, true)}
	if o.Template.Type == hsm.RSA {
		return append(public, p11.NewAttribute(p11.CKA_MODULUS_BITS, o.ModulusBits), p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1}))
	}
	return append(public, p11.NewAttribute(p11.CKA_EC_PARAMS, o.Template.Curve))
}

// oaepHashes are the numbers that PKCS#11 has for a hash, alone and in MGF1.
var oaepHashes = map[crypto.Hash]struct{ hash, mgf uint }{crypto.SHA1: {p11.CKM_SHA_1, p11.CKG_MGF1_SHA1}, crypto.SHA224: {p11.CKM_SHA224, p11.CKG_MGF1_SHA224},
	crypto.SHA256: {p11.CKM_SHA256, p11.CKG_MGF1_SHA256}, crypto.SHA384: {p11.CKM_SHA384, p11.CKG_MGF1_SHA384}, crypto.SHA512: {p11.CKM_SHA512, p11.CKG_MGF1_SHA512}}

// mechanismOf returns a mechanism, and the parameters of AES-GCM, which the caller frees.
func mechanismOf(m *hsm.Mechanism) ([]*p11.Mechanism, *p11.GCMParams, error) {
	var parameter any
	switch m.Type {
	case hsm.AESCBC, hsm.DES3CBC:
		parameter = m.IV
	case hsm.AESCTR:
		parameter = append(binary.NativeEndian.AppendUint64(nil, 128), m.IV...)
	case hsm.AESGCM:
		gcm := p11.NewGCMParams(m.IV, m.AAD, m.TagBits)
		return oneMechanism(uint(m.Type), gcm), gcm, nil
	case hsm.RSAOAEP:
		hash, known := oaepHashes[m.OAEP.Hash]
		mgf, knownMGF := oaepHashes[m.OAEP.MGF]
		if !known || !knownMGF {
			return nil, nil, core.Errorf(core.UnsupportedByHSM, "PKCS#11 does not support OAEP with %v and MGF1 with %v", m.OAEP.Hash, m.OAEP.MGF)
		}
		parameter = p11.NewOAEPParams(hash.hash, mgf.mgf, p11.CKZ_DATA_SPECIFIED, m.OAEP.Label)
	}
	return oneMechanism(uint(m.Type), parameter), nil, nil
}

// oneMechanism returns a mechanism in the form that the binding takes.
func oneMechanism(typ uint, parameter any) []*p11.Mechanism {
	return []*p11.Mechanism{p11.NewMechanism(typ, parameter)}
}

// readAttributes returns the values of an object's attributes.
func (l *library) readAttributes(s p11.SessionHandle, o p11.ObjectHandle, types ...uint) ([][]byte, error) {
	ask := make([]*p11.Attribute, len(types))
	for i, typ := range types {
		ask[i] = p11.NewAttribute(typ, nil)
	}
	got, err := l.ctx.GetAttributeValue(s, o, ask)
	if err != nil {
		return nil, err
	}
	values := make([][]byte, len(got))
	for i, a := range got {
		values[i] = a.Value
	}
	return values, nil
}

// maxValueBytes bounds the CKA_VALUE_LEN that a token may tell.
const maxValueBytes = 1 << 20

// readLength returns CKA_VALUE_LEN in bytes; 0 if the token does not tell it.
func (l *library) readLength(s p11.SessionHandle, o p11.ObjectHandle) (int, error) {
	values, err := l.readAttributes(s, o, p11.CKA_VALUE_LEN)
	if err != nil || len(values[0]) != 8 {
		return 0, unlessAway(err)
	}
	return int(min(binary.NativeEndian.Uint64(values[0]), maxValueBytes)), nil
}

// withoutAttribute returns a template without one of its attributes.
func withoutAttribute(as []*p11.Attribute, typ uint) []*p11.Attribute {
	return slices.DeleteFunc(slices.Clone(as), func(a *p11.Attribute) bool { return a.Type == typ })
}

// explainOAEP turns a token's error about OAEP parameters into an UnsupportedByHSM that
// names them.
func explainOAEP(err error, m *hsm.Mechanism) error {
	e, ok := errors.AsType[p11.Error](err)
	if ok && m.Type == hsm.RSAOAEP && (e == p11.CKR_MECHANISM_PARAM_INVALID || e == p11.CKR_ARGUMENTS_BAD || e == p11.CKR_MECHANISM_INVALID) {
		return core.Errorf(core.UnsupportedByHSM, "this HSM does not wrap by OAEP with %v, MGF1 with %v and a label of %d bytes; use SHA-1 without a label", m.OAEP.Hash, m.OAEP.MGF, len(m.OAEP.Label))
	}
	return err
}
