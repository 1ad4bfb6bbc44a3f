package custody

import (
	"context"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"math/big"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// wrapUnderRSA wraps k under an RSA public key (KMIP 1.4 §2.1.6). Bytes that may leave in
// clear are encrypted here, with every hash. A class X key is wrapped by the HSM, in which
// the public key is an object for that one call. The row of k has been checked.
func (c *keyUser) wrapUnderRSA(ctx context.Context, n *tenantKeys, k, with core.Key, p core.CryptographicParameters, ttlv []byte) ([]byte, error) {
	if with.Material.Kind != core.KeyPublic {
		return nil, core.Errorf(core.IllegalOperation, "object %s is a private key, which does not wrap; use its public key", with.ID)
	}
	plan, err := soft.ResolveEncryption(p)
	if err != nil {
		return nil, err
	}
	var spki []byte
	if err := c.withClear(ctx, with, func(b []byte) error { spki = append(spki, b...); return nil }); err != nil {
		return nil, err
	}
	raw, err := c.clearToWrap(ctx, k, ttlv)
	if err != nil {
		return nil, err
	}
	if raw != nil {
		defer clear(raw)
		out, err := soft.EncryptPublic(spki, plan, raw)
		if core.CodeOf(err) == core.CryptographicFailure {
			err = errTooLongForRSA(k)
		}
		return out, err
	}
	return c.wrapUnderRSAInToken(ctx, n, k, spki, plan, ttlv)
}

// encryptUnderRSA wraps bytes of the caller under an RSA public key.
func (c *keyUser) encryptUnderRSA(ctx context.Context, with core.Key, p core.CryptographicParameters, b []byte) (wrapped []byte, err error) {
	if with.Material.Kind != core.KeyPublic {
		return nil, core.Errorf(core.IllegalOperation, "object %s is a private key, which does not wrap; use its public key", with.ID)
	}
	plan, err := soft.ResolveEncryption(p)
	if err != nil {
		return nil, err
	}
	err = c.withClear(ctx, with, func(spki []byte) error { wrapped, err = soft.EncryptPublic(spki, plan, b); return err })
	if core.CodeOf(err) == core.CryptographicFailure {
		err = core.Errorf(core.InvalidField, "%d bytes are too many to be wrapped under the RSA key %s with this padding; use a longer one, or an AES key", len(b), with.ID)
	}
	return wrapped, err
}

func errTooLongForRSA(k core.Key) error {
	return core.Errorf(core.KeyWrapTypeNotSupported, "object %s is too long to be wrapped under this RSA key; use a longer one, or an AES key", k.ID)
}

func (c *keyUser) wrapUnderRSAInToken(ctx context.Context, n *tenantKeys, k core.Key, spki []byte, plan soft.EncryptionPlan, ttlv []byte) ([]byte, error) {
	mechanism, err := c.rsaMechanism(plan, hsm.Wrap)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKIXPublicKey(spki)
	public, ok := key.(*rsa.PublicKey)
	if err != nil || !ok {
		return nil, core.Errorf(core.KeyWrapTypeNotSupported, "the wrapping key is not an RSA public key")
	}
	ref, err := c.keyToWrap(n, k, ttlv)
	if err != nil {
		return nil, err
	}
	out, err := c.member.Wrap(ctx, hsm.Wrapping{PublicKey: &hsm.RSAPublicKey{Modulus: public.N.Bytes(), Exponent: big.NewInt(int64(public.E)).Bytes()}, Mechanism: mechanism, Key: ref})
	if errors.Is(err, hsm.ErrTooLong) {
		err = errTooLongForRSA(k)
	}
	return out, err
}
