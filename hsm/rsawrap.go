package hsm

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"encoding/binary"
	"errors"
	"math/big"
	"sync"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// underRSA reports whether a client's wrapping key is half of an RSA pair.
func underRSA(with core.Key) bool {
	return with.Material.Kind == core.KeyRSA || (with.Material.Kind == core.KeyPublic && with.Algorithm == core.AlgorithmRSA)
}

// oaepHashes are the names that PKCS#11 has for a hash, alone and in MGF1.
var oaepHashes = map[crypto.Hash]struct{ hash, mgf uint }{crypto.SHA1: {p11.CKM_SHA_1, p11.CKG_MGF1_SHA1}, crypto.SHA224: {p11.CKM_SHA224, p11.CKG_MGF1_SHA224},
	crypto.SHA256: {p11.CKM_SHA256, p11.CKG_MGF1_SHA256}, crypto.SHA384: {p11.CKM_SHA384, p11.CKG_MGF1_SHA384}, crypto.SHA512: {p11.CKM_SHA512, p11.CKG_MGF1_SHA512}}

// rsaMechanism is the token's mechanism of a plan. Raw RSA is never used to wrap.
func (t *Token) rsaMechanism(plan soft.EncryptionPlan, use uint) ([]*p11.Mechanism, error) {
	m, param := uint(p11.CKM_RSA_PKCS), any(nil)
	if plan.OAEP {
		hash, known := oaepHashes[plan.Hash]
		mgf, knownMGF := oaepHashes[plan.MGF]
		if !known || !knownMGF {
			return nil, core.Errorf(core.UnsupportedByHSM, "PKCS#11 has no name for OAEP with %v and %v", plan.Hash, plan.MGF)
		}
		m, param = p11.CKM_RSA_PKCS_OAEP, p11.NewOAEPParams(hash.hash, mgf.mgf, p11.CKZ_DATA_SPECIFIED, plan.Label)
	}
	if !t.has(m, use) {
		return nil, core.Errorf(core.UnsupportedByHSM, "this HSM lacks the mechanism to wrap under RSA in the way asked for")
	}
	return []*p11.Mechanism{p11.NewMechanism(m, param)}, nil
}

// lacksHash makes what a token says of OAEP parameters that it does not have an
// UnsupportedByHSM that names them.
func lacksHash(err error, plan soft.EncryptionPlan) error {
	var e p11.Error
	if plan.OAEP && errors.As(err, &e) && (e == p11.CKR_MECHANISM_PARAM_INVALID || e == p11.CKR_ARGUMENTS_BAD || e == p11.CKR_MECHANISM_INVALID) {
		return core.Errorf(core.UnsupportedByHSM, "this HSM does not wrap by OAEP with %v, MGF1 with %v and a label of %d bytes; ask for SHA-1 without a label", plan.Hash, plan.MGF, len(plan.Label))
	}
	return err
}

// wrapUnderRSA wraps k under an RSA public key (KMIP 1.4 §2.1.6). What may leave in
// clear is encrypted here, with every hash; a class X key by the token, in which the
// public key is an object for that one call.
func (t *Token) wrapUnderRSA(ctx context.Context, k, with core.Key, p core.CryptographicParameters, ttlv []byte) ([]byte, error) {
	if with.Material.Kind != core.KeyPublic {
		return nil, core.Errorf(core.IllegalOperation, "keys are wrapped under public keys; object %s is a private key, which unwraps", with.ID)
	}
	plan, err := soft.ResolveEncryption(p)
	if err != nil {
		return nil, err
	}
	var spki []byte
	if err := t.withClear(ctx, with, func(b []byte) error { spki = append(spki, b...); return nil }); err != nil {
		return nil, err
	}
	raw, err := t.clearToWrap(ctx, k, ttlv)
	if err != nil {
		return nil, err
	}
	if raw != nil {
		defer clear(raw)
		out, err := soft.EncryptPublic(spki, plan, raw)
		if core.CodeOf(err) == core.CryptographicFailure {
			err = tooLongForRSA(k)
		}
		return out, err
	}
	return t.wrapInToken(ctx, k, spki, plan, ttlv)
}

