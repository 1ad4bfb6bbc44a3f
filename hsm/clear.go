package hsm

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"encoding/asn1"
	"math/big"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

func parseECPoint(c elliptic.Curve, point []byte) (*ecdsa.PublicKey, error) {
	return ecdsa.ParseUncompressedPublicKey(c, point)
}

// maxClear bounds the bytes of one object; the engine takes no more in.
const maxClear = 1 << 20

// Clear appends the bytes of a class C key, or of data, to dst, from the locked
// copy where there is one. The caller zeroes them.
func (t *Token) Clear(ctx context.Context, k core.Key, dst []byte) ([]byte, error) {
	if k.Material.Class == core.ClassC {
		if out, ok := t.copies.get(&k, dst); ok {
			return out, nil
		}
	}
	n, err := t.of(k.Tenant)
	if err != nil {
		return dst, err
	}
	if err := n.verify(k); err != nil {
		return dst, err
	}
	if k.Material.Class == core.ClassN || (k.Material.Class == core.ClassX && k.Material.Mode != core.ModeData) {
		return dst, core.Errorf(core.Sensitive, "object %s does not leave the HSM in clear", k.ID)
	}
	buf := make([]byte, min(maxClear, clearRoom(k.Material)))
	defer clear(buf)
	m, err := t.readClear(ctx, k, buf)
	if err != nil {
		return dst, err
	}
	b, err := cut(k.Material, buf[:m])
	if err != nil {
		return dst, err
	}
	if k.Material.Class == core.ClassC {
		t.copies.put(&k, b)
	}
	return append(dst, b...), nil
}

// clearRoom is no less than the clear bytes can be: a blob is longer than what
// is in it, and a token object's value not longer than its DER.
func clearRoom(m *core.Material) int { return max(len(m.Blob), m.Length) + 64 }

func (t *Token) readClear(ctx context.Context, k core.Key, buf []byte) (m int, err error) {
	if k.Material.Mode == core.ModeData {
		return t.openData(ctx, k, buf)
	}
	if k.Material.Mode == core.ModeResident {
		err = t.with(ctx, k, "read a key", func(sh p11.SessionHandle, key p11.ObjectHandle) (err error) {
			m, err = t.glue.readValue(sh, key, buf)
			return err
		})
		return m, err
	}
	return t.readWrapped(ctx, k, buf)
}

// kekOf is the key that a row's blob is wrapped under.
func (t *Token) kekOf(k core.Key) (p11.ObjectHandle, error) {
	n, err := t.of(k.Tenant)
	if err != nil {
		return 0, err
	}
	if len(k.Material.Blob) == 0 { // the binding panics on it
		return 0, core.Errorf(core.CryptographicFailure, "object %s has no key material", k.ID)
	}
	return n.key(string(k.Material.Class), k.Material.Epoch)
}

// unwrap makes a session object of a row's blob. The row MAC has been checked.
func (t *Token) unwrap(sh p11.SessionHandle, k core.Key, tmpl []*p11.Attribute, blob []byte) (p11.ObjectHandle, error) {
	kek, err := t.kekOf(k)
	if err != nil {
		return 0, err
	}
	return t.lib.UnwrapKey(sh, []*p11.Mechanism{p11.NewMechanism(ckmAESKeyWrap, nil)}, kek, blob, tmpl)
}

// cut takes off what the key wrap had to add: zeros behind a symmetric key's
// true length, or behind the DER of a private one.
func cut(m *core.Material, b []byte) ([]byte, error) {
	if !isPrivate(m.Kind) {
		if len(b) < m.Length {
			return nil, core.Errorf(core.CryptographicFailure, "the HSM gave %d bytes of a key of %d", len(b), m.Length)
		}
		return b[:m.Length], nil
	}
	var der asn1.RawValue
	rest, err := asn1.Unmarshal(b, &der)
	if err != nil {
		return nil, core.Wrap(core.CryptographicFailure, err, "the private key is no PKCS#8")
	}
	return b[:len(b)-len(rest)], nil
}

func (t *Token) openData(ctx context.Context, k core.Key, buf []byte) (m int, err error) {
	blob := k.Material.Blob
	if len(blob) < 12+16 {
		return 0, tampered(k)
	}
	err = t.do(ctx, "open data", func(sh p11.SessionHandle) error {
		n, err := t.of(k.Tenant)
		if err != nil {
			return err
		}
		d, err := n.key("D", k.Material.Epoch)
		if err != nil {
			return err
		}
		params := p11.NewGCMParams(blob[:12], dataIdentity(k, k.Material), 128)
		defer params.Free()
		if err := t.lib.DecryptInit(sh, []*p11.Mechanism{p11.NewMechanism(p11.CKM_AES_GCM, params)}, d); err != nil {
			return err
		}
		m, err = t.glue.decrypt(sh, blob[12:], buf)
		return err
	})
	return m, err
}

