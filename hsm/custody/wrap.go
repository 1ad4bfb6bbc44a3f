package custody

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// WrapOut wraps k under with, in the HSM.
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
	var raw []byte
	if len(ttlv) > 0 {
		raw = ttlv
	} else if ttlv == nil {
		if raw, err = c.bytesToWrap(ctx, k); err != nil {
			return nil, err
		}
		defer clear(raw)
	}
	if size := wrapLength(k, raw, ttlv); mechanism.Type == hsm.AESKeyWrap && !isWrappable(size) {
		return nil, core.Errorf(core.KeyWrapTypeNotSupported, "NIST key wrap carries multiples of 8 bytes, at least 16; object %s has %d", k.ID, size)
	}
	under, err := c.Reference(with)
	if err != nil {
		return nil, err
	}
	w := hsm.Wrapping{Under: &under, Mechanism: mechanism, Bytes: raw}
	if raw == nil {
		if w.Key, err = c.keyToWrap(n, k, ttlv); err != nil {
			return nil, err
		}
	}
	return c.member.Wrap(ctx, w)
}