// clearToWrap is what may be wrapped here: a given Key Value, or the bytes of a
// class C key. nil is what only the token may wrap. The row has been verified.
func (t *Token) clearToWrap(ctx context.Context, k core.Key, ttlv []byte) ([]byte, error) {
	switch {
	case len(ttlv) > 0:
		return append([]byte{}, ttlv...), nil
	case ttlv != nil:
		return nil, nil
	case k.Material.Class == core.ClassC:
		return t.Clear(ctx, k, nil)
	}
	return t.bytesToWrap(ctx, k)
}

func tooLongForRSA(k core.Key) error {
	return core.Errorf(core.KeyWrapTypeNotSupported, "object %s is too long to be wrapped under this RSA key; take a longer one, or an AES key", k.ID)
}

func (t *Token) wrapInToken(ctx context.Context, k core.Key, spki []byte, plan soft.EncryptionPlan, ttlv []byte) (out []byte, err error) {
	mech, err := t.rsaMechanism(plan, p11.CKF_WRAP)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKIXPublicKey(spki)
	public, ok := key.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, core.Errorf(core.KeyWrapTypeNotSupported, "the wrapping key is no RSA public key")
	}
	err = t.do(ctx, "wrap a key", func(sh p11.SessionHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		wrapping, err := t.lib.CreateObject(sh, publicTemplate(public))
		if err != nil {
			return err
		}
		defer t.lib.DestroyObject(sh, wrapping)
		h, mine, err := t.toWrap(sh, k, nil, ttlv)
		if err != nil {
			return err
		}
		if mine {
			defer t.lib.DestroyObject(sh, h)
		}
		out, err = t.lib.WrapKey(sh, mech, wrapping, h)
		if e := p11.Error(0); errors.As(err, &e) && (e == p11.CKR_KEY_SIZE_RANGE || e == p11.CKR_DATA_LEN_RANGE) {
			return tooLongForRSA(k)
		}
		return lacksHash(err, plan)
	})
	return out, err
}

// publicTemplate is a session object that wraps and does nothing else.
func publicTemplate(k *rsa.PublicKey) []*p11.Attribute {
	return []*p11.Attribute{p11.NewAttribute(p11.CKA_CLASS, p11.CKO_PUBLIC_KEY), p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_RSA),
		p11.NewAttribute(p11.CKA_TOKEN, false), p11.NewAttribute(p11.CKA_PRIVATE, false), p11.NewAttribute(p11.CKA_WRAP, true),
		p11.NewAttribute(p11.CKA_ENCRYPT, false), p11.NewAttribute(p11.CKA_VERIFY, false),
		p11.NewAttribute(p11.CKA_MODULUS, k.N.Bytes()), p11.NewAttribute(p11.CKA_PUBLIC_EXPONENT, big.NewInt(int64(k.E)).Bytes())}
}

// unwrapUnderRSA takes a key that a client wrapped under the public half of with. The
// token unwraps it straight into an object of its class; it is never clear here.
// Whatever is wrong with the wrapped bytes has one answer, since more than one lets
// somebody decrypt what others sent (Manger for OAEP, Bleichenbacher for PKCS#1 v1.5).
func (t *Token) unwrapUnderRSA(ctx context.Context, k core.Key, s core.KeySpec, with core.Key, p core.CryptographicParameters, wrapped []byte) (m core.Material, facts core.KeyFacts, err error) {
	plan, err := soft.ResolveEncryption(p)
	if err != nil {
		return m, facts, err
	}
	length := keyBytes(s.Kind, s.Bits)
	switch {
	case with.Material.Kind != core.KeyRSA:
		return m, facts, core.Errorf(core.IllegalOperation, "object %s is a public key, which does not unwrap", with.ID)
	case isPrivate(s.Kind):
		return m, facts, core.Errorf(core.KeyWrapTypeNotSupported, "RSA unwraps no private keys here; wrap it under an AES key")
	case len(wrapped) != (with.Bits+7)/8:
		return m, facts, core.Errorf(core.InvalidField, "%d wrapped bytes do not come from an RSA key of %d bits", len(wrapped), with.Bits)
	case length != 0 && !wrappable(length):
		return m, facts, core.Errorf(core.InvalidField, "a wrapped key of %d bits cannot be kept; the HSM takes multiples of 64 bits, at least 128", s.Bits)
	}
	if err := t.offered(s); err != nil {
		return m, facts, err
	}
	mech, err := t.rsaMechanism(plan, p11.CKF_UNWRAP)
	if err != nil {
		return m, facts, err
	}
	unwrap := func() error {
		m, facts, err = t.unwrapOnce(ctx, k, s, with, plan, mech, wrapped)
		return err
	}
	if plan.OAEP {
		return m, facts, unwrap()
	}
	return m, facts, t.oracle.guard(ctx, t.cfg.UnwrapPKCS1, with, unwrap)
}

