package uses

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// maxRestarted bounds, in bytes, a stream whose data is processed again from the start
// with every part, because that takes quadratic time.
const maxRestarted = 1 << 20

// cipherFunc calls Encrypt or Decrypt of the HSM.
type cipherFunc func(*core.Cipher) (core.Ciphered, error)

// cipherStream encrypts or decrypts all data of a request without a stream, or one part
// of a stream.
func cipherStream(k *engine.Call, s *engine.Stream, o *core.ManagedObject, c *core.Cipher, encrypt bool) (r core.Ciphered, correlation []byte, err error) {
	do := func(c *core.Cipher) (core.Ciphered, error) {
		act := k.Ports.HSM.Decrypt
		if encrypt {
			act = k.Ports.HSM.Encrypt
		}
		key, err := engine.KeyFor(k, o)
		if err != nil {
			return core.Ciphered{}, err
		}
		r, err := act(k.Ctx, key, c)
		k.Record.ExecutedIn = r.ExecutedIn
		return r, err
	}
	held := len(c.Data)
	if s != nil {
		held += len(s.Held)
	}
	if err := k.ReserveMemory(held); err != nil {
		return r, nil, err
	}
	if s == nil {
		r, err = do(c)
		return r, nil, err
	}
	made, err := startIV(k, s, c, encrypt)
	if err == nil {
		err = s.RememberOnce(&s.AAD, &c.AAD, "Additional Data")
	}
	if err == nil {
		err = s.RememberOnce(&s.Tag, &c.Tag, "Tag")
	}
	if err != nil {
		return r, nil, err
	}
	c.Parameters.RandomIV = nil // startIV has made the IV
	if r, err = cipherPart(s, o, c, encrypt, do); err != nil {
		return r, nil, err
	}
	if r.IV = made; !s.IsLast {
		correlation = s.Suspend(o.ID)
	}
	return r, correlation, nil
}

// cipherPart processes one part of an Encrypt or Decrypt. No operation stays open in the
// HSM between two parts:
//   - ECB and CBC continue with the last block of ciphertext, CTR with its counter.
//   - Encrypt by GCM and ChaCha20 is repeated from the start with each part: the output
//     for the first bytes does not depend on later ones.
//   - Decrypt with authentication is done when all data is there, because the tag must
//     be checked first. RSA has only one block.
func cipherPart(s *engine.Stream, o *core.ManagedObject, c *core.Cipher, encrypt bool, do cipherFunc) (core.Ciphered, error) {
	if c.Data == nil && s.IsLaterPart && !s.IsLast {
		return core.Ciphered{}, core.Errorf(core.InvalidMessage, "a part between the first and the last has Data")
	}
	block := blockBytes[c.Parameters.CryptographicAlgorithm]
	mode := c.Parameters.BlockCipherMode
	symmetric := o.Type == core.ObjectTypeSymmetricKey || o.Type == core.ObjectTypeSecretData
	switch {
	case symmetric && block > 0 && (mode == core.BlockCipherModeECB || mode == core.BlockCipherModeCBC):
		return cipherChained(s, c, encrypt, block, do)
	case symmetric && block > 0 && mode == core.BlockCipherModeCTR:
		return cipherCounted(s, c, block, do)
	case symmetric && (encrypt || c.Parameters.CryptographicAlgorithm == core.AlgorithmChaCha20):
		return cipherFromStart(s, c, do)
	}
	if err := s.HoldBack(c.Data); err != nil || !s.IsLast {
		return core.Ciphered{}, err
	}
	c.Data = s.Held
	return do(c)
}

var blockBytes = map[core.CryptographicAlgorithm]int{core.AlgorithmAES: 16, core.AlgorithmDES3: 8}

// startIV sets the IV of the stream with its first part: the given one, or one made here,
// which is returned for the answer. Later parts use the IV of the stream.
func startIV(k *engine.Call, s *engine.Stream, c *core.Cipher, encrypt bool) (made []byte, err error) {
	if s.IsLaterPart {
		if len(c.IV) > 0 && string(c.IV) != string(s.FirstIV) {
			return nil, core.Errorf(core.InvalidField, "the IV/Counter/Nonce of a stream is given with its first part")
		}
		c.IV = s.NextIV
		return nil, nil
	}
	p := &c.Parameters
	size, err := ivBytes(p)
	randomIV := p.RandomIV != nil && *p.RandomIV
	switch {
	case err != nil:
		return nil, err
	case size == 0, len(c.IV) > 0 && !randomIV:
	case len(c.IV) > 0:
		return nil, core.Errorf(core.InvalidField, "Random IV asks the server to make the IV, and one is given")
	case !encrypt:
		return nil, core.Errorf(core.InvalidMessage, "Decrypt needs the IV/Counter/Nonce that Encrypt used")
	case p.RandomIV != nil && !*p.RandomIV:
		return nil, core.Errorf(core.InvalidMessage, "the IV/Counter/Nonce is missing, and Random IV is false, so the server makes none")
	default:
		made = make([]byte, size)
		if err := k.Ports.HSM.Random(k.Ctx, made); err != nil {
			return nil, err
		}
		c.IV = made
	}
	s.NextIV = append([]byte(nil), c.IV...)
	s.FirstIV = append([]byte(nil), c.IV...)
	return made, nil
}

