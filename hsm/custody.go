package hsm

import (
	"context"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"math/big"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/keys/format"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// Wrap formats of a row's blob.
const (
	formatKW  = "aes-kw"  // RFC 3394 under a class KEK
	formatGCM = "aes-gcm" // IV, data and tag under D
)

// keyType is what the token takes a kind for.
func keyType(kind core.KeyKind, length int) (class, typ uint) {
	switch kind {
	case core.KeyAES:
		return p11.CKO_SECRET_KEY, p11.CKK_AES
	case core.KeyDES3:
		if length == 16 {
			return p11.CKO_SECRET_KEY, p11.CKK_DES2
		}
		return p11.CKO_SECRET_KEY, p11.CKK_DES3
	case core.KeyRSA:
		return p11.CKO_PRIVATE_KEY, p11.CKK_RSA
	case core.KeyEC:
		return p11.CKO_PRIVATE_KEY, p11.CKK_EC
	case core.KeyEd25519:
		return p11.CKO_PRIVATE_KEY, 0x40 // CKK_EC_EDWARDS
	}
	return p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET
}

func isPrivate(kind core.KeyKind) bool {
	return kind == core.KeyRSA || kind == core.KeyEC || kind == core.KeyEd25519
}

// wrappable is the length rule: RFC 3394 carries whole blocks of 8 bytes, 16 at
// least. Tokens silently pad other lengths.
func wrappable(n int) bool { return n >= 16 && n%8 == 0 }

// keyBytes is the length of a symmetric key. A 3DES length counts 56 of 64 bits, or
// the parity bits too.
func keyBytes(kind core.KeyKind, bits int) int {
	if kind == core.KeyDES3 && (bits == 112 || bits == 168) {
		return bits / 7
	}
	return bits / 8
}

// Generate makes a symmetric key in the token. Its bytes never reach us.
func (t *Token) Generate(ctx context.Context, k core.Key, s core.KeySpec) (m core.Material, facts core.KeyFacts, err error) {
	n := keyBytes(s.Kind, s.Bits)
	if err := t.offered(s); err != nil {
		return m, facts, err
	}
	if s.Mode == core.ModeWrapped && !wrappable(n) {
		return t.generateOdd(ctx, k, s, n)
	}
	m = core.Material{Mode: s.Mode, Class: s.Class, Kind: s.Kind, Format: s.Format, Length: n, Token: s.Token}
	err = t.making(s.Mode)(ctx, "make a key", func(sh p11.SessionHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		h, err := t.lib.GenerateKey(sh, []*p11.Mechanism{p11.NewMechanism(generator(s.Kind, n), nil)}, t.newKeyTemplate(&k, s, n))
		if err != nil {
			return err
		}
		defer t.lib.DestroyObject(sh, h)
		if facts.SHA256, err = t.digestKey(sh, h); err != nil {
			facts.SHA256 = nil // some tokens refuse it; the Digest attribute is then left out
		}
		return t.settle(sh, k, &m, h)
	})
	facts.Where = "token"
	return m, facts, err
}

// offered refuses classes whose templates the self-test found not enforced.
func (t *Token) offered(s core.KeySpec) error {
	if len(t.refusedClasses()) > 0 && s.Class != core.ClassC && s.Mode == core.ModeWrapped {
		return core.Errorf(core.UnsupportedByHSM, "this HSM does not enforce what class %s promises (%s), so such keys can only be made resident (x-keyreeve-custody = resident)", s.Class, t.refusedClasses()[0])
	}
	return nil
}

func generator(kind core.KeyKind, n int) uint {
	switch {
	case kind == core.KeyAES:
		return p11.CKM_AES_KEY_GEN
	case kind == core.KeyDES3 && n == 16:
		return p11.CKM_DES2_KEY_GEN
	case kind == core.KeyDES3:
		return p11.CKM_DES3_KEY_GEN
	}
	return p11.CKM_GENERIC_SECRET_KEY_GEN
}

// newKeyTemplate is for a session object about to be wrapped, or copied into
// the token with its final flags.
func (t *Token) newKeyTemplate(k *core.Key, s core.KeySpec, n int) []*p11.Attribute {
	class, typ := keyType(s.Kind, n)
	sensitive, extractable, flags := true, true, map[uint]bool(nil)
	var more []*p11.Attribute
	if s.Mode == core.ModeResident {
		sensitive, extractable, flags = s.Class != core.ClassC, s.Class != core.ClassN, usesOf(k.Mask, class == p11.CKO_PRIVATE_KEY)
		more = append(more, p11.NewAttribute(p11.CKA_ID, s.Token), p11.NewAttribute(p11.CKA_LABEL, t.objectLabel(k)))
	}
	if class == p11.CKO_SECRET_KEY && s.Kind != core.KeyDES3 {
		more = append(more, p11.NewAttribute(p11.CKA_VALUE_LEN, n))
	}
	return template(class, typ, sensitive, extractable, flags, more...)
}

// settle turns a fresh session object into what is kept: a blob, or a copy in
// the token; then the row is sealed.
func (t *Token) settle(sh p11.SessionHandle, k core.Key, m *core.Material, h p11.ObjectHandle) error {
	n, err := t.of(k.Tenant)
	if err != nil {
		return err
	}
	if m.Mode == core.ModeResident {
		if err := t.stay(sh, h); err != nil {
			return err
		}
	} else {
		m.Wrap, m.Epoch = formatKW, n.newest[string(m.Class)]
		kek, err := n.key(string(m.Class), m.Epoch)
		if err != nil {
			return err
		}
		if m.Blob, err = t.lib.WrapKey(sh, []*p11.Mechanism{p11.NewMechanism(ckmAESKeyWrap, nil)}, kek, h); err != nil {
			return err
		}
	}
	k.Material = m
	m.MAC = n.seal(k)
	return nil
}

// stay copies a session object into the token, in one write so that a crash
// leaves no half-made key, and looks whether it is there: SoftHSM2 says that all
// is well when the disk has taken nothing, and the key is gone with the process.
func (t *Token) stay(sh p11.SessionHandle, h p11.ObjectHandle) error {
	c, err := t.lib.CopyObject(sh, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true), unmodifiable()})
	if e := p11.Error(0); errors.As(err, &e) && !ambiguous[e] {
		return err
	}
	if err == nil {
		if _, err = t.lib.GetAttributeValue(sh, c, []*p11.Attribute{p11.NewAttribute(p11.CKA_ID, nil)}); err == nil {
			return nil
		}
		t.lib.DestroyObject(sh, c) // as well as it can be
	}
	if !t.present() {
		return p11.Error(p11.CKR_DEVICE_ERROR)
	}
	cause := errors.New(err.Error()) // its code would be taken for a lost handle
	return core.Wrap(core.TokenUnavailable, cause, "the HSM did not keep the key and seems to have no room; remove keys that are not needed, or look at the disk that it lies on")
}

