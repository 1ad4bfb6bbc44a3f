package engine

import (
	"github.com/keyreeve/keyreeve/core"
)

// maxAgain bounds, in bytes, a stream whose data is worked on again from the
// start with every part: that takes time with the square of its length.
const maxAgain = 1 << 20

// cipherer is Encrypt or Decrypt of the HSM.
type cipherer func(*core.Cipher) (core.Ciphered, error)

// cipher encrypts or decrypts what is whole, or a part of a stream.
func (k *call) cipher(s *stream, o *core.ManagedObject, c *core.Cipher, encrypt bool) (r core.Ciphered, correlation []byte, err error) {
	do := func(c *core.Cipher) (core.Ciphered, error) {
		act := k.ports.HSM.Decrypt
		if encrypt {
			act = k.ports.HSM.Encrypt
		}
		r, err := act(k.ctx, o.Key(), c)
		k.record.Where = r.Where
		return r, err
	}
	held := len(c.Data)
	if s != nil {
		held += len(s.data)
	}
	if err := k.room(held); err != nil {
		return r, nil, err
	}
	if s == nil {
		r, err = do(c)
		return r, nil, err
	}
	made, err := k.startIV(s, c, encrypt)
	if err == nil {
		err = s.remember(&s.aad, &c.AAD, "Additional Data")
	}
	if err == nil {
		err = s.remember(&s.tag, &c.Tag, "Tag")
	}
	if err != nil {
		return r, nil, err
	}
	c.Parameters.RandomIV = nil // settled
	if r, err = k.cipherPart(s, o, c, encrypt, do); err != nil {
		return r, nil, err
	}
	if r.IV = made; !s.last {
		correlation = s.keep(o.ID)
	}
	return r, correlation, nil
}

// cipherPart answers one part of an Encrypt or Decrypt. No operation stays open in
// the HSM between two parts: block modes are chained by the last block of
// ciphertext, CTR by its counter, and GCM and ChaCha20, whose output for a
// beginning is the beginning of their output, are done again from the start.
// What authenticates is decrypted when all of it is there and its tag holds,
// and RSA has one block anyway.
func (k *call) cipherPart(s *stream, o *core.ManagedObject, c *core.Cipher, encrypt bool, do cipherer) (core.Ciphered, error) {
	if c.Data == nil && s.again && !s.last {
		return core.Ciphered{}, core.Errorf(core.InvalidMessage, "a part between the first and the last has Data")
	}
	block := blockBytes[c.Parameters.CryptographicAlgorithm]
	mode := c.Parameters.BlockCipherMode
	symmetric := o.Type == core.ObjectTypeSymmetricKey || o.Type == core.ObjectTypeSecretData
	switch {
	case symmetric && block > 0 && (mode == core.BlockCipherModeECB || mode == core.BlockCipherModeCBC):
		return k.chained(s, c, encrypt, block, do)
	case symmetric && block > 0 && mode == core.BlockCipherModeCTR:
		return k.counted(s, c, block, do)
	case symmetric && (encrypt || c.Parameters.CryptographicAlgorithm == core.AlgorithmChaCha20):
		return k.again(s, c, do)
	}
	if err := s.hold(c.Data); err != nil || !s.last {
		return core.Ciphered{}, err
	}
	c.Data = s.data
	return do(c)
}

var blockBytes = map[core.CryptographicAlgorithm]int{core.AlgorithmAES: 16, core.AlgorithmDES3: 8}

