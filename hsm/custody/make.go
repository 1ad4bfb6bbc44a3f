package custody

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"math/big"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// Generate makes a symmetric key in the HSM. Its bytes do not reach this process, except
// for lengths that the key wrap cannot carry.
func (c *keyMaker) Generate(ctx context.Context, k core.Key, s core.KeySpec) (m core.Material, facts core.KeyFacts, err error) {
	length := keyBytes(s.Kind, s.Bits)
	if err := c.refuseClass(s); err != nil {
		return m, facts, err
	}
	if s.Mode == core.ModeWrapped && !isWrappable(length) {
		return c.generateOdd(ctx, k, s, length)
	}
	m = newMaterial(s, length)
	t := c.newKeyTemplate(&k, s, length)
	if s.Kind != core.KeyDES3 {
		t.Bytes = length
	}
	made, err := c.makeKey(ctx, k, &m, hsm.Order{Template: t, Generate: true, Digest: true})
	return m, core.KeyFacts{SHA256: made.SHA256, ExecutedIn: inToken}, err
}

// generateOdd makes a secret whose length RFC 3394 cannot wrap, of random bytes of the
// HSM. They pass through our memory, so class N is refused.
func (c *keyMaker) generateOdd(ctx context.Context, k core.Key, s core.KeySpec, length int) (core.Material, core.KeyFacts, error) {
	if s.Class == core.ClassN {
		return core.Material{}, core.KeyFacts{}, core.Errorf(core.InvalidField, "a key of %d bits that is not Extractable cannot be protected; use a multiple of 64 bits, at least 128", s.Bits)
	}
	b := make([]byte, length)
	defer clear(b)
	if err := c.Random(ctx, b); err != nil {
		return core.Material{}, core.KeyFacts{}, err
	}
	return c.Import(ctx, k, s, b)
}

// publicSpec says how the public half of a pair is stored.
var publicSpec = core.KeySpec{Kind: core.KeyPublic, Class: core.ClassC, Mode: core.ModeData, Format: core.KeyFormatTypeX509}

// GeneratePair makes a key pair in the HSM.
func (c *keyMaker) GeneratePair(ctx context.Context, k, public core.Key, s core.KeySpec) (priv, pub core.Material, spki []byte, facts core.KeyFacts, err error) {
	if err := c.refuseClass(s); err != nil {
		return priv, pub, nil, facts, err
	}
	if s.Kind == core.KeyEd25519 && s.Class == core.ClassC && s.Mode == core.ModeWrapped {
		if !c.mayUseSoftware(&k) {
			return priv, pub, nil, facts, errEd25519
		}
		return c.generateEd25519InGo(ctx, k, public, s)
	}
	priv = newMaterial(s, 0)
	if spki, err = c.makePair(ctx, k, s, &priv); err != nil {
		return priv, pub, nil, facts, err
	}
	facts.ExecutedIn = inToken
	if s.Class == core.ClassC && s.Mode == core.ModeWrapped {
		// The HSM does not digest private keys, but this one may be read.
		k.Material = &priv
		err = c.withClear(ctx, k, func(b []byte) error { sum := sha256.Sum256(b); facts.SHA256 = sum[:]; return nil })
		if err != nil {
			return priv, pub, nil, facts, err
		}
	}
	pub, _, err = c.Import(ctx, public, publicSpec, spki)
	return priv, pub, spki, facts, err
}

// makePair makes a pair and returns its public half as SubjectPublicKeyInfo.
func (c *keyMaker) makePair(ctx context.Context, k core.Key, s core.KeySpec, m *core.Material) (spki []byte, err error) {
	o := hsm.Order{Template: c.newKeyTemplate(&k, s, 0), Generate: true, ModulusBits: s.Bits}
	switch s.Kind {
	case core.KeyRSA:
	case core.KeyEC:
		o.Template.Curve, err = asn1.Marshal(curveOIDs[s.Curve])
	case core.KeyEd25519:
		o.Template.Curve, err = edwardsCurve()
	default:
		err = core.Errorf(core.InvalidField, "a key pair cannot be of kind %s", s.Kind)
	}
	if err != nil {
		return nil, err
	}
	made, err := c.makeKey(ctx, k, m, o)
	if err != nil {
		return nil, err
	}
	return marshalPublic(&made.Public, s)
}

// marshalPublic writes the public parts of a pair as SubjectPublicKeyInfo.
func marshalPublic(p *hsm.PublicParts, s core.KeySpec) ([]byte, error) {
	if s.Kind == core.KeyRSA {
		e := new(big.Int).SetBytes(p.RSA.Exponent)
		return x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(p.RSA.Modulus), E: int(e.Int64())})
	}
	point := p.Point
	var inner []byte
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		point = inner // some HSMs wrap the point in DER, others do not
	}
	if s.Kind == core.KeyEd25519 {
		return x509.MarshalPKIXPublicKey(ed25519.PublicKey(point))
	}
	curves := map[core.RecommendedCurve]elliptic.Curve{core.RecommendedCurveP256: elliptic.P256(), core.RecommendedCurveP384: elliptic.P384(), core.RecommendedCurveP521: elliptic.P521()}
	public, err := ecdsa.ParseUncompressedPublicKey(curves[s.Curve], point)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(public)
}

// generateEd25519InGo makes a class C Ed25519 pair of random bytes of the HSM: the HSM
// cannot wrap such a key, and a class C key may be in clear.
func (c *keyMaker) generateEd25519InGo(ctx context.Context, k, public core.Key, s core.KeySpec) (priv, pub core.Material, spki []byte, facts core.KeyFacts, err error) {
	seed := make([]byte, ed25519.SeedSize)
	defer clear(seed)
	if err = c.Random(ctx, seed); err != nil {
		return
	}
	key := ed25519.NewKeyFromSeed(seed)
	defer clear(key)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return
	}
	defer clear(der)
	if spki, err = x509.MarshalPKIXPublicKey(key.Public()); err != nil {
		return
	}
	if priv, facts, err = c.Import(ctx, k, s, der); err != nil {
		return
	}
	pub, _, err = c.Import(ctx, public, publicSpec, spki)
	return
}