func (t *Token) digestKey(sh p11.SessionHandle, h p11.ObjectHandle) ([]byte, error) {
	if err := t.lib.DigestInit(sh, []*p11.Mechanism{p11.NewMechanism(p11.CKM_SHA256, nil)}); err != nil {
		return nil, err
	}
	if err := t.lib.DigestKey(sh, h); err != nil {
		return nil, err
	}
	return t.lib.DigestFinal(sh)
}

// generateOdd makes a secret whose length RFC 3394 does not carry, of the
// token's random bytes; they pass through our memory, so class N cannot be so.
func (t *Token) generateOdd(ctx context.Context, k core.Key, s core.KeySpec, n int) (core.Material, core.KeyFacts, error) {
	if s.Class == core.ClassN {
		return core.Material{}, core.KeyFacts{}, core.Errorf(core.InvalidField, "a key of %d bits that is not Extractable cannot be kept; take a multiple of 64 bits, at least 128", s.Bits)
	}
	b := make([]byte, n)
	defer clear(b)
	if err := t.Random(ctx, b); err != nil {
		return core.Material{}, core.KeyFacts{}, err
	}
	return t.Import(ctx, k, s, b)
}

// GeneratePair makes a key pair in the token.
func (t *Token) GeneratePair(ctx context.Context, k, public core.Key, s core.KeySpec) (priv, pub core.Material, spki []byte, facts core.KeyFacts, err error) {
	if err := t.offered(s); err != nil {
		return priv, pub, nil, facts, err
	}
	if s.Kind == core.KeyEd25519 && s.Class == core.ClassC && s.Mode == core.ModeWrapped {
		if !t.cfg.AllowSoftware {
			return priv, pub, nil, facts, errEd25519
		}
		return t.softEd25519(ctx, k, public, s)
	}
	priv = core.Material{Mode: s.Mode, Class: s.Class, Kind: s.Kind, Format: s.Format, Token: s.Token}
	if s.Kind == core.KeyRSA {
		place, err := t.long.Acquire(ctx)
		if err != nil {
			return priv, pub, nil, facts, err
		}
		defer place.Release()
		defer fair.Waits(ctx).Over() // for seconds
	}
	err = t.making(s.Mode)(ctx, "make a key pair", func(sh p11.SessionHandle) (err error) {
		spki, err = t.generatePair(ctx, sh, k, s, &priv)
		return err
	})
	if err != nil {
		return priv, pub, nil, facts, err
	}
	facts.Where = "token"
	if s.Class == core.ClassC && s.Mode == core.ModeWrapped {
		// The token digests no private keys; one that may be read is read for it.
		k.Material = &priv
		err = t.withClear(ctx, k, func(b []byte) error { sum := sha256.Sum256(b); facts.SHA256 = sum[:]; return nil })
		if err != nil {
			return priv, pub, nil, facts, err
		}
	}
	pub, _, err = t.Import(ctx, public, core.KeySpec{Kind: core.KeyPublic, Class: core.ClassC, Mode: core.ModeData, Format: core.KeyFormatTypeX509}, spki)
	return priv, pub, spki, facts, err
}

