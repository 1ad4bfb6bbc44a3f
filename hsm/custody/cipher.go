package custody

import (
	"bytes"
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// symmetricAlgorithm is the cipher that is asked for; 0 for the halves of a pair.
func symmetricAlgorithm(k core.Key, c *core.Cipher) core.CryptographicAlgorithm {
	if k.Material.Kind == core.KeyPublic || isPrivate(k.Material.Kind) {
		return 0
	}
	return c.Parameters.CryptographicAlgorithm
}

// Encrypt encrypts with a symmetric key, or under a public one.
func (c *keyUser) Encrypt(ctx context.Context, k core.Key, in *core.Cipher) (out core.Ciphered, err error) {
	if err := c.checkFit(k, symmetricAlgorithm(k, in)); err != nil {
		return out, err
	}
	switch {
	case k.Material.Kind == core.KeyPublic:
		plan, err := soft.ResolveEncryption(in.Parameters)
		if err != nil {
			return out, err
		}
		err = c.withClear(ctx, k, func(b []byte) (err error) { out.Data, err = soft.EncryptPublic(b, plan, in.Data); return err })
		out.Where = inSoftware
		return out, err
	case isPrivate(k.Material.Kind):
		return out, core.Errorf(core.IllegalOperation, "a private key does not encrypt; use its public key")
	}
	plan, err := soft.CheckCipher(in, true)
	if err != nil {
		return out, err
	}
	where, refused := c.whereInGo(&k, cipherMechanism(plan.Algorithm, plan.Mode), hsm.Encrypt)
	switch {
	case refused:
		return out, errNoSoftware("encrypt by " + plan.String())
	case where == "":
		return c.encryptInToken(ctx, k, in, plan)
	}
	err = c.withClear(ctx, k, func(b []byte) (err error) {
		out, err = soft.Encrypt(b, in, func(iv []byte) error { return c.ivs.fillIV(ctx, iv) })
		return err
	})
	out.Where = where
	return out, err
}

func (c *keyUser) encryptInToken(ctx context.Context, k core.Key, in *core.Cipher, plan soft.Plan) (out core.Ciphered, err error) {
	iv := in.IV
	if plan.MakeIV {
		iv = make([]byte, plan.IV)
		if err := c.ivs.fillIV(ctx, iv); err != nil {
			return out, err
		}
		out.IV = iv
	}
	data := in.Data
	if plan.Pad {
		data = soft.Pad(data, plan.Block)
		defer clear(data)
	}
	mechanism, err := c.planMechanism(&plan, iv, in.AAD, hsm.Encrypt)
	if err != nil {
		return out, err
	}
	used, err := c.useKey(ctx, k, hsm.Use{Operation: hsm.Encrypt, Mechanism: mechanism, Data: data})
	switch {
	case err != nil:
		return out, err
	case used.IV != nil && plan.MakeIV:
		out.IV = used.IV
	case used.IV != nil && !bytes.Equal(used.IV, iv):
		return out, core.Errorf(core.UnsupportedByHSM, "this HSM makes the IVs of AES-GCM itself, so it takes none; leave the IV out and keep the one that is returned")
	}
	at := len(used.Data) - plan.Tag
	out.Data, out.Where = used.Data[:at:at], inToken
	if plan.Tag > 0 {
		out.Tag = used.Data[at:]
	}
	return out, nil
}

// planMechanism is the mechanism of a plan. Padding is ours, since what tokens say of
// wrong padding differs.
func (c *keyUser) planMechanism(p *soft.Plan, iv, aad []byte, use hsm.Uses) (hsm.Mechanism, error) {
	m := cipherMechanism(p.Algorithm, p.Mode)
	if m == 0 || !c.member.Has(m, use) {
		return hsm.Mechanism{}, core.Errorf(core.UnsupportedByHSM, "this HSM does not do %s", p)
	}
	return hsm.Mechanism{Type: m, IV: iv, AAD: aad, TagBits: p.Tag * 8}, nil
}

// Decrypt is the reverse.
func (c *keyUser) Decrypt(ctx context.Context, k core.Key, in *core.Cipher) (out core.Ciphered, err error) {
	if err := c.checkFit(k, symmetricAlgorithm(k, in)); err != nil {
		return out, err
	}
	switch {
	case k.Material.Kind == core.KeyPublic:
		return out, core.Errorf(core.IllegalOperation, "a public key does not decrypt; use its private key")
	case isPrivate(k.Material.Kind):
		return c.decryptRSA(ctx, k, in)
	}
	plan, err := soft.CheckCipher(in, false)
	if err != nil {
		return out, err
	}
	where, refused := c.whereInGo(&k, cipherMechanism(plan.Algorithm, plan.Mode), hsm.Decrypt)
	if refused {
		return out, errNoSoftware("decrypt by " + plan.String())
	}
	if where != "" {
		err = c.withClear(ctx, k, func(b []byte) (err error) { out.Data, err = soft.Decrypt(b, in); return err })
		out.Where = where
		return out, err
	}
	mechanism, err := c.planMechanism(&plan, in.IV, in.AAD, hsm.Decrypt)
	if err != nil {
		return out, err
	}
	data := append(append(make([]byte, 0, len(in.Data)+len(in.Tag)), in.Data...), in.Tag...)
	out.Data, err = c.decryptInToken(ctx, k, mechanism, data)
	out.Where = inToken
	if err == nil && plan.Pad {
		out.Data, err = soft.Unpad(out.Data, plan.Block)
	}
	return out, err
}

// decryptInToken decrypts into a buffer of ours. Whatever the HSM says of the data is
// one answer: the wrong key, data or tag.
func (c *keyUser) decryptInToken(ctx context.Context, k core.Key, mechanism hsm.Mechanism, data []byte) ([]byte, error) {
	buf := make([]byte, len(data)+2048)
	used, err := c.useKey(ctx, k, hsm.Use{Operation: hsm.Decrypt, Mechanism: mechanism, Data: data, Into: buf})
	if err != nil {
		clear(buf)
		return nil, err
	}
	n := len(used.Data)
	return used.Data[:n:n], nil
}

// decryptRSA does PKCS#1 v1.5 and OAEP with SHA-1 in the HSM; other hashes
// are taken off here, in constant time, from what raw RSA gives.
func (c *keyUser) decryptRSA(ctx context.Context, k core.Key, in *core.Cipher) (out core.Ciphered, err error) {
	if k.Material.Kind != core.KeyRSA {
		return out, core.Errorf(core.IllegalOperation, "only RSA private keys decrypt")
	}
	plan, err := soft.ResolveEncryption(in.Parameters)
	if err != nil {
		return out, err
	}
	m := hsm.RSAX509
	if !plan.OAEP {
		m = hsm.RSAPKCS
	}
	if !c.member.Has(m, hsm.Decrypt) {
		return out, core.Errorf(core.UnsupportedByHSM, "this HSM does not decrypt by RSA in the way asked for")
	}
	out.Where = inToken
	raw, err := c.decryptInToken(ctx, k, hsm.Mechanism{Type: m}, nonEmpty(in.Data))
	if err != nil || !plan.OAEP {
		out.Data = raw
		return out, err
	}
	defer clear(raw)
	em := make([]byte, max(len(in.Data), len(raw)))
	defer clear(em)
	copy(em[len(em)-len(raw):], raw) // raw RSA may leave leading zeros out
	out.Data, err = soft.DecodeOAEP(plan, em)
	return out, err
}
