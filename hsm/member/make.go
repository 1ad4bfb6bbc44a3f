package member

import (
	"bytes"
	"context"

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
		c.doing = "import a key"
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
		return m.keepMade(s, h, &o, &made)
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
	case o.Unwrap.Inner == nil:
		return m.unwrapOne(s, under, o.Unwrap, o.Template)
	}
	between, err := m.unwrapOne(s, under, o.Unwrap, hsm.Template{Type: hsm.AES, Sensitive: true, Uses: hsm.Unwrap, Unmodifiable: true})
	if err != nil {
		return 0, err
	}
	defer m.conn.ctx.DestroyObject(s, between)
	return m.unwrapOne(s, between, o.Unwrap.Inner, o.Template)
}

// unwrapOne makes a session object of wrapped bytes, without looking at their Inner.
func (m *caller) unwrapOne(s p11.SessionHandle, under p11.ObjectHandle, w *hsm.Wrapped, t hsm.Template) (p11.ObjectHandle, error) {
	if len(w.Blob) == 0 { // the binding panics on it
		return 0, core.Errorf(core.CryptographicFailure, "the wrapped key is empty")
	}
	mech, _, err := mechanismOf(&w.Mechanism)
	if err != nil {
		return 0, err
	}
	h, err := m.conn.ctx.UnwrapKey(s, mech, under, w.Blob, attributesOf(t))
	return h, explainOAEP(err, &w.Mechanism)
}

// keepMade reads the facts that an order asks for from its new session object, and keeps
// the object as the order says.
func (m *caller) keepMade(s p11.SessionHandle, h p11.ObjectHandle, o *hsm.Order, made *hsm.Made) (err error) {
	if o.Expect != nil {
		if err := m.compareParts(s, h, o); err != nil {
			return err
		}
	}
	if o.Measure {
		made.Bytes, _ = m.conn.readLength(s, h)
	}
	if o.Digest {
		if made.SHA256, err = m.digestKey(s, h); err != nil {
			made.SHA256 = nil // some tokens refuse to digest a key
		}
	}
	switch {
	case o.KEK != "":
		kek, err := m.keys.handleOf(o.KEK)
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

// makePair makes the two session objects. Then it takes the turn to change objects and
// keeps the private one. Making the objects needs no turn: an RSA pair takes seconds, in
// which nobody else could make, unwrap or destroy anything. SoftHSM2 makes pairs safely
// beside other changes. Objects that an error leaves behind end with the session.
func (m *caller) makePair(ctx context.Context, s p11.SessionHandle, o *hsm.Order, made *hsm.Made) error {
	private := o.Template
	private.Curve = nil // it belongs to the template of the public half
	public, secret, err := m.conn.ctx.GenerateKeyPair(s, generatorOf(private.Type), pairAttributes(o), attributesOf(private))
	if err != nil {
		return err
	}
	if err := m.conn.turn.takeTurn(ctx); err != nil {
		return err
	}
	defer m.conn.turn.giveTurn()
	defer m.conn.ctx.DestroyObject(s, secret)
	defer m.conn.ctx.DestroyObject(s, public)
	if err := m.readPublic(s, public, private.Type, &made.Public); err != nil {
		return err
	}
	return m.keepMade(s, secret, o, made)
}

// readPublic reads the parts of a public key object.
func (m *caller) readPublic(s p11.SessionHandle, h p11.ObjectHandle, t hsm.KeyType, parts *hsm.PublicParts) error {
	if t == hsm.RSA {
		as, err := m.conn.readAttributes(s, h, p11.CKA_MODULUS, p11.CKA_PUBLIC_EXPONENT)
		if err == nil {
			parts.RSA = hsm.RSAPublicKey{Modulus: as[0], Exponent: as[1]}
		}
		return err
	}
	as, err := m.conn.readAttributes(s, h, p11.CKA_EC_POINT)
	if err == nil {
		parts.Point = as[0]
	}
	return err
}

// compareParts fails unless the public parts of an unwrapped private key are those that
// the order expects.
func (m *caller) compareParts(s p11.SessionHandle, h p11.ObjectHandle, o *hsm.Order) error {
	part := uint(p11.CKA_EC_PARAMS)
	if o.Template.Type == hsm.RSA {
		part = p11.CKA_MODULUS
	}
	as, err := m.conn.readAttributes(s, h, part)
	if err != nil {
		return err
	}
	value := as[0]
	if bits := o.Expect.ModulusBits; bits != 0 && new(big.Int).SetBytes(value).BitLen() != bits {
		return core.Errorf(core.InvalidField, "the Cryptographic Length is given as %d, but the unwrapped RSA key has another", bits)
	}
	if curve := o.Expect.Curve; curve != nil && !bytes.Equal(value, curve) {
		return core.Errorf(core.InvalidField, "the unwrapped key is not on the curve that the request names")
	}
	return nil
}

// digestKey returns the SHA-256 of a secret key. Tokens do not digest private keys.
func (m *caller) digestKey(s p11.SessionHandle, h p11.ObjectHandle) ([]byte, error) {
	if err := m.conn.ctx.DigestInit(s, oneMechanism(p11.CKM_SHA256, nil)); err != nil {
		return nil, err
	}
	if err := m.conn.ctx.DigestKey(s, h); err != nil {
		return nil, err
	}
	return m.conn.ctx.DigestFinal(s)
}