// ivBytes returns the length of the IV that is made for the parameters; 0 for none.
func ivBytes(p *core.CryptographicParameters) (int, error) {
	switch {
	case p.CryptographicAlgorithm == core.AlgorithmChaCha20, p.CryptographicAlgorithm == core.AlgorithmChaCha20Poly1305:
		return p.IVBytes(12, false)
	case p.BlockCipherMode == core.BlockCipherModeGCM:
		return p.IVBytes(12, true)
	case p.BlockCipherMode == core.BlockCipherModeCBC, p.BlockCipherMode == core.BlockCipherModeCTR:
		return p.IVBytes(blockBytes[p.CryptographicAlgorithm], false)
	}
	return 0, nil
}

// cipherChained processes whole blocks and holds back an incomplete one. Decrypt also
// holds back the last block, because it may have the padding to be removed.
func cipherChained(s *engine.Stream, c *core.Cipher, encrypt bool, block int, do cipherFunc) (core.Ciphered, error) {
	if err := s.HoldBack(c.Data); err != nil {
		return core.Ciphered{}, err
	}
	padded := c.Parameters.PaddingMethod == core.PaddingMethodPKCS5
	now := len(s.Held) / block * block
	switch {
	case s.IsLast:
		now = len(s.Held)
	case !encrypt && padded && now == len(s.Held) && now > 0:
		now -= block
	}
	if now == 0 && !(s.IsLast && padded) {
		return core.Ciphered{}, nil
	}
	if !s.IsLast {
		c.Parameters.PaddingMethod = core.PaddingMethodNone
	}
	c.Data = s.Held[:now]
	before := append([]byte(nil), c.Data[max(0, now-block):]...)
	r, err := do(c)
	if err != nil {
		return r, err
	}
	if c.Parameters.BlockCipherMode == core.BlockCipherModeCBC && !s.IsLast {
		if s.NextIV = before; encrypt {
			s.NextIV = append([]byte(nil), r.Data[now-block:]...)
		}
	}
	s.Discard(now)
	return r, nil
}

// cipherCounted processes a part in mode CTR. It starts at the beginning of the block
// where the part begins, and removes the output that belongs to the previous part.
func cipherCounted(s *engine.Stream, c *core.Cipher, block int, do cipherFunc) (core.Ciphered, error) {
	if len(c.Data) == 0 {
		return core.Ciphered{}, nil
	}
	skip := int(s.Processed % int64(block))
	c.IV = counterAfter(s.NextIV, uint64(s.Processed/int64(block)))
	data := append(make([]byte, skip, skip+len(c.Data)), c.Data...)
	defer clear(data)
	s.Processed += int64(len(c.Data))
	c.Data = data
	r, err := do(c)
	if err == nil {
		r.Data = r.Data[skip:]
	}
	return r, err
}

// counterAfter returns a big-endian counter plus n, with wrap-around.
func counterAfter(iv []byte, n uint64) []byte {
	out := append([]byte(nil), iv...)
	for i := len(out) - 1; i >= 0 && n > 0; i-- {
		n += uint64(out[i])
		out[i] = byte(n)
		n >>= 8
	}
	return out
}

// cipherFromStart processes all parts so far again and returns the new output. Only the
// last part returns the tag.
func cipherFromStart(s *engine.Stream, c *core.Cipher, do cipherFunc) (core.Ciphered, error) {
	if len(s.Held)+len(c.Data) > maxRestarted {
		return core.Ciphered{}, core.Errorf(core.InvalidField, "the parts together have more than %d bytes, which is the most in this mode", maxRestarted)
	}
	before := len(s.Held)
	if err := s.HoldBack(c.Data); err != nil {
		return core.Ciphered{}, err
	}
	if len(c.Data) == 0 && !s.IsLast {
		return core.Ciphered{}, nil
	}
	c.Data = s.Held
	r, err := do(c)
	if err != nil {
		return r, err
	}
	if r.Data = r.Data[before:]; !s.IsLast {
		r.Tag = nil
	}
	return r, nil
}