// generatePair makes the two session objects, then takes the turn to change
// objects and keeps the private one. The making itself has no turn: that of an RSA
// key takes seconds, in which nobody else could make, unwrap or destroy anything.
// SoftHSM2 does it safely beside all of these; objects that an error leaves behind
// go with the session.
func (t *Token) generatePair(ctx context.Context, sh p11.SessionHandle, k core.Key, s core.KeySpec, priv *core.Material) ([]byte, error) {
	mech, tmpl, err := pairTemplate(s)
	if err != nil {
		return nil, err
	}
	hPub, hPriv, err := t.lib.GenerateKeyPair(sh, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, tmpl, t.newKeyTemplate(&k, s, 0))
	if err != nil {
		return nil, err
	}
	if err := t.admin.takeFor(ctx); err != nil {
		return nil, err
	}
	defer t.admin.give()
	defer t.lib.DestroyObject(sh, hPriv)
	defer t.lib.DestroyObject(sh, hPub)
	spki, err := t.publicKey(sh, hPub, s)
	if err != nil {
		return nil, err
	}
	return spki, t.settle(sh, k, priv, hPriv)
}

var curveOIDs = map[core.RecommendedCurve]asn1.ObjectIdentifier{core.RecommendedCurveP256: {1, 2, 840, 10045, 3, 1, 7},
	core.RecommendedCurveP384: {1, 3, 132, 0, 34}, core.RecommendedCurveP521: {1, 3, 132, 0, 35}}

// pairTemplate is the public half's template with the parameters of both.
func pairTemplate(s core.KeySpec) (uint, []*p11.Attribute, error) {
	public := []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_PRIVATE, false), p11.NewAttribute(p11.CKA_VERIFY, true)}
	switch s.Kind {
	case core.KeyRSA:
		return p11.CKM_RSA_PKCS_KEY_PAIR_GEN, append(public, p11.NewAttribute(p11.CKA_MODULUS_BITS, s.Bits),
			p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, []byte{1, 0, 1})), nil
	case core.KeyEC:
		oid, err := asn1.Marshal(curveOIDs[s.Curve])
		return p11.CKM_EC_KEY_PAIR_GEN, append(public, p11.NewAttribute(p11.CKA_EC_PARAMS, oid)), err
	case core.KeyEd25519:
		name, err := asn1.MarshalWithParams("edwards25519", "printable")
		return ckmEdwardsGen, append(public, p11.NewAttribute(p11.CKA_EC_PARAMS, name)), err
	}
	return 0, nil, core.Errorf(core.InvalidField, "no key pair is of kind %s", s.Kind)
}