// errUnwrap is the one answer to wrapped bytes that are wrong in any way.
func errUnwrap() error {
	return core.Errorf(core.CryptographicFailure, "the wrapped key cannot be unwrapped: wrapping key, padding, hash or length are wrong")
}

func (t *Token) unwrapOnce(ctx context.Context, k core.Key, s core.KeySpec, with core.Key, plan soft.EncryptionPlan, mech []*p11.Mechanism, wrapped []byte) (m core.Material, facts core.KeyFacts, err error) {
	run := t.with
	if s.Mode == core.ModeResident {
		run = t.attemptWith
	}
	err = run(ctx, with, "unwrap a key", func(sh p11.SessionHandle, wrapping p11.ObjectHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		unwrap := func(tmpl []*p11.Attribute) (p11.ObjectHandle, error) {
			return t.lib.UnwrapKey(sh, mech, wrapping, wrapped, tmpl)
		}
		length := keyBytes(s.Kind, s.Bits)
		n, err := t.unwrappedLength(sh, k, s.Class, unwrap)
		if err != nil {
			return lacksHash(err, plan)
		}
		if (length != 0 && n != length) || !wrappable(n) {
			return errUnwrap()
		}
		h, err := unwrap(t.newImportTemplate(&k, s, n))
		if err != nil {
			return err
		}
		defer t.lib.DestroyObject(sh, h)
		m = core.Material{Mode: s.Mode, Class: s.Class, Kind: s.Kind, Format: s.Format, Length: n, Token: s.Token}
		facts.SHA256, _ = t.digestKey(sh, h)
		return t.settle(sh, k, &m, h)
	})
	facts.Where = inToken
	if core.CodeOf(err) == core.CryptographicFailure {
		err = errUnwrap()
	}
	return m, facts, err
}

// unwrappedLength is the true length, in bytes, of what unwrap makes: RSA unwraps what
// there is, whatever was said of it. SoftHSM2 does not tell CKA_VALUE_LEN of such an
// object. Wrapped under the class KEK it fills up whole blocks of 8 bytes, so a key
// that comes back with another digest was no multiple of 8 bytes.
func (t *Token) unwrappedLength(sh p11.SessionHandle, k core.Key, class core.Class, unwrap func([]*p11.Attribute) (p11.ObjectHandle, error)) (int, error) {
	generic := template(p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET, true, true, nil)
	h, err := unwrap(generic)
	if err != nil {
		return 0, err
	}
	defer t.lib.DestroyObject(sh, h)
	if n := t.valueLength(sh, h); n > 0 {
		return n, nil
	}
	n, err := t.of(k.Tenant)
	if err != nil {
		return 0, err
	}
	kek, err := n.key(string(class), n.newest[string(class)])
	if err != nil {
		return 0, err
	}
	kw := []*p11.Mechanism{p11.NewMechanism(ckmAESKeyWrap, nil)}
	blob, err := t.lib.WrapKey(sh, kw, kek, h)
	if err != nil {
		return 0, errUnwrap() // a length that the key wrap refuses
	}
	asKept := template(p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET, true, class != core.ClassN, nil) // as the KEK's template demands
	again, err := t.lib.UnwrapKey(sh, kw, kek, blob, asKept)
	if err != nil {
		return 0, err
	}
	defer t.lib.DestroyObject(sh, again)
	before, err := t.digestKey(sh, h)
	if err != nil {
		return 0, core.Wrap(core.UnsupportedByHSM, err, "this HSM does not tell the length of an unwrapped key, nor its digest, so it cannot be checked")
	}
	after, err := t.digestKey(sh, again)
	if err != nil {
		return 0, err
	}
	if !bytes.Equal(before, after) {
		return 0, errUnwrap()
	}
	const overhead = 8 // bytes, of RFC 3394
	return len(blob) - overhead, nil
}

