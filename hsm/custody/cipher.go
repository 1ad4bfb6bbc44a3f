package custody

import (
	"bytes"
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// symmetricAlgorithm returns the cipher that the request names; 0 for half of a pair.
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
		return c.encryptPublic(ctx, k, in)
	case isPrivate(k.Material.Kind):
		return out, core.Errorf(core.IllegalOperation, "a private key does not encrypt; use its public key")
	}
	return c.encryptSymmetric(ctx, k, in)
}

func (c *keyUser) encryptPublic(ctx context.Context, k core.Key, in *core.Cipher) (out core.Ciphered, err error) {
	plan, err := soft.ResolveEncryption(in.Parameters)
	if err != nil {
		return out, err
	}
	err = c.withClear(ctx, k, func(b []byte) (err error) { out.Data, err = soft.EncryptPublic(b, plan, in.Data); return err })
	out.ExecutedIn = inSoftware
	return out, err
}

func (c *keyUser) encryptSymmetric(ctx context.Context, k core.Key, in *core.Cipher) (out core.Ciphered, err error) {
	plan, err := soft.CheckCipher(in, true)
	if err != nil {
		return out, err
	}
	where, refused := c.whereInGo(&k, cipherMechanism(&plan), hsm.Encrypt)
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
	out.ExecutedIn = where
	return out, err
}

// encryptInToken encrypts in the HSM. Padding is done here; see planMechanism.
func (c *keyUser) encryptInToken(ctx context.Context, k core.Key, in *core.Cipher, plan soft.Plan) (out core.Ciphered, err error) {
	iv, err := c.chooseIV(ctx, in, &plan)
	if err != nil {
		return out, err
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
	if err == nil {
		out.IV, err = ivToReturn(&plan, iv, used.IV)
	}
	if err != nil {
		return out, err
	}
	at := len(used.Data) - plan.Tag
	out.Data, out.ExecutedIn = used.Data[:at:at], inToken
	if plan.Tag > 0 {
		out.Tag = used.Data[at:]
	}
	return out, nil
}

// chooseIV returns the IV of the request, or makes one.
func (c *keyUser) chooseIV(ctx context.Context, in *core.Cipher, plan *soft.Plan) ([]byte, error) {
	if !plan.MakeIV {
		return in.IV, nil
	}
	iv := make([]byte, plan.IV)
	return iv, c.ivs.fillIV(ctx, iv)
}

// ivToReturn returns the IV that the client must be told; nil if the client chose it.
// used is the IV that the HSM reports; nil if it reports none.
func ivToReturn(plan *soft.Plan, chosen, used []byte) ([]byte, error) {
	switch {
	case plan.MakeIV && used != nil:
		return used, nil
	case plan.MakeIV:
		return chosen, nil
	case used != nil && !bytes.Equal(used, chosen):
		return nil, core.Errorf(core.UnsupportedByHSM, "this HSM makes the IVs of AES-GCM itself and takes none; leave out the IV and keep the one that is returned")
	}
	return nil, nil
}

// planMechanism returns the mechanism of a plan. Padding is done here, since HSMs report
// wrong padding in different ways.
func (c *keyUser) planMechanism(p *soft.Plan, iv, aad []byte, use hsm.Uses) (hsm.Mechanism, error) {
	m := cipherMechanism(p)
	if m == 0 || !c.member.Has(m, use) {
		return hsm.Mechanism{}, core.Errorf(core.UnsupportedByHSM, "this HSM does not support %s", p)
	}
	return hsm.Mechanism{Type: m, IV: iv, AAD: aad, TagBits: p.Tag * 8}, nil
}

// Decrypt decrypts with a symmetric key, or with a private one.
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
	return c.decryptSymmetric(ctx, k, in)
}

func (c *keyUser) decryptSymmetric(ctx context.Context, k core.Key, in *core.Cipher) (out core.Ciphered, err error) {
	plan, err := soft.CheckCipher(in, false)
	if err != nil {
		return out, err
	}
	where, refused := c.whereInGo(&k, cipherMechanism(&plan), hsm.Decrypt)
	if refused {
		return out, errNoSoftware("decrypt by " + plan.String())
	}
	if where != "" {
		err = c.withClear(ctx, k, func(b []byte) (err error) { out.Data, err = soft.Decrypt(b, in); return err })
		out.ExecutedIn = where
		return out, err
	}
	mechanism, err := c.planMechanism(&plan, in.IV, in.AAD, hsm.Decrypt)
	if err != nil {
		return out, err
	}
	data := append(append(make([]byte, 0, len(in.Data)+len(in.Tag)), in.Data...), in.Tag...)
	out.Data, err = c.decryptInToken(ctx, k, mechanism, data)
	out.ExecutedIn = inToken
	if err == nil && plan.Pad {
		out.Data, err = soft.Unpad(out.Data, plan.Block)
	}
	return out, err
}

// decryptInToken decrypts into a buffer of ours. All errors of the HSM about the data
// become one answer: the key, the data or the tag is wrong.
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

// decryptRSA decrypts PKCS#1 v1.5 in the HSM. For OAEP the HSM does raw RSA, and the
// padding is removed here in constant time: so all hashes work.
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
		return out, core.Errorf(core.UnsupportedByHSM, "this HSM does not decrypt by RSA with this padding")
	}
	out.ExecutedIn = inToken
	raw, err := c.decryptInToken(ctx, k, hsm.Mechanism{Type: m}, nonEmpty(in.Data))
	if err != nil || !plan.OAEP {
		out.Data = raw
		return out, err
	}
	defer clear(raw)
	em := make([]byte, max(len(in.Data), len(raw)))
	defer clear(em)
	copy(em[len(em)-len(raw):], raw) // raw RSA may leave out leading zeros
	out.Data, err = soft.DecodeOAEP(plan, em)
	return out, err
}