// resident finds a token object once and keeps its handle.
func (t *Token) resident(ctx context.Context, k core.Key) (*handle, error) {
	if v := t.handles.pin(k); v != nil {
		return v, nil
	}
	var found []p11.ObjectHandle
	var start uint64
	err := t.do(ctx, "find a key", func(sh p11.SessionHandle) (err error) {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		start = t.starts.Load()
		found, err = t.findObject(sh, &k)
		return err
	})
	if err != nil {
		return nil, err
	}
	if len(found) != 1 {
		return nil, core.Errorf(core.TokenUnavailable, "the HSM has %d objects for key %s, not one; was it restored from a backup, or is this not its token?", len(found), k.ID)
	}
	return t.handles.add(k, found[0], start, false), nil
}

// WrapOut wraps k under with, in the token.
func (t *Token) WrapOut(ctx context.Context, k, with core.Key, p core.CryptographicParameters, ttlv []byte) (out []byte, err error) {
	n, err := t.of(k.Tenant)
	if err != nil {
		return nil, err
	}
	if err := n.verify(k); err != nil {
		return nil, err
	}
	if underRSA(with) {
		return t.wrapUnderRSA(ctx, k, with, p, ttlv)
	}
	mech, err := t.wrapMechanism(with, p)
	if err != nil {
		return nil, err
	}
	var raw []byte
	if len(ttlv) > 0 {
		raw = ttlv
	} else if ttlv == nil {
		if raw, err = t.bytesToWrap(ctx, k); err != nil {
			return nil, err
		}
		defer clear(raw)
	}
	if size := wrapLength(k, raw, ttlv); mech == ckmAESKeyWrap && !wrappable(size) {
		return nil, core.Errorf(core.KeyWrapTypeNotSupported, "NIST key wrap carries multiples of 8 bytes, at least 16; object %s has %d", k.ID, size)
	}
	err = t.with(ctx, with, "wrap a key", func(sh p11.SessionHandle, wrapping p11.ObjectHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		h, mine, err := t.toWrap(sh, k, raw, ttlv)
		if err != nil {
			return err
		}
		if mine {
			defer t.lib.DestroyObject(sh, h)
		}
		out, err = t.lib.WrapKey(sh, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, wrapping, h)
		return err
	})
	return out, err
}

// bytesToWrap are the clear bytes to be wrapped where the token has no object of
// just these; nil where it has. Clear refuses what may not be seen.
func (t *Token) bytesToWrap(ctx context.Context, k core.Key) ([]byte, error) {
	switch {
	case k.Material.Mode == core.ModeData && k.Material.Class != core.ClassN, filledUp(k) && k.Material.Class == core.ClassC:
		return t.Clear(ctx, k, nil)
	case filledUp(k):
		return nil, core.Errorf(core.KeyWrapTypeNotSupported, "the HSM keeps the %d bytes of object %s with zeros behind them and would wrap those too; ask with Encoding Option TTLV Encoding if they were registered", k.Material.Length, k.ID)
	}
	return nil, nil
}

func wrapLength(k core.Key, raw, ttlv []byte) int {
	switch {
	case raw != nil:
		return len(raw)
	case ttlv != nil || isPrivate(k.Material.Kind):
		return 16 // padded when it was taken in
	}
	return k.Material.Length
}

// toWrap is the object that goes into the wrap: given bytes, the stored TTLV
// blob, or the key itself, extractable for this one call.
func (t *Token) toWrap(sh p11.SessionHandle, k core.Key, raw, ttlv []byte) (p11.ObjectHandle, bool, error) {
	generic := template(p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET, true, true, nil)
	switch {
	case raw != nil:
		h, err := t.glue.createSecret(sh, generic, raw)
		return h, true, err
	case ttlv != nil:
		h, err := t.unwrap(sh, k, generic, k.Material.TTLV)
		return h, true, err
	case k.Material.Mode == core.ModeResident:
		found, err := t.findObject(sh, &k)
		if err == nil && len(found) != 1 {
			err = core.Errorf(core.TokenUnavailable, "the token has %d objects for %s, not one", len(found), k.ID)
		}
		if err != nil {
			return 0, false, err
		}
		return found[0], false, nil
	}
	class, typ := keyType(k.Material.Kind, k.Material.Length)
	h, err := t.unwrap(sh, k, template(class, typ, true, true, nil), k.Material.Blob)
	return h, true, err
}