// valueLength is CKA_VALUE_LEN; 0 where the token does not tell it.
func (t *Token) valueLength(sh p11.SessionHandle, h p11.ObjectHandle) int {
	as, err := t.lib.GetAttributeValue(sh, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_VALUE_LEN, nil)})
	if err != nil || len(as) != 1 || len(as[0].Value) != 8 {
		return 0
	}
	return int(min(binary.NativeEndian.Uint64(as[0].Value), maxClear))
}

// Bounds on unwrapping by PKCS#1 v1.5, whose padding tells who can try often enough
// what others encrypted.
const (
	pkcs1Failures = 32                     // of one key within pkcs1Window; then it unwraps so no more
	pkcs1Window   = time.Hour              // from the first of them
	pkcs1Answer   = 100 * time.Millisecond // answers come at multiples of it
	maxPKCS1Keys  = 1024                   // with failures, at once
)

// pkcs1Oracle guards unwrapping by PKCS#1 v1.5. Safe for concurrent use.
type pkcs1Oracle struct {
	mu       sync.Mutex
	failures map[[2]string]*pkcs1Count // by tenant and object
}

type pkcs1Count struct {
	since time.Time
	n     int
}

// guard runs unwrap if the setting and the key allow it: the key must be there for
// Unwrap Key alone, so that Decrypt is no second oracle. Every try counts as a
// failure until it has succeeded.
func (o *pkcs1Oracle) guard(ctx context.Context, allowed bool, with core.Key, unwrap func() error) error {
	if !allowed {
		return core.Errorf(core.UnsupportedByHSM, "keys wrapped by PKCS#1 v1.5 are not unwrapped here; use OAEP, or have hsm.unwrap_pkcs1 turned on")
	}
	if with.Mask != core.MaskUnwrapKey {
		return core.Errorf(core.IncompatibleUsageMask, "PKCS#1 v1.5 unwraps under keys whose Cryptographic Usage Mask is Unwrap Key alone; that of object %s is %v", with.ID, with.Mask)
	}
	start := time.Now()
	if err := o.charge(with, start); err != nil {
		return err
	}
	err := unwrap()
	if core.CodeOf(err) != core.CryptographicFailure {
		o.refund(with)
	}
	wait := time.NewTimer(pkcs1Answer - time.Since(start)%pkcs1Answer)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	return err
}

func (o *pkcs1Oracle) charge(with core.Key, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := [2]string{with.Tenant, with.ID}
	if o.failures == nil {
		o.failures = map[[2]string]*pkcs1Count{}
	}
	if len(o.failures) >= maxPKCS1Keys {
		for id, c := range o.failures {
			if now.Sub(c.since) >= pkcs1Window {
				delete(o.failures, id)
			}
		}
	}
	c := o.failures[key]
	if c == nil || now.Sub(c.since) >= pkcs1Window {
		if c == nil && len(o.failures) >= maxPKCS1Keys {
			return core.Errorf(core.Busy, "too many keys have failed to unwrap by PKCS#1 v1.5; try again in an hour, or use OAEP")
		}
		c = &pkcs1Count{since: now}
		o.failures[key] = c
	}
	if c.n >= pkcs1Failures {
		return core.Errorf(core.PermissionDenied, "object %s has failed to unwrap %d times within an hour and does not unwrap by PKCS#1 v1.5 until it is over; use OAEP", with.ID, pkcs1Failures)
	}
	c.n++
	return nil
}

func (o *pkcs1Oracle) refund(with core.Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.failures[[2]string{with.Tenant, with.ID}]; c != nil && c.n > 0 {
		c.n--
	}
}