// startIV settles the IV of a stream with its first part: one that is given,
// or one made here, which the answer tells. The IV of a later part is the stream's.
func (k *call) startIV(s *stream, c *core.Cipher, encrypt bool) (made []byte, err error) {
	if s.again {
		if len(c.IV) > 0 && string(c.IV) != string(s.given) {
			return nil, core.Errorf(core.InvalidField, "the IV/Counter/Nonce of a stream is given with its first part")
		}
		c.IV = s.iv
		return nil, nil
	}
	p := &c.Parameters
	size, err := ivBytes(p)
	switch {
	case err != nil:
		return nil, err
	case size == 0, len(c.IV) > 0 && !yes(p.RandomIV):
	case len(c.IV) > 0:
		return nil, core.Errorf(core.InvalidField, "Random IV asks the server to make the IV, and one is given")
	case !encrypt:
		return nil, core.Errorf(core.InvalidMessage, "Decrypt needs the IV/Counter/Nonce that Encrypt used")
	case p.RandomIV != nil && !*p.RandomIV:
		return nil, core.Errorf(core.InvalidMessage, "the IV/Counter/Nonce is missing, and Random IV forbids to make one")
	default:
		made = make([]byte, size)
		if err := k.ports.HSM.Random(k.ctx, made); err != nil {
			return nil, err
		}
		c.IV = made
	}
	s.iv = append([]byte(nil), c.IV...)
	s.given = append([]byte(nil), c.IV...)
	return made, nil
}

// ivBytes is how long an IV is made for the parameters; 0 for none.
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

// chained works on whole blocks and holds back what fills none. Padding that
// must come off is in the last block, so that one is held back too.
func (k *call) chained(s *stream, c *core.Cipher, encrypt bool, block int, do cipherer) (core.Ciphered, error) {
	if err := s.hold(c.Data); err != nil {
		return core.Ciphered{}, err
	}
	padded := c.Parameters.PaddingMethod == core.PaddingMethodPKCS5
	now := len(s.data) / block * block
	switch {
	case s.last:
		now = len(s.data)
	case !encrypt && padded && now == len(s.data) && now > 0:
		now -= block
	}
	if now == 0 && !(s.last && padded) {
		return core.Ciphered{}, nil
	}
	if !s.last {
		c.Parameters.PaddingMethod = core.PaddingMethodNone
	}
	c.Data = s.data[:now]
	before := append([]byte(nil), c.Data[max(0, now-block):]...)
	r, err := do(c)
	if err != nil {
		return r, err
	}
	if c.Parameters.BlockCipherMode == core.BlockCipherModeCBC && !s.last {
		if s.iv = before; encrypt {
			s.iv = append([]byte(nil), r.Data[now-block:]...)
		}
	}
	s.forget(now)
	return r, nil
}

// forget drops the first n bytes held back and zeroes where they were.
func (s *stream) forget(n int) {
	left := copy(s.data, s.data[n:])
	clear(s.data[left:])
	s.data = s.data[:left]
}

// counted goes on inside a block: CTR is entered at the block where the part
// begins, and what belongs to the part before is cut off.
func (k *call) counted(s *stream, c *core.Cipher, block int, do cipherer) (core.Ciphered, error) {
	if len(c.Data) == 0 {
		return core.Ciphered{}, nil
	}
	skip := int(s.done % int64(block))
	c.IV = counterAfter(s.iv, uint64(s.done/int64(block)))
	data := append(make([]byte, skip, skip+len(c.Data)), c.Data...)
	defer clear(data)
	s.done += int64(len(c.Data))
	c.Data = data
	r, err := do(c)
	if err == nil {
		r.Data = r.Data[skip:]
	}
	return r, err
}

// counterAfter adds n to a big-endian counter, which wraps.
func counterAfter(iv []byte, n uint64) []byte {
	out := append([]byte(nil), iv...)
	for i := len(out) - 1; i >= 0 && n > 0; i-- {
		n += uint64(out[i])
		out[i] = byte(n)
		n >>= 8
	}
	return out
}

// again does all parts so far once more and gives what is new of the outcome; the
// tag comes with the last part alone.
func (k *call) again(s *stream, c *core.Cipher, do cipherer) (core.Ciphered, error) {
	if len(s.data)+len(c.Data) > maxAgain {
		return core.Ciphered{}, core.Errorf(core.InvalidField, "the parts together have more than %d bytes, which is the most in this mode", maxAgain)
	}
	before := len(s.data)
	if err := s.hold(c.Data); err != nil {
		return core.Ciphered{}, err
	}
	if len(c.Data) == 0 && !s.last {
		return core.Ciphered{}, nil
	}
	c.Data = s.data
	r, err := do(c)
	if err != nil {
		return r, err
	}
	if r.Data = r.Data[before:]; !s.last {
		r.Tag = nil
	}
	return r, nil
}
