package custody

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// WrapOut wraps k under with, in the HSM. If ttlv is not nil, it wraps the TTLV Key Value
// instead of the key: ttlv, or the stored one if ttlv is empty.
func (c *keyUser) WrapOut(ctx context.Context, k, with core.Key, p core.CryptographicParameters, ttlv []byte) (out []byte, err error) {
	n, err := c.checkRow(k)
	if err != nil {
		return nil, err
	}
	if isRSAKey(with) {
		return c.wrapUnderRSA(ctx, n, k, with, p, ttlv)
	}
	mechanism, err := c.wrapMechanism(with, p)
	if err != nil {
		return nil, err
	}
	raw, err := c.bytesToWrap(ctx, k, ttlv)
	if err != nil {
		return nil, err
	}
	defer clear(raw)
	if err := checkWrapLength(k, raw, ttlv); err != nil {
		return nil, err
	}
	return c.wrapUnderAES(ctx, n, k, with, mechanism, raw, ttlv)
}

// WrapBytes wraps bytes of the caller. An AES key wraps in the HSM, where the bytes are an object
// for that one call. For an RSA public key no HSM is needed.
func (c *keyUser) WrapBytes(ctx context.Context, with core.Key, p core.CryptographicParameters, b []byte) (wrapped []byte, where string, err error) {
	if isRSAKey(with) {
		wrapped, err = c.encryptUnderRSA(ctx, with, p, b)
		return wrapped, inSoftware, err
	}
	mechanism, err := c.wrapMechanism(with, p)
	if err != nil {
		return nil, "", err
	}
	if !isWrappable(len(b)) { // SoftHSM2 fills other lengths up also for the mechanism that has padding
		return nil, "", core.Errorf(core.InvalidField, "%d bytes cannot be wrapped under an AES key here; the HSM takes multiples of 8 bytes, at least 16", len(b))
	}
	wrapped, err = c.wrapUnderAES(ctx, nil, core.Key{}, with, mechanism, b, nil)
	return wrapped, inToken, err
}

// wrapUnderAES wraps the raw bytes under an AES key, or if they are nil the object that
// the HSM has.
func (c *keyUser) wrapUnderAES(ctx context.Context, n *tenantKeys, k, with core.Key, mechanism hsm.Mechanism, raw, ttlv []byte) ([]byte, error) {
	under, err := c.Reference(with)
	if err != nil {
		return nil, err
	}
	w := hsm.Wrapping{Under: &under, Mechanism: mechanism, Bytes: raw}
	if raw == nil {
		w.Key, err = c.keyToWrap(n, k, ttlv)
	}
	if err != nil {
		return nil, err
	}
	return c.member.Wrap(ctx, w)
}
