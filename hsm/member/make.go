package member

import (
	"bytes"
	"context"
	"encoding/binary"
	"math/big"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/hsm"
)

// Make implements [hsm.Member].
func (m *Module) Make(ctx context.Context, o hsm.Order) (made hsm.Made, err error) {
	c := call{turn: true, once: o.KEK == "" && o.Template.Label != ""}
	pair := o.Generate && o.Template.Type.IsPrivate()
	switch {
	case pair:
		c.doing, c.turn = "make a key pair", false
	case o.Generate:
		c.doing = "make a key"
	case o.Unwrap != nil:
		c.doing, c.key = "unwrap a key", o.Unwrap.Under
	default:
		c.doing = "take a key in"
	}
	c.run = func(s p11.SessionHandle, under p11.ObjectHandle) error {
		made = hsm.Made{}
		if pair {
			return m.makePair(ctx, s, &o, &made)
		}
		h, err := m.makeObject(s, under, &o)
		if err != nil {
			return err
		}
		defer m.conn.ctx.DestroyObject(s, h)
		return m.keep(s, h, &o, &made)
	}
	if pair && o.Template.Type == hsm.RSA {
		place, err := m.conn.long.Acquire(ctx)
		if err != nil {
			return made, err
		}
		defer place.Release()
		defer fair.Waits(ctx).Over() // for seconds
	}
	err = m.perform(ctx, c)
	return made, err
}

// makeObject makes the session object of an order.
func (m *caller) makeObject(s p11.SessionHandle, under p11.ObjectHandle, o *hsm.Order) (p11.ObjectHandle, error) {
	switch {
	case o.Generate:
		return m.conn.ctx.GenerateKey(s, generatorOf(o.Template.Type), attributesOf(o.Template))
	case o.Unwrap == nil:
		return m.conn.glue.createSecret(s, attributesOf(o.Template), o.Bytes)
	}
	if len(o.Unwrap.Blob) == 0 { // the binding panics on it
		return 0, core.Errorf(core.CryptographicFailure, "there are no wrapped bytes")
	}
	mech, _, err := mechanismOf(&o.Unwrap.Mechanism)
	if err != nil {
		return 0, err
	}
	h, err := m.conn.ctx.UnwrapKey(s, mech, under, o.Unwrap.Blob, attributesOf(o.Template))
	return h, explainOAEP(err, &o.Unwrap.Mechanism)
}

// keep reads what was asked of a fresh session object, and keeps it.
func (m *caller) keep(s p11.SessionHandle, h p11.ObjectHandle, o *hsm.Order, made *hsm.Made) (err error) {
	if o.Expect != nil {
		if err := m.compareParts(s, h, o); err != nil {
			return err
		}
	}
	if o.Measure {
		made.Bytes = m.valueLength(s, h)
	}
	if o.Digest {
		if made.SHA256, err = m.digestKey(s, h); err != nil {
			made.SHA256 = nil // some tokens refuse it
		}
	}
	switch {
	case o.KEK != "":
		kek, err := m.keys.handle(o.KEK)
		if err != nil {
			return err
		}
		made.Blob, err = m.conn.ctx.WrapKey(s, keyWrap, kek, h)
		return err
	case o.Template.Label != "":
		return m.conn.copyIntoToken(s, h)
	}
	return nil
}

// makePair makes the two session objects, then takes the turn to change objects and
// keeps the private one. The making itself has no turn: that of an RSA key takes
// seconds, in which nobody else could make, unwrap or destroy anything. SoftHSM2 does
// it safely beside all of these; objects that an error leaves behind go with the
// session.
func (m *caller) makePair(ctx context.Context, s p11.SessionHandle, o *hsm.Order, made *hsm.Made) error {
	private := o.Template
	private.Curve = nil // the public half has it
	public, secret, err := m.conn.ctx.GenerateKeyPair(s, generatorOf(private.Type), pairAttributes(o), attributesOf(private))
	if err != nil {
		return err
	}
	if err := m.conn.turn.take(ctx); err != nil {
		return err
	}
	defer m.conn.turn.give()
	defer m.conn.ctx.DestroyObject(s, secret)
	defer m.conn.ctx.DestroyObject(s, public)
	if err := m.readPublic(s, public, private.Type, &made.Public); err != nil {
		return err
	}
	return m.keep(s, secret, o, made)
}

// readPublic reads the parts of a public key object.
func (m *caller) readPublic(s p11.SessionHandle, h p11.ObjectHandle, t hsm.KeyType, parts *hsm.PublicParts) error {
	if t == hsm.RSA {
		as, err := m.conn.ctx.GetAttributeValue(s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_MODULUS, nil), p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, nil)})
		if err == nil {
			parts.RSA = hsm.RSAPublicKey{Modulus: as[0].Value, Exponent: as[1].Value}
		}
		return err
	}
	as, err := m.conn.ctx.GetAttributeValue(s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_EC_POINT, nil)})
	if err == nil {
		parts.Point = as[0].Value
	}
	return err
}

// compareParts compares what a client said of a private key that it wrapped with the
// public parts that the token shows of it.
func (m *caller) compareParts(s p11.SessionHandle, h p11.ObjectHandle, o *hsm.Order) error {
	part := uint(p11.CKA_EC_PARAMS)
	if o.Template.Type == hsm.RSA {
		part = p11.CKA_MODULUS
	}
	as, err := m.conn.ctx.GetAttributeValue(s, h, []*p11.Attribute{p11.NewAttribute(part, nil)})
	if err != nil {
		return err
	}
	value := as[0].Value
	if bits := o.Expect.ModulusBits; bits != 0 && new(big.Int).SetBytes(value).BitLen() != bits {
		return core.Errorf(core.InvalidField, "the Cryptographic Length is given as %d and the unwrapped RSA key has another", bits)
	}
	if curve := o.Expect.Curve; curve != nil && !bytes.Equal(value, curve) {
		return core.Errorf(core.InvalidField, "the unwrapped key is not on the curve that is said of it")
	}
	return nil
}

// digestKey is the SHA-256 of a secret key. The token digests no private keys.
func (m *caller) digestKey(s p11.SessionHandle, h p11.ObjectHandle) ([]byte, error) {
	if err := m.conn.ctx.DigestInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_SHA256, nil)}); err != nil {
		return nil, err
	}
	if err := m.conn.ctx.DigestKey(s, h); err != nil {
		return nil, err
	}
	return m.conn.ctx.DigestFinal(s)
}

// maxValueBytes bounds a CKA_VALUE_LEN that is believed.
const maxValueBytes = 1 << 20

// valueLength is CKA_VALUE_LEN; 0 where the token does not tell it.
func (m *caller) valueLength(s p11.SessionHandle, h p11.ObjectHandle) int {
	as, err := m.conn.ctx.GetAttributeValue(s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE_LEN, nil)})
	if err != nil || len(as) != 1 || len(as[0].Value) != 8 {
		return 0
	}
	return int(min(binary.NativeEndian.Uint64(as[0].Value), maxValueBytes))
}