// wrapMechanism finds the mechanism for a client's wrapping key.
func (t *Token) wrapMechanism(with core.Key, p core.CryptographicParameters) (uint, error) {
	var mech uint
	switch {
	case with.Material.Kind != core.KeyAES:
		return 0, core.Errorf(core.KeyWrapTypeNotSupported, "keys are wrapped under AES and RSA keys; %s is none", with.ID)
	case p.BlockCipherMode == core.BlockCipherModeNISTKeyWrap:
		mech = ckmAESKeyWrap
	case p.BlockCipherMode == core.BlockCipherModeAESKeyWrapPadding:
		mech = ckmAESKeyWrapPad
	default:
		return 0, core.Errorf(core.KeyWrapTypeNotSupported, "keys are wrapped by NIST Key Wrap or AES Key Wrap Padding, not by %v", p.BlockCipherMode)
	}
	if !t.has(mech, p11.CKF_WRAP) {
		return 0, core.Errorf(core.UnsupportedByHSM, "this HSM lacks the mechanism for %v", p.BlockCipherMode)
	}
	return mech, nil
}

// ImportWrapped takes a key that a client wrapped: unwrapped in the token
// under the client's key, wrapped again under the class KEK, never clear.
func (t *Token) ImportWrapped(ctx context.Context, k core.Key, s core.KeySpec, with core.Key, p core.CryptographicParameters, wrapped []byte) (m core.Material, facts core.KeyFacts, err error) {
	if underRSA(with) {
		return t.unwrapUnderRSA(ctx, k, s, with, p, wrapped)
	}
	mech, err := t.wrapMechanism(with, p)
	if err != nil {
		return m, facts, err
	}
	if err := t.offered(s); err != nil {
		return m, facts, err
	}
	length := keyBytes(s.Kind, s.Bits)
	if len(wrapped) < 24 || (!isPrivate(s.Kind) && (len(wrapped) != length+8 || !wrappable(length))) {
		return m, facts, core.Errorf(core.InvalidField, "%d wrapped bytes are no key of %d bits", len(wrapped), s.Bits)
	}
	m = core.Material{Mode: s.Mode, Class: s.Class, Kind: s.Kind, Format: s.Format, Length: length, Token: s.Token}
	run := t.with
	if s.Mode == core.ModeResident {
		run = t.attemptWith
	}
	err = run(ctx, with, "unwrap a key", func(sh p11.SessionHandle, wrapping p11.ObjectHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		h, err := t.lib.UnwrapKey(sh, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, wrapping, wrapped, t.newImportTemplate(&k, s, length))
		if err != nil {
			return err
		}
		defer t.lib.DestroyObject(sh, h)
		if !isPrivate(s.Kind) {
			facts.SHA256, _ = t.digestKey(sh, h)
		} else if err := t.asClaimed(sh, h, s); err != nil {
			return err
		}
		return t.settle(sh, k, &m, h)
	})
	facts.Where = "token"
	return m, facts, err
}

// asClaimed holds what a client said of a private key that it wrapped against the
// public parts that the token shows of it.
func (t *Token) asClaimed(sh p11.SessionHandle, h p11.ObjectHandle, s core.KeySpec) error {
	part, want := uint(p11.CKA_EC_PARAMS), []byte(nil)
	switch s.Kind {
	case core.KeyRSA:
		part = p11.CKA_MODULUS
	case core.KeyEC:
		var err error
		if want, err = asn1.Marshal(curveOIDs[s.Curve]); err != nil {
			return err
		}
	default:
		return nil
	}
	as, err := t.lib.GetAttributeValue(sh, h, []*p11.Attribute{p11.NewAttribute(part, nil)})
	if err != nil {
		return err
	}
	if s.Kind == core.KeyRSA && new(big.Int).SetBytes(as[0].Value).BitLen() != s.Bits {
		return core.Errorf(core.InvalidField, "the Cryptographic Length is given as %d and the unwrapped RSA key has another", s.Bits)
	}
	if s.Kind == core.KeyEC && !bytes.Equal(as[0].Value, want) {
		return core.Errorf(core.InvalidField, "the unwrapped key is not on the curve %v that is said of it", s.Curve)
	}
	return nil
}

// newImportTemplate is newKeyTemplate without CKA_VALUE_LEN, which C_UnwrapKey
// does not take.
func (t *Token) newImportTemplate(k *core.Key, s core.KeySpec, n int) []*p11.Attribute {
	tmpl := t.newKeyTemplate(k, s, n)
	out := tmpl[:0]
	for _, a := range tmpl {
		if a.Type != p11.CKA_VALUE_LEN {
			out = append(out, a)
		}
	}
	return out
}