// publicKey reads a public object as SubjectPublicKeyInfo.
func (t *Token) publicKey(sh p11.SessionHandle, h p11.ObjectHandle, s core.KeySpec) ([]byte, error) {
	if s.Kind == core.KeyRSA {
		as, err := t.lib.GetAttributeValue(sh, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_MODULUS, nil), p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, nil)})
		if err != nil {
			return nil, err
		}
		e := new(big.Int).SetBytes(as[1].Value)
		return x509.MarshalPKIXPublicKey(&rsa.PublicKey{N: new(big.Int).SetBytes(as[0].Value), E: int(e.Int64())})
	}
	as, err := t.lib.GetAttributeValue(sh, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_EC_POINT, nil)})
	if err != nil {
		return nil, err
	}
	point := as[0].Value
	var inner []byte
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		point = inner // DER-wrapped here, bare on other tokens
	}
	if s.Kind == core.KeyEd25519 {
		return x509.MarshalPKIXPublicKey(ed25519.PublicKey(point))
	}
	return ecPublic(s.Curve, point)
}

func ecPublic(c core.RecommendedCurve, point []byte) ([]byte, error) {
	curves := map[core.RecommendedCurve]elliptic.Curve{core.RecommendedCurveP256: elliptic.P256(), core.RecommendedCurveP384: elliptic.P384(), core.RecommendedCurveP521: elliptic.P521()}
	pub, err := parseECPoint(curves[c], point)
	if err != nil {
		return nil, err
	}
	return x509.MarshalPKIXPublicKey(pub)
}

