package member

import (
	"context"
	"errors"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// Wrap implements [hsm.Member].
func (m *Module) Wrap(ctx context.Context, w hsm.Wrapping) (out []byte, err error) {
	err = m.perform(ctx, call{doing: "wrap a key", key: w.Under, turn: true, run: func(s p11.SessionHandle, under p11.ObjectHandle) error {
		if w.Under == nil {
			var err error
			if under, err = m.conn.ctx.CreateObject(s, publicAttributes(w.PublicKey)); err != nil {
				return err
			}
			defer m.conn.ctx.DestroyObject(s, under)
		}
		h, mine, err := m.objectToWrap(s, &w)
		if err != nil {
			return err
		}
		if mine {
			defer m.conn.ctx.DestroyObject(s, h)
		}
		mech, _, err := mechanismOf(&w.Mechanism)
		if err != nil {
			return err
		}
		out, err = m.conn.ctx.WrapKey(s, mech, under, h)
		return explainOAEP(explainLength(err, &w), &w.Mechanism)
	}})
	return out, err
}

// objectToWrap returns the object to be wrapped: of given bytes, a resident key, or a key
// that is unwrapped for this call only. mine says that the caller must destroy it.
func (m *caller) objectToWrap(s p11.SessionHandle, w *hsm.Wrapping) (h p11.ObjectHandle, mine bool, err error) {
	switch {
	case w.Key == nil:
		h, err = m.conn.glue.createSecret(s, attributesOf(wrappableSecret), w.Bytes)
		return h, true, err
	case w.Key.Blob == nil:
		h, err = m.findResident(s, w.Key)
		return h, false, err
	}
	h, err = m.unwrapBlob(s, w.Key)
	return h, true, err
}

// explainLength turns a token's error about a key that is too long for an RSA public key
// into an [hsm.ErrTooLong].
func explainLength(err error, w *hsm.Wrapping) error {
	if e, ok := errors.AsType[p11.Error](err); ok && w.PublicKey != nil && (e == p11.CKR_KEY_SIZE_RANGE || e == p11.CKR_DATA_LEN_RANGE) {
		return core.Wrap(core.KeyWrapTypeNotSupported, hsm.ErrTooLong, "the key is too long to be wrapped under this RSA key")
	}
	return err
}
