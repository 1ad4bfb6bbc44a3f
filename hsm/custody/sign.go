package custody

import (
	"context"
	"crypto/subtle"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// Sign signs with a private key in the HSM; class C Ed25519 keys, which the
// HSM cannot unwrap, in memory.
func (c *keyUser) Sign(ctx context.Context, k core.Key, p core.CryptographicParameters, data []byte, digested bool) (sig []byte, where string, err error) {
	if err := c.checkFit(k, 0); err != nil {
		return nil, "", err
	}
	if !isPrivate(k.Material.Kind) {
		return nil, "", core.Errorf(core.IllegalOperation, "only private keys sign; object %s is none (a symmetric key makes a MAC)", k.ID)
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
		if !c.options.AllowSoftware {
			return nil, "", errEd25519
		}
		err = c.withClear(ctx, k, func(b []byte) (err error) { sig, err = soft.SignPrivate(b, p, k.Algorithm, data, digested); return err })
		return sig, inSoftware, err
	}
	mechanism, msg, err := c.signMechanism(&plan, msg, k.Bits)
	if err != nil {
		return nil, "", err
	}
	used, err := c.useKey(ctx, k, hsm.Use{Operation: hsm.Sign, Mechanism: mechanism, Data: msg})
	if sig = used.Data; err == nil && plan.Scheme == soft.ECDSA {
		sig, err = soft.ECDSAToDER(sig)
	}
	return sig, inToken, err
}

// signMechanism hashes and pads here and has the HSM do the rest: fewer
// mechanisms are asked of it, and all HSMs answer alike.
func (c *keyUser) signMechanism(p *soft.SignaturePlan, msg []byte, bits int) (m hsm.Mechanism, padded []byte, err error) {
	switch p.Scheme {
	case soft.PKCS1:
		m.Type = hsm.RSAPKCS
		if msg, err = soft.DigestInfo(p.Hash, msg); err != nil {
			return m, nil, err
		}
	case soft.PSS:
		// Encoded here and signed raw: tokens differ in which pairs of hashes
		// they take.
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
		return m, nil, core.Errorf(core.UnsupportedByHSM, "this HSM does not sign in the way asked for")
	}
	return m, msg, nil
}

// Verify checks a signature with a public key, in Go: nothing about it is secret.
func (c *keyUser) Verify(ctx context.Context, k core.Key, p core.CryptographicParameters, data []byte, digested bool, sig []byte) (ok bool, where string, err error) {
	if err := c.checkFit(k, 0); err != nil {
		return false, "", err
	}
	if k.Material.Kind != core.KeyPublic {
		return false, "", core.Errorf(core.IllegalOperation, "signatures are verified by public keys; object %s is none", k.ID)
	}
	err = c.withClear(ctx, k, func(b []byte) (err error) {
		ok, err = soft.VerifyPublic(b, p, k.Algorithm, data, digested, sig)
		return err
	})
	return ok, inSoftware, err
}

// macAlgorithm is the kind of MAC that a key makes: what is asked for, else by the
// hash, else the key's own; a block cipher's key makes a CMAC.
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
		return nil, "", core.Errorf(core.BadCryptographicParameters, "a key of algorithm %v makes no MAC by %v", k.Algorithm, alg)
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

// checkMAC refuses the MACs that the HSM makes not, or wrong.
func (c *keyUser) checkMAC(k core.Key, alg core.CryptographicAlgorithm) error {
	if !c.member.Has(macMechanism(alg), hsm.Sign) {
		return core.Errorf(core.UnsupportedByHSM, "this HSM makes no MAC by %v", alg)
	}
	if _, hmac := hmacMechanisms[alg]; !hmac {
		return nil
	}
	if k.Material.Kind != core.KeyGeneric {
		return core.Errorf(core.UnsupportedByHSM, "the HSM makes a MAC by %v with a key of such an algorithm alone; object %s is for %v", alg, k.ID, k.Algorithm)
	}
	if k.Material.Length > hmacBlock && k.Material.Length%8 != 0 {
		return core.Errorf(core.UnsupportedByHSM, "this HSM makes wrong MACs with keys of %d bytes", k.Material.Length)
	}
	if h, err := soft.HMACHash(alg); err == nil && k.Material.Length < h.Size() && !isFilledUp(k) {
		return core.Errorf(core.UnsupportedByHSM, "this HSM makes no MAC by %v with a key of %d bytes, which is shorter than the digest", alg, k.Material.Length)
	}
	return nil
}

// MACVerify makes the MAC again and compares in constant time.
func (c *keyUser) MACVerify(ctx context.Context, k core.Key, p core.CryptographicParameters, data, mac []byte) (bool, string, error) {
	want, where, err := c.MAC(ctx, k, p, data)
	if err != nil {
		return false, where, err
	}
	return subtle.ConstantTimeCompare(want, mac) == 1, where, nil
}