// softEd25519 makes a class C Ed25519 pair: the token cannot wrap one, and a
// class C key may be seen, so the seed is drawn from the token's random bytes.
func (t *Token) softEd25519(ctx context.Context, k, public core.Key, s core.KeySpec) (priv, pub core.Material, spki []byte, facts core.KeyFacts, err error) {
	seed := make([]byte, ed25519.SeedSize)
	defer clear(seed)
	if err = t.Random(ctx, seed); err != nil {
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
	if priv, facts, err = t.Import(ctx, k, s, der); err != nil {
		return
	}
	pub, _, err = t.Import(ctx, public, core.KeySpec{Kind: core.KeyPublic, Class: core.ClassC, Mode: core.ModeData, Format: core.KeyFormatTypeX509}, spki)
	return
}

// Import takes clear bytes into the token's keeping.
func (t *Token) Import(ctx context.Context, k core.Key, s core.KeySpec, b []byte) (m core.Material, facts core.KeyFacts, err error) {
	if err := t.offered(s); err != nil {
		return m, facts, err
	}
	registered := s.Registered
	if registered == nil {
		registered = b
	}
	facts = core.KeyFacts{SHA256: t.digest(ctx, s.Class, registered), Where: "token"}
	m = core.Material{Mode: s.Mode, Class: s.Class, Kind: s.Kind, Format: s.Format, Length: len(b), Token: s.Token}
	carried, ok := carriedBytes(s, &k, b)
	defer core.Retire(carried)
	defer func() {
		if err != nil { // what was wrapped of a key that is not kept
			core.Retire(m.Blob)
			core.Retire(m.TTLV)
			m.Blob, m.TTLV = nil, nil
		}
	}()
	if !ok && s.Class == core.ClassN {
		return m, facts, core.Errorf(core.InvalidField, "%d bytes that are not Extractable cannot be kept; the HSM takes multiples of 8 bytes, at least 16", len(b))
	}
	if !ok || s.Kind == core.KeyPublic || (s.Kind == core.KeyData && s.Class != core.ClassN && !stayingSecret(s, &k)) {
		m.Mode, m.Token = core.ModeData, nil
		err = t.sealData(ctx, k, &m, b)
		return m, facts, err
	}
	if s.Kind == core.KeyData {
		m.Mode, m.Token = core.ModeWrapped, nil // bytes that must not leave in clear go under a KEK, not D
	}
	err = t.making(s.Mode)(ctx, "take a key in", func(sh p11.SessionHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		return t.takeIn(sh, k, s, &m, carried)
	})
	return m, facts, err
}

// digest is the SHA-256 of clear bytes. Go's leaves the last block of its data
// in its state, which is the whole of a short key: so the token makes it, but for
// what may leave in clear. nil is what a token cannot make.
func (t *Token) digest(ctx context.Context, class core.Class, b []byte) (sum []byte) {
	if class == core.ClassC {
		sum := sha256.Sum256(b)
		return sum[:]
	}
	err := t.do(ctx, "digest a key", func(sh p11.SessionHandle) (err error) {
		if err = t.lib.DigestInit(sh, []*p11.Mechanism{p11.NewMechanism(p11.CKM_SHA256, nil)}); err == nil {
			sum, err = t.lib.Digest(sh, b)
		}
		return err
	})
	if err != nil {
		return nil
	}
	return sum
}

// carriedBytes is what goes through the key wrap: private keys with zeros
// behind their DER, HMAC keys filled up with zeros where that is needed. A copy;
// the caller zeroes it.
func carriedBytes(s core.KeySpec, k *core.Key, b []byte) ([]byte, bool) {
	n := len(b)
	switch {
	case isPrivate(s.Kind), s.TTLV != nil && stayingSecret(s, k):
		n = max(16, (n+7)&^7)
	case s.Kind == core.KeyGeneric:
		n = carriedHMAC(s.Class, k.Algorithm, n)
	}
	if !wrappable(n) {
		return nil, false
	}
	return append(make([]byte, 0, n), b...)[:n], true
}

// stayingSecret reports whether s is Secret Data of class X, which is kept as a key
// is: no use of it brings its bytes into this process again. Where its length is
// none that the key wrap carries, it has zeros behind it and leaves as its TTLV alone,
// which always has such a length; without that it is sealed under D.
func stayingSecret(s core.KeySpec, k *core.Key) bool {
	return s.Kind == core.KeyData && s.Class == core.ClassX && k.Type == core.ObjectTypeSecretData
}

// hmacBlock is the smallest block of a hash in bytes. HMAC fills its key up to the
// block with zeros itself, so zeros behind a shorter one change no MAC.
const hmacBlock = 64

// carriedHMAC is how long an HMAC key of n bytes is carried: filled up, since
// tokens refuse keys shorter than the digest, and so that it serves every hash.
// A class X key that can do without goes as it is: it leaves wrapped by the token,
// which would wrap the zeros too.
func carriedHMAC(class core.Class, alg core.CryptographicAlgorithm, n int) int {
	h, err := soft.HMACHash(alg)
	if n > hmacBlock || (class == core.ClassX && wrappable(n) && err == nil && n >= h.Size()) {
		return n
	}
	return hmacBlock
}

// filledUp reports whether the token has a symmetric key with zeros behind it.
func filledUp(k core.Key) bool {
	m := k.Material
	switch {
	case m.Kind != core.KeyGeneric && m.Kind != core.KeyData:
		return false
	case m.Mode == core.ModeWrapped:
		const overhead = 8 // bytes, of RFC 3394
		return len(m.Blob)-overhead != m.Length
	}
	return m.Kind == core.KeyGeneric && carriedHMAC(m.Class, k.Algorithm, m.Length) != m.Length
}

// takeIn makes the session object and keeps it.
func (t *Token) takeIn(sh p11.SessionHandle, k core.Key, s core.KeySpec, m *core.Material, carried []byte) error {
	if m.Mode == core.ModeResident && isPrivate(s.Kind) {
		return t.takeInPrivate(sh, k, s, m, carried)
	}
	class, typ := keyType(s.Kind, m.Length)
	if isPrivate(s.Kind) {
		class, typ = p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET
	}
	tmpl := template(class, typ, true, true, nil)
	if m.Mode == core.ModeResident {
		tmpl = template(class, typ, s.Class != core.ClassC, s.Class != core.ClassN, usesOf(k.Mask, false),
			p11.NewAttribute(p11.CKA_ID, s.Token), p11.NewAttribute(p11.CKA_LABEL, t.objectLabel(&k)))
	}
	h, err := t.glue.createSecret(sh, tmpl, carried)
	if err != nil {
		return err
	}
	defer t.lib.DestroyObject(sh, h)
	if s.TTLV != nil && m.Mode == core.ModeWrapped {
		if m.TTLV, err = t.wrapTTLV(sh, k, s.TTLV); err != nil {
			return err
		}
	}
	if err := t.settle(sh, k, m, h); err != nil || !isPrivate(s.Kind) || s.Class == core.ClassC {
		return err
	}
	return t.prove(sh, carried[:m.Length], func(tmpl []*p11.Attribute) (p11.ObjectHandle, error) {
		k.Material = m
		return t.unwrap(sh, k, tmpl, m.Blob)
	})
}

// takeInPrivate brings a private key into the token: wrapped under the class
// KEK as bytes and unwrapped as a key, so that no component is parsed here.
func (t *Token) takeInPrivate(sh p11.SessionHandle, k core.Key, s core.KeySpec, m *core.Material, carried []byte) error {
	if s.Kind == core.KeyEd25519 {
		return t.takeInEd25519(sh, k, s, m, carried[:m.Length])
	}
	n, err := t.of(k.Tenant)
	if err != nil {
		return err
	}
	// Under the key of its own class, so that the token gives it away no more easily
	// while it passes than afterwards.
	kek, err := n.key(string(s.Class), n.newest[string(s.Class)])
	if err != nil {
		return err
	}
	bytes, err := t.glue.createSecret(sh, template(p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET, true, true, nil), carried)
	if err != nil {
		return err
	}
	defer t.lib.DestroyObject(sh, bytes)
	kw := []*p11.Mechanism{p11.NewMechanism(ckmAESKeyWrap, nil)}
	blob, err := t.lib.WrapKey(sh, kw, kek, bytes)
	if err != nil {
		return err
	}
	defer core.Retire(blob)
	unwrap := func(tmpl []*p11.Attribute) (p11.ObjectHandle, error) { return t.lib.UnwrapKey(sh, kw, kek, blob, tmpl) }
	if s.Class != core.ClassC {
		if err := t.prove(sh, carried[:m.Length], unwrap); err != nil {
			return err
		}
	}
	h, err := unwrap(t.newKeyTemplate(&k, s, 0))
	if err != nil {
		return err
	}
	defer t.lib.DestroyObject(sh, h)
	return t.settle(sh, k, m, h)
}

func (t *Token) takeInEd25519(sh p11.SessionHandle, k core.Key, s core.KeySpec, m *core.Material, der []byte) error {
	seed, err := format.SeedOf(der)
	if err != nil {
		return err
	}
	name, err := asn1.MarshalWithParams("edwards25519", "printable")
	if err != nil {
		return err
	}
	h, err := t.glue.createSecret(sh, append(t.newKeyTemplate(&k, s, 0), p11.NewAttribute(p11.CKA_EC_PARAMS, name)), seed)
	if err != nil {
		return err
	}
	defer t.lib.DestroyObject(sh, h)
	return t.settle(sh, k, m, h)
}

// wrapTTLV keeps the TTLV Key Value of a registered class X key beside it, so
// that Get can wrap it with TTLV Encoding without ever seeing it again.
func (t *Token) wrapTTLV(sh p11.SessionHandle, k core.Key, ttlv []byte) ([]byte, error) {
	n, err := t.of(k.Tenant)
	if err != nil {
		return nil, err
	}
	kek, err := n.key("X", n.newest["X"])
	if err != nil {
		return nil, err
	}
	h, err := t.glue.createSecret(sh, template(p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET, true, true, nil), ttlv)
	if err != nil {
		return nil, err
	}
	defer t.lib.DestroyObject(sh, h)
	return t.lib.WrapKey(sh, []*p11.Mechanism{p11.NewMechanism(ckmAESKeyWrap, nil)}, kek, h)
}

// sealData encrypts bytes that are no key of the token under D; the row's
// identity is bound as additional data and by the row MAC.
func (t *Token) sealData(ctx context.Context, k core.Key, m *core.Material, b []byte) error {
	n, err := t.of(k.Tenant)
	if err != nil {
		return err
	}
	m.Wrap, m.Epoch = formatGCM, n.newest["D"]
	iv := make([]byte, gcmIVBytes)
	rand.Read(iv)
	err = t.do(ctx, "seal data", func(sh p11.SessionHandle) error {
		n, err := t.of(k.Tenant)
		if err != nil {
			return err
		}
		d, err := n.key("D", m.Epoch)
		if err != nil {
			return err
		}
		m.Blob, err = t.gcmSeal(sh, d, iv, dataIdentity(k, m), nonEmpty(b))
		return err
	})
	if err == nil {
		k.Material = m
		m.MAC = n.seal(k)
	}
	return err
}

// gcmSeal encrypts by AES-GCM and returns the IV that was used, then ciphertext
// and tag.
func (t *Token) gcmSeal(s p11.SessionHandle, key p11.ObjectHandle, iv, aad, data []byte) ([]byte, error) {
	params := p11.NewGCMParams(iv, aad, 128)
	defer params.Free()
	if err := t.lib.EncryptInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)}, key); err != nil {
		return nil, err
	}
	ct, err := t.lib.Encrypt(s, data)
	if err != nil {
		return nil, err
	}
	used, err := usedIV(params, iv)
	if err != nil {
		return nil, err
	}
	return append(append(make([]byte, 0, len(iv)+len(ct)), used...), ct...), nil
}

