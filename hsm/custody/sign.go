package custody

import (
	"context"
	"crypto/subtle"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// Sign signs with a private key in the HSM. It signs in memory with class C Ed25519 keys,
// which the HSM cannot unwrap.
func (c *keyUser) Sign(ctx context.Context, k core.Key, p core.CryptographicParameters, data []byte, digested bool) (sig []byte, where string, err error) {
	if err := c.checkFit(k, 0); err != nil {
		return nil, "", err
	}
	if !isPrivate(k.Material.Kind) {
		return nil, "", core.Errorf(core.IllegalOperation, "only private keys sign, and object %s is not one (a symmetric key makes a MAC)", k.ID)
	}
	plan, err := soft.ResolveSignature(p, k.Algorithm)
	if err != nil {
		return nil, "", err
	}
	msg, err := plan.Message(data, digested)
	if err != nil {
		return nil, "", err
	}
	if k.Material.Kind == core.KeyEd25519 && k.Material.Mode != core.ModeResident {
		if !c.mayUseSoftware(&k) {
			return nil, "", errEd25519
		}
		err = c.withClear(ctx, k, func(b []byte) (err error) { sig, err = soft.SignPrivate(b, p, k.Algorithm, data, digested); return err })
		return sig, inSoftware, err
	}
	sig, err = c.signInToken(ctx, k, &plan, msg)
	return sig, inToken, err
}

// signInToken signs a message of a plan.
func (c *keyUser) signInToken(ctx context.Context, k core.Key, plan *soft.SignaturePlan, msg []byte) ([]byte, error) {
	mechanism, msg, err := c.signMechanism(plan, msg, k.Bits)
	if err != nil {
		return nil, err
	}
	used, err := c.useKey(ctx, k, hsm.Use{Operation: hsm.Sign, Mechanism: mechanism, Data: msg})
	if err == nil && plan.Scheme == soft.ECDSA {
		return soft.ECDSAToDER(used.Data)
	}
	return used.Data, err
}

// signMechanism hashes and pads the message here and returns the mechanism for the rest.
// So the HSM needs fewer mechanisms, and all HSMs answer alike.
func (c *keyUser) signMechanism(p *soft.SignaturePlan, msg []byte, bits int) (m hsm.Mechanism, padded []byte, err error) {
	switch p.Scheme {
	case soft.PKCS1:
		m.Type = hsm.RSAPKCS
		if msg, err = soft.DigestInfo(p.Hash, msg); err != nil {
			return m, nil, err
		}
	case soft.PSS:
		// Encoded here and signed raw: HSMs differ in the pairs of hashes that
		// they support.
		em, err := soft.EncodePSS(p, msg, bits)
		if err != nil {
			return m, nil, err
		}
		m.Type, msg = hsm.RSAX509, append(make([]byte, (bits+7)/8-len(em)), em...)
	case soft.ECDSA:
		m.Type = hsm.ECDSA
	case soft.EdDSA:
		m.Type = hsm.EdDSA
	}
	if !c.member.Has(m.Type, hsm.Sign) {
		return m, nil, core.Errorf(core.UnsupportedByHSM, "this HSM does not support the mechanism of this signature")
	}
	return m, msg, nil
}

// Verify verifies a signature with a public key, in Go: nothing about it is secret.
func (c *keyUser) Verify(ctx context.Context, k core.Key, p core.CryptographicParameters, data []byte, digested bool, sig []byte) (ok bool, where string, err error) {
	if err := c.checkFit(k, 0); err != nil {
		return false, "", err
	}
	if k.Material.Kind != core.KeyPublic {
		return false, "", core.Errorf(core.IllegalOperation, "only public keys verify signatures, and object %s is not one", k.ID)
	}
	err = c.withClear(ctx, k, func(b []byte) (err error) {
		ok, err = soft.VerifyPublic(b, p, k.Algorithm, data, digested, sig)
		return err
	})
	return ok, inSoftware, err
}

// macAlgorithm returns the algorithm of a MAC: the requested one, else by the requested
// hash, else that of the key. The key of a block cipher makes a CMAC.
func macAlgorithm(k core.Key, p core.CryptographicParameters) core.CryptographicAlgorithm {
	if _, ok := hmacMechanisms[p.CryptographicAlgorithm]; ok {
		return p.CryptographicAlgorithm
	}
	if alg := soft.HMACOf(p.HashingAlgorithm); alg != 0 && p.HashingAlgorithm != 0 {
		return alg
	}
	return k.Algorithm
}

// MAC makes an HMAC or a CMAC.
func (c *keyUser) MAC(ctx context.Context, k core.Key, p core.CryptographicParameters, data []byte) (mac []byte, where string, err error) {
	alg := macAlgorithm(k, p)
	block := alg == core.AlgorithmAES || alg == core.AlgorithmDES3
	if _, hmac := hmacMechanisms[alg]; !hmac && !block {
		return nil, "", core.Errorf(core.BadCryptographicParameters, "%v is not a MAC; the algorithm of the key is %v", alg, k.Algorithm)
	}
	if err := c.checkFit(k, alg); err != nil {
		return nil, "", err
	}
	where, refused := c.whereInGo(&k, macMechanism(alg), hsm.Sign)
	if refused {
		return nil, "", errNoSoftware("make a MAC by " + alg.String())
	}
	if where != "" {
		err = c.withClear(ctx, k, func(b []byte) (err error) {
			if block {
				mac, err = soft.CMAC(alg, b, data)
			} else {
				mac, err = soft.MAC(alg, b, data)
			}
			return err
		})
		return mac, where, err
	}
	if err := c.checkMAC(k, alg); err != nil {
		return nil, "", err
	}
	used, err := c.useKey(ctx, k, hsm.Use{Operation: hsm.Sign, Mechanism: hsm.Mechanism{Type: macMechanism(alg)}, Data: data})
	return used.Data, inToken, err
}

// checkMAC refuses MACs that the HSM does not make, or makes wrong.
func (c *keyUser) checkMAC(k core.Key, alg core.CryptographicAlgorithm) error {
	if !c.member.Has(macMechanism(alg), hsm.Sign) {
		return core.Errorf(core.UnsupportedByHSM, "this HSM does not make a MAC by %v", alg)
	}
	if _, hmac := hmacMechanisms[alg]; !hmac {
		return nil
	}
	if k.Material.Kind != core.KeyGeneric {
		return core.Errorf(core.UnsupportedByHSM, "the HSM makes a MAC by %v only with a key of an HMAC algorithm; object %s is for %v", alg, k.ID, k.Algorithm)
	}
	if k.Material.Length > hmacBlock && k.Material.Length%8 != 0 {
		return core.Errorf(core.UnsupportedByHSM, "this HSM makes wrong MACs with keys of %d bytes", k.Material.Length)
	}
	if h, err := soft.HMACHash(alg); err == nil && k.Material.Length < h.Size() && !isFilledUp(k) {
		return core.Errorf(core.UnsupportedByHSM, "this HSM does not make a MAC by %v with a key of %d bytes, which is shorter than the digest", alg, k.Material.Length)
	}
	return nil
}

// MACVerify makes the MAC again and compares it in constant time.
func (c *keyUser) MACVerify(ctx context.Context, k core.Key, p core.CryptographicParameters, data, mac []byte) (bool, string, error) {
	want, where, err := c.MAC(ctx, k, p, data)
	if err != nil {
		return false, where, err
	}
	return subtle.ConstantTimeCompare(want, mac) == 1, where, nil
}
