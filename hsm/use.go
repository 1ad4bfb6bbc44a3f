package hsm

import (
	"bytes"
	"context"
	"crypto/subtle"
	"encoding/binary"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// Where an operation ran, for the record.
const (
	inToken    = "token"
	inMemory   = "memory"   // Go, on a class C key's bytes
	inSoftware = "software" // Go, on public bytes
)

// usesOf translates a Cryptographic Usage Mask into the token's flags.
func usesOf(m core.UsageMask, private bool) map[uint]bool {
	u := map[uint]bool{
		p11.CKA_DECRYPT: m&core.MaskDecrypt != 0,
		p11.CKA_SIGN:    m&(core.MaskSign|core.MaskMACGenerate) != 0,
		p11.CKA_UNWRAP:  m&core.MaskUnwrapKey != 0,
		p11.CKA_DERIVE:  m&core.MaskDeriveKey != 0,
	}
	if !private {
		u[p11.CKA_ENCRYPT] = m&core.MaskEncrypt != 0
		u[p11.CKA_VERIFY] = m&(core.MaskVerify|core.MaskMACVerify) != 0
		u[p11.CKA_WRAP] = m&core.MaskWrapKey != 0
		// A MAC is verified by making it again, so that the comparison is ours.
		u[p11.CKA_SIGN] = u[p11.CKA_SIGN] || m&core.MaskMACVerify != 0
	}
	return u
}

// use pins a handle to a key with exactly the uses of its mask, never
// extractable, unwrapping it where no handle is kept.
func (t *Token) use(ctx context.Context, k core.Key) (*handle, error) {
	if v := t.handles.pin(k); v != nil {
		return v, nil
	}
	n, err := t.of(k.Tenant)
	if err != nil {
		return nil, err
	}
	if err := n.verify(k); err != nil {
		return nil, err
	}
	switch k.Material.Mode {
	case core.ModeResident:
		return t.resident(ctx, k)
	case core.ModeData:
		return nil, core.Errorf(core.IllegalOperation, "object %s is kept as data and is no key that the HSM can use", k.ID)
	}
	class, typ := keyType(k.Material.Kind, k.Material.Length)
	tmpl := template(class, typ, true, false, usesOf(k.Mask, class == p11.CKO_PRIVATE_KEY), unmodifiable())
	var h p11.ObjectHandle
	var start uint64
	err = t.do(ctx, "use a key", func(p11.SessionHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		start = t.starts.Load()
		h, err = t.unwrap(t.keeper, k, tmpl, k.Material.Blob) // the keeper owns it
		return err
	})
	if err != nil {
		return nil, err
	}
	return t.handles.add(k, h, start, true), nil
}

// inCopy reports whether a key is used in memory: symmetric, class C, and
// copies are kept at all. Then its bytes are no safer in the token.
func (t *Token) inCopy(k *core.Key) bool {
	return symmetric(k) && k.Material.Class == core.ClassC && (t.copies != nil || k.Material.Mode == core.ModeData)
}

// withClear lends a class C key's bytes to f and zeroes them.
func (t *Token) withClear(ctx context.Context, k core.Key, f func(b []byte) error) error {
	s := core.NewSecret()
	defer s.Release()
	b, err := t.Clear(ctx, k, s.Bytes()[:0])
	if err != nil {
		return err
	}
	s.Set(b)
	return f(b)
}

// canUse is suits for a row that has not been verified yet: a refusal that rests on
// a tampered row says so.
func (t *Token) canUse(k core.Key, alg core.CryptographicAlgorithm) error {
	err := suits(k, alg)
	if err == nil {
		return nil
	}
	n, terr := t.of(k.Tenant)
	if terr == nil {
		terr = n.verify(k)
	}
	if terr != nil {
		return terr
	}
	return err
}

// suits refuses, for every class alike, what a key is not there for: one that is
// kept as it was registered, because its form is not read here, and a symmetric key
// for another algorithm than its own.
func suits(k core.Key, alg core.CryptographicAlgorithm) error {
	kind := k.Material.Kind
	if kind == core.KeyData && (k.Type == core.ObjectTypePrivateKey || k.Type == core.ObjectTypePublicKey) {
		return core.Errorf(core.IllegalOperation, "object %s is kept as it was registered and cannot be used: its format, algorithm or curve is not known here", k.ID)
	}
	ok := true
	switch alg {
	case core.AlgorithmAES:
		ok = kind == core.KeyAES
	case core.AlgorithmDES3:
		ok = kind == core.KeyDES3
	case core.AlgorithmChaCha20, core.AlgorithmChaCha20Poly1305:
		ok = isChaCha(k.Algorithm) && k.Material.Length == chachaKeyBytes
	default:
		if _, hmac := hmacMechanisms[alg]; hmac {
			ok = kind != core.KeyPublic && !isPrivate(kind) // any secret; see MAC
		}
	}
	if !ok {
		return core.Errorf(core.BadCryptographicParameters, "object %s is no key for %v", k.ID, alg)
	}
	return nil
}

// symmetricAlgorithm is the cipher that is asked for; 0 for the halves of a pair.
func symmetricAlgorithm(k core.Key, c *core.Cipher) core.CryptographicAlgorithm {
	if k.Material.Kind == core.KeyPublic || isPrivate(k.Material.Kind) {
		return 0
	}
	return c.Parameters.CryptographicAlgorithm
}

const chachaKeyBytes = 32

func isChaCha(alg core.CryptographicAlgorithm) bool {
	return alg == core.AlgorithmChaCha20 || alg == core.AlgorithmChaCha20Poly1305
}

// Encrypt encrypts with a symmetric key, or under a public one.
func (t *Token) Encrypt(ctx context.Context, k core.Key, c *core.Cipher) (out core.Ciphered, err error) {
	if err := t.canUse(k, symmetricAlgorithm(k, c)); err != nil {
		return out, err
	}
	switch {
	case k.Material.Kind == core.KeyPublic:
		plan, err := soft.ResolveEncryption(c.Parameters)
		if err != nil {
			return out, err
		}
		err = t.withClear(ctx, k, func(b []byte) (err error) { out.Data, err = soft.EncryptPublic(b, plan, c.Data); return err })
		out.Where = inSoftware
		return out, err
	case isPrivate(k.Material.Kind):
		return out, core.Errorf(core.IllegalOperation, "a private key does not encrypt; use its public key")
	}
	plan, err := soft.CheckCipher(c, true)
	if err != nil {
		return out, err
	}
	where, refused := t.inGo(&k, cipherType(plan.Algorithm, plan.Mode), p11.CKF_ENCRYPT)
	switch {
	case refused:
		return out, noSoftware("encrypt by " + plan.String())
	case where == "":
		return t.encryptInToken(ctx, k, c, plan)
	}
	err = t.withClear(ctx, k, func(b []byte) (err error) {
		out, err = soft.Encrypt(b, c, func(iv []byte) error { return t.freshIV(ctx, iv) })
		return err
	})
	out.Where = where
	return out, err
}

func (t *Token) encryptInToken(ctx context.Context, k core.Key, c *core.Cipher, plan soft.Plan) (out core.Ciphered, err error) {
	iv := c.IV
	if plan.MakeIV {
		iv = make([]byte, plan.IV)
		if err := t.freshIV(ctx, iv); err != nil {
			return out, err
		}
		out.IV = iv
	}
	data := c.Data
	if plan.Pad {
		data = soft.Pad(data, plan.Block)
		defer clear(data)
	}
	var raw []byte
	err = t.with(ctx, k, "encrypt", func(sh p11.SessionHandle, key p11.ObjectHandle) error {
		mech, gcm, err := t.cipherMechanism(&plan, iv, c.AAD, p11.CKF_ENCRYPT)
		if err != nil {
			return err
		}
		defer gcm.Free()
		if len(data) == 0 && plan.Tag == 0 { // nothing becomes nothing, as in soft; tokens refuse it
			raw = []byte{}
			return nil
		}
		if err := t.lib.EncryptInit(sh, mech, key); err != nil {
			return err
		}
		if raw, err = t.lib.Encrypt(sh, data); err != nil || gcm == nil {
			return err
		}
		used, err := usedIV(gcm, iv)
		if err == nil && plan.MakeIV {
			out.IV = used
		} else if err == nil && !bytes.Equal(used, iv) {
			err = core.Errorf(core.UnsupportedByHSM, "this HSM makes the IVs of AES-GCM itself, so it takes none; leave the IV out and keep the one that is returned")
		}
		return err
	})
	if err != nil {
		return out, err
	}
	at := len(raw) - plan.Tag
	out.Data, out.Where = raw[:at:at], inToken
	if plan.Tag > 0 {
		out.Tag = raw[at:]
	}
	return out, nil
}

// usedIV returns the IV of an encryption that has ended: some tokens ignore the
// one that they are given and write their own into the parameters.
func usedIV(gcm *p11.GCMParams, given []byte) ([]byte, error) {
	used := gcm.IV()
	if len(used) != len(given) {
		return nil, core.Errorf(core.UnsupportedByHSM, "this HSM used an IV of %d bytes where %d were asked for", len(used), len(given))
	}
	return used, nil
}

// cipherMechanism builds the mechanism of a plan, and its parameters for GCM,
// which the caller frees. Padding is ours, since what tokens say of wrong padding
// differs.
func (t *Token) cipherMechanism(p *soft.Plan, iv, aad []byte, use uint) ([]*p11.Mechanism, *p11.GCMParams, error) {
	m := cipherType(p.Algorithm, p.Mode)
	if m == 0 || !t.has(m, use) {
		return nil, nil, core.Errorf(core.UnsupportedByHSM, "this HSM does not do %s", p)
	}
	var param any
	switch p.Mode {
	case core.BlockCipherModeCBC:
		param = iv
	case core.BlockCipherModeCTR:
		param = append(binary.NativeEndian.AppendUint64(nil, 128), iv...)
	case core.BlockCipherModeGCM:
		gcm := p11.NewGCMParams(iv, aad, p.Tag*8)
		return []*p11.Mechanism{p11.NewMechanism(m, gcm)}, gcm, nil
	}
	return []*p11.Mechanism{p11.NewMechanism(m, param)}, nil, nil
}

// Decrypt is the reverse.
func (t *Token) Decrypt(ctx context.Context, k core.Key, c *core.Cipher) (out core.Ciphered, err error) {
	if err := t.canUse(k, symmetricAlgorithm(k, c)); err != nil {
		return out, err
	}
	switch {
	case k.Material.Kind == core.KeyPublic:
		return out, core.Errorf(core.IllegalOperation, "a public key does not decrypt; use its private key")
	case isPrivate(k.Material.Kind):
		return t.decryptRSA(ctx, k, c)
	}
	plan, err := soft.CheckCipher(c, false)
	if err != nil {
		return out, err
	}
	where, refused := t.inGo(&k, cipherType(plan.Algorithm, plan.Mode), p11.CKF_DECRYPT)
	if refused {
		return out, noSoftware("decrypt by " + plan.String())
	}
	if where != "" {
		err = t.withClear(ctx, k, func(b []byte) (err error) { out.Data, err = soft.Decrypt(b, c); return err })
		out.Where = where
		return out, err
	}
	data := append(append(make([]byte, 0, len(c.Data)+len(c.Tag)), c.Data...), c.Tag...)
	out.Data, err = t.decryptRaw(ctx, k, data, func() ([]*p11.Mechanism, func(), error) {
		mech, gcm, err := t.cipherMechanism(&plan, c.IV, c.AAD, p11.CKF_DECRYPT)
		return mech, gcm.Free, err
	})
	out.Where = inToken
	if err == nil && plan.Pad {
		out.Data, err = soft.Unpad(out.Data, plan.Block)
	}
	return out, err
}

// decryptRaw runs C_Decrypt into a buffer of ours. Whatever the token says of
// the data is one answer: the wrong key, data or tag.
func (t *Token) decryptRaw(ctx context.Context, k core.Key, data []byte, mechanism func() ([]*p11.Mechanism, func(), error)) ([]byte, error) {
	buf := make([]byte, len(data)+2048)
	n := 0
	err := t.with(ctx, k, "decrypt", func(sh p11.SessionHandle, key p11.ObjectHandle) error {
		mech, free, err := mechanism()
		if err != nil {
			return err
		}
		defer free()
		if len(data) == 0 {
			return nil
		}
		if err := t.lib.DecryptInit(sh, mech, key); err != nil {
			return err
		}
		n, err = t.glue.decrypt(sh, data, buf)
		return err
	})
	if err != nil {
		clear(buf)
		return nil, err
	}
	return buf[:n:n], nil
}

// decryptRSA does PKCS#1 v1.5 and OAEP with SHA-1 in the token; other hashes
// are taken off here, in constant time, from what raw RSA gives.
func (t *Token) decryptRSA(ctx context.Context, k core.Key, c *core.Cipher) (out core.Ciphered, err error) {
	if k.Material.Kind != core.KeyRSA {
		return out, core.Errorf(core.IllegalOperation, "only RSA private keys decrypt")
	}
	plan, err := soft.ResolveEncryption(c.Parameters)
	if err != nil {
		return out, err
	}
	m := uint(p11.CKM_RSA_X_509)
	if !plan.OAEP {
		m = p11.CKM_RSA_PKCS
	}
	if !t.has(m, p11.CKF_DECRYPT) {
		return out, core.Errorf(core.UnsupportedByHSM, "this HSM does not decrypt by RSA in the way asked for")
	}
	out.Where = inToken
	raw, err := t.decryptRaw(ctx, k, nonEmpty(c.Data), func() ([]*p11.Mechanism, func(), error) {
		return []*p11.Mechanism{p11.NewMechanism(m, nil)}, func() {}, nil
	})
	if err != nil || !plan.OAEP {
		out.Data = raw
		return out, err
	}
	defer clear(raw)
	em := make([]byte, max(len(c.Data), len(raw)))
	defer clear(em)
	copy(em[len(em)-len(raw):], raw) // raw RSA may leave leading zeros out
	out.Data, err = soft.DecodeOAEP(plan, em)
	return out, err
}

// Sign signs with a private key in the token; class C Ed25519 keys, which the
// token cannot unwrap, in memory.
func (t *Token) Sign(ctx context.Context, k core.Key, p core.CryptographicParameters, data []byte, digested bool) (sig []byte, where string, err error) {
	if err := t.canUse(k, 0); err != nil {
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
		if !t.cfg.AllowSoftware {
			return nil, "", errEd25519
		}
		err = t.withClear(ctx, k, func(b []byte) (err error) { sig, err = soft.SignPrivate(b, p, k.Algorithm, data, digested); return err })
		return sig, inSoftware, err
	}
	mech, msg, err := t.signMechanism(&plan, msg, k.Bits)
	if err != nil {
		return nil, "", err
	}
	sig, err = t.signRaw(ctx, k, mech, msg)
	if err == nil && plan.Scheme == soft.ECDSA {
		sig, err = soft.ECDSAToDER(sig)
	}
	return sig, inToken, err
}

// signMechanism hashes and pads here and has the token do the rest: fewer
// mechanisms are asked of it, and all tokens answer alike.
func (t *Token) signMechanism(p *soft.SignaturePlan, msg []byte, bits int) ([]*p11.Mechanism, []byte, error) {
	var m uint
	switch p.Scheme {
	case soft.PKCS1:
		info, err := soft.DigestInfo(p.Hash, msg)
		if err != nil {
			return nil, nil, err
		}
		m, msg = p11.CKM_RSA_PKCS, info
	case soft.PSS:
		// Encoded here and signed raw: tokens differ in which pairs of hashes
		// they take.
		em, err := soft.EncodePSS(p, msg, bits)
		if err != nil {
			return nil, nil, err
		}
		m, msg = p11.CKM_RSA_X_509, append(make([]byte, (bits+7)/8-len(em)), em...)
	case soft.ECDSA:
		m = p11.CKM_ECDSA
	case soft.EdDSA:
		m = ckmEdDSA
	}
	if !t.has(m, p11.CKF_SIGN) {
		return nil, nil, core.Errorf(core.UnsupportedByHSM, "this HSM does not sign in the way asked for")
	}
	return []*p11.Mechanism{p11.NewMechanism(m, nil)}, msg, nil
}

func (t *Token) signRaw(ctx context.Context, k core.Key, mech []*p11.Mechanism, msg []byte) (sig []byte, err error) {
	err = t.with(ctx, k, "sign", func(sh p11.SessionHandle, key p11.ObjectHandle) (err error) {
		if err := t.lib.SignInit(sh, mech, key); err != nil {
			return err
		}
		sig, err = t.lib.Sign(sh, msg)
		return err
	})
	return sig, err
}

// Verify checks a signature with a public key, in Go: nothing about it is secret.
func (t *Token) Verify(ctx context.Context, k core.Key, p core.CryptographicParameters, data []byte, digested bool, sig []byte) (ok bool, where string, err error) {
	if err := t.canUse(k, 0); err != nil {
		return false, "", err
	}
	if k.Material.Kind != core.KeyPublic {
		return false, "", core.Errorf(core.IllegalOperation, "signatures are verified by public keys; object %s is none", k.ID)
	}
	err = t.withClear(ctx, k, func(b []byte) (err error) {
		ok, err = soft.VerifyPublic(b, p, k.Algorithm, data, digested, sig)
		return err
	})
	return ok, inSoftware, err
}

var hmacMechanisms = map[core.CryptographicAlgorithm]uint{core.AlgorithmHMACMD5: p11.CKM_MD5_HMAC, core.AlgorithmHMACSHA1: p11.CKM_SHA_1_HMAC,
	core.AlgorithmHMACSHA224: p11.CKM_SHA224_HMAC, core.AlgorithmHMACSHA256: p11.CKM_SHA256_HMAC,
	core.AlgorithmHMACSHA384: p11.CKM_SHA384_HMAC, core.AlgorithmHMACSHA512: p11.CKM_SHA512_HMAC}

// macAlgorithm settles what kind of MAC a key makes: what is asked for, else
// by the hash, else the key's own; a block cipher's key makes a CMAC.
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
func (t *Token) MAC(ctx context.Context, k core.Key, p core.CryptographicParameters, data []byte) (mac []byte, where string, err error) {
	alg := macAlgorithm(k, p)
	block := alg == core.AlgorithmAES || alg == core.AlgorithmDES3
	if _, hmac := hmacMechanisms[alg]; !hmac && !block {
		return nil, "", core.Errorf(core.BadCryptographicParameters, "a key of algorithm %v makes no MAC by %v", k.Algorithm, alg)
	}
	if err := t.canUse(k, alg); err != nil {
		return nil, "", err
	}
	where, refused := t.inGo(&k, macType(alg), p11.CKF_SIGN)
	if refused {
		return nil, "", noSoftware("make a MAC by " + alg.String())
	}
	if where != "" {
		err = t.withClear(ctx, k, func(b []byte) (err error) {
			if block {
				mac, err = soft.CMAC(alg, b, data)
			} else {
				mac, err = soft.MAC(alg, b, data)
			}
			return err
		})
		return mac, where, err
	}
	_, ok := hmacMechanisms[alg]
	m := macType(alg)
	if !t.has(m, p11.CKF_SIGN) {
		return nil, "", core.Errorf(core.UnsupportedByHSM, "this HSM makes no MAC by %v", alg)
	}
	if ok && k.Material.Kind != core.KeyGeneric {
		return nil, "", core.Errorf(core.UnsupportedByHSM, "the HSM makes a MAC by %v with a key of such an algorithm alone; object %s is for %v", alg, k.ID, k.Algorithm)
	}
	if ok && k.Material.Length > 64 && k.Material.Length%8 != 0 {
		return nil, "", core.Errorf(core.UnsupportedByHSM, "this HSM makes wrong MACs with keys of %d bytes", k.Material.Length)
	}
	if h, herr := soft.HMACHash(alg); ok && herr == nil && k.Material.Length < h.Size() && !filledUp(k) {
		return nil, "", core.Errorf(core.UnsupportedByHSM, "this HSM makes no MAC by %v with a key of %d bytes, which is shorter than the digest", alg, k.Material.Length)
	}
	mac, err = t.signRaw(ctx, k, []*p11.Mechanism{p11.NewMechanism(m, nil)}, data)
	return mac, inToken, err
}

// MACVerify makes the MAC again and compares in constant time.
func (t *Token) MACVerify(ctx context.Context, k core.Key, p core.CryptographicParameters, data, mac []byte) (bool, string, error) {
	want, where, err := t.MAC(ctx, k, p, data)
	if err != nil {
		return false, where, err
	}
	return subtle.ConstantTimeCompare(want, mac) == 1, where, nil
}

// Random fills dst with the token's random bytes, of which a key may be made.
func (t *Token) Random(ctx context.Context, dst []byte) error {
	return t.do(ctx, "make random bytes", func(sh p11.SessionHandle) error { return t.glue.random(sh, dst) })
}

// Seed adds to the token's random pool.
func (t *Token) Seed(ctx context.Context, seed []byte) error {
	return t.do(ctx, "take a seed", func(sh p11.SessionHandle) error { return t.lib.SeedRandom(sh, seed) })
}

// Forget drops what is kept of an object outside its row.
func (t *Token) Forget(tenant, id string) {
	t.copies.drop(tenant, id)
	t.handles.drop(tenant, id)
}

// Finds counts the C_FindObjects calls so far; in steady state it stands still.
func (t *Token) Finds() int64 { return t.finds.Load() }