// gcmOpen is the reverse, for what is no client's.
func (t *Token) gcmOpen(s p11.SessionHandle, key p11.ObjectHandle, sealed, aad []byte) ([]byte, error) {
	params := p11.NewGCMParams(sealed[:gcmIVBytes], aad, 128)
	defer params.Free()
	if err := t.lib.DecryptInit(s, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)}, key); err != nil {
		return nil, err
	}
	return t.lib.Decrypt(s, sealed[gcmIVBytes:])
}

// nonEmpty stands in for data of no bytes, which the binding cannot pass: one
// zero byte, cut off again by the true length.
func nonEmpty(b []byte) []byte {
	if len(b) == 0 {
		return []byte{0}
	}
	return b
}

func dataIdentity(k core.Key, m *core.Material) []byte {
	var b []byte
	for _, s := range []string{"keyreeve data v1", k.Tenant, k.ID, string(m.Class)} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(k.Type))
	return binary.BigEndian.AppendUint64(b, uint64(m.Length))
}

// Reclass wraps a key anew under the KEK of a stricter class. Bytes that are
// kept as data are read and taken in again; keys never leave the token.
func (t *Token) Reclass(ctx context.Context, k core.Key, to core.Class) (m core.Material, err error) {
	n, err := t.of(k.Tenant)
	if err == nil {
		err = n.verify(k)
	}
	if err != nil {
		return m, err
	}
	s := core.KeySpec{Kind: k.Material.Kind, Class: to, Mode: k.Material.Mode, Format: k.Material.Format}
	if err := t.offered(s); err != nil {
		return m, err
	}
	switch {
	case k.Material.Mode == core.ModeResident:
		return m, core.Errorf(core.IllegalOperation, "object %s is an object of the HSM, which keeps it as it was made; create or register it in the class it should have", k.ID)
	case k.Material.Kind == core.KeyPublic:
		return m, core.Errorf(core.IllegalOperation, "object %s is public", k.ID)
	case k.Material.Mode == core.ModeData:
		err = t.withClear(ctx, k, func(b []byte) (err error) { m, _, err = t.Import(ctx, k, s, b); return err })
		return m, err
	}
	m = *k.Material
	m.Class, m.TTLV = to, nil
	err = t.do(ctx, "wrap a key again", func(sh p11.SessionHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		h, err := t.unwrap(sh, k, template(p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET, true, true, nil), k.Material.Blob)
		if err != nil {
			return err
		}
		defer t.lib.DestroyObject(sh, h)
		return t.settle(sh, k, &m, h)
	})
	return m, err
}
