package custody

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// WrapOut wraps k under with, in the HSM.
func (c *Custody) WrapOut(ctx context.Context, k, with core.Key, p core.CryptographicParameters, ttlv []byte) (out []byte, err error) {
	n, err := c.checkRow(k)
	if err != nil {
		return nil, err
	}
	if isRSA(with) {
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

// bytesToWrap are the clear bytes to be wrapped if the HSM has no object of
// just these; nil if it has. Clear refuses what may not be seen.
func (c *Custody) bytesToWrap(ctx context.Context, k core.Key) ([]byte, error) {
	switch {
	case k.Material.Mode == core.ModeData && k.Material.Class != core.ClassN, isFilledUp(k) && k.Material.Class == core.ClassC:
		return c.Clear(ctx, k, nil)
	case isFilledUp(k):
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

// keyToWrap is what the HSM wraps: the TTLV that was kept beside a key if ttlv is not
// nil, else the key itself, extractable for this one call.
func (c *Custody) keyToWrap(n *tenantKeys, k core.Key, ttlv []byte) (*hsm.Key, error) {
	blob, t := k.Material.Blob, hsm.Template{Type: keyTypeOf(k.Material.Kind, k.Material.Length), Sensitive: true, Extractable: true}
	if ttlv != nil {
		blob, t = k.Material.TTLV, wrappableSecret
	}
	ref, err := c.referTo(n, k, blob, t)
	return &ref, err
}
