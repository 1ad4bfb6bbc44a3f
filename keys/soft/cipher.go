package soft

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/des"
	"crypto/hmac"
	"crypto/subtle"

	"golang.org/x/crypto/chacha20"
	"golang.org/x/crypto/chacha20poly1305"

	"github.com/keyreeve/keyreeve/core"
)

// Sizes in bytes.
const (
	gcmIV     = 12
	djbNonce  = 8 // of ChaCha20 before RFC 8439, with a counter of 64 bits
	minGCMTag = 12
	maxGCMTag = 16
)

// Plan is one Encrypt or Decrypt with every parameter decided.
type Plan struct {
	Mode      core.BlockCipherMode // 0 for stream ciphers
	Algorithm core.CryptographicAlgorithm
	Block     int  // bytes
	IV        int  // bytes the mode takes; 0: none
	MakeIV    bool // Encrypt: the request has no IV, so one is made and returned
	Tag       int  // bytes, AEAD modes
	Pad       bool // PKCS5 padding

	nonce int  // bytes of the IV in use
	anyIV bool // GCM takes IVs of other lengths too (NIST SP 800-38D §5.2.1.1)
}

// String names the cipher, for messages.
func (p *Plan) String() string {
	if p.Mode == 0 {
		return p.Algorithm.String()
	}
	return p.Algorithm.String() + " in mode " + p.Mode.String()
}

// CheckCipher decides mode, IV, tag and padding, for tokens and for software. It refuses
// parameters that are unsafe or do not fit together, such as a GCM tag under 12 bytes,
// a part of a block without padding, or Decrypt without its IV.
func CheckCipher(c *core.Cipher, encrypt bool) (Plan, error) {
	p := Plan{Algorithm: c.Parameters.CryptographicAlgorithm, Mode: c.Parameters.BlockCipherMode}
	switch p.Algorithm {
	case core.AlgorithmAES:
		p.Block = aes.BlockSize
	case core.AlgorithmDES3:
		p.Block = des.BlockSize
	case core.AlgorithmChaCha20, core.AlgorithmChaCha20Poly1305:
		return p.resolveStreamCipher(c, encrypt)
	default:
		return p, core.Errorf(core.InvalidField, "Encrypt and Decrypt do not support %v", p.Algorithm)
	}
	return p.resolveBlockCipher(c, encrypt)
}

func (p Plan) resolveStreamCipher(c *core.Cipher, encrypt bool) (Plan, error) {
	p.Mode, p.IV = 0, chacha20.NonceSize
	if p.Algorithm == core.AlgorithmChaCha20 && len(c.IV) == djbNonce {
		p.IV = djbNonce
	}
	if p.Algorithm == core.AlgorithmChaCha20Poly1305 {
		p.Tag = chacha20poly1305.Overhead
	}
	if err := p.checkIV(c, encrypt); err != nil {
		return p, err
	}
	return p, p.checkTag(c, encrypt)
}

func (p Plan) resolveBlockCipher(c *core.Cipher, encrypt bool) (Plan, error) {
	switch p.Mode {
	case core.BlockCipherModeECB:
	case core.BlockCipherModeCBC, core.BlockCipherModeCTR:
		p.IV = p.Block
	case core.BlockCipherModeGCM:
		p.anyIV = true
		if p.Block != aes.BlockSize {
			return p, core.Errorf(core.InvalidField, "GCM needs a cipher with blocks of 16 bytes, such as AES")
		}
		p.IV, p.Tag = gcmIV, maxGCMTag
	case 0:
		return p, core.Errorf(core.BadCryptographicParameters, "the Block Cipher Mode is missing: neither the request nor the key gives one")
	default:
		return p, core.Errorf(core.UnsupportedByHSM, "Block Cipher Mode %v is not supported; use ECB, CBC, CTR or GCM", p.Mode)
	}
	if err := p.checkIV(c, encrypt); err != nil {
		return p, err
	}
	if err := p.checkTag(c, encrypt); err != nil {
		return p, err
	}
	return p, p.checkPadding(c, encrypt)
}

// checkIV checks the IV of the request, or plans to make one.
func (p *Plan) checkIV(c *core.Cipher, encrypt bool) error {
	random := c.Parameters.RandomIV
	switch {
	case p.IV == 0:
		return nil
	case random != nil && *random && encrypt && len(c.IV) > 0:
		return core.Errorf(core.InvalidField, "Random IV asks the server to make the IV, but the request has one")
	case len(c.IV) == p.IV, p.anyIV && len(c.IV) >= core.MinGCMIV && len(c.IV) <= core.MaxGCMIV:
		return nil
	case len(c.IV) > 0:
		return core.Errorf(core.InvalidField, "the IV has %d bytes; %v %v takes %d", len(c.IV), p.Algorithm, p.Mode, p.IV)
	case !encrypt:
		return core.Errorf(core.InvalidMessage, "Decrypt needs the IV/Counter/Nonce that Encrypt used")
	case random != nil && !*random:
		return core.Errorf(core.InvalidMessage, "the IV/Counter/Nonce is missing, and Random IV False forbids the server to make one")
	}
	p.MakeIV = true
	var err error
	p.IV, err = c.Parameters.IVBytes(p.IV, p.anyIV)
	return err
}

// checkTag checks the length of an AEAD tag. At Decrypt the tag may be at the end of the
// data; then it is split off.
func (p *Plan) checkTag(c *core.Cipher, encrypt bool) error {
	if p.Tag == 0 {
		return nil
	}
	least := minGCMTag
	if n := c.Parameters.TagLength; n != nil {
		if *n < minGCMTag || int(*n) > p.Tag {
			return core.Errorf(core.GeneralFailure, "the Tag Length is %d bytes; it must be %d to %d", *n, minGCMTag, p.Tag)
		}
		p.Tag = int(*n)
	} else if p.Mode != core.BlockCipherModeGCM {
		least = p.Tag // a tag of Poly1305 is cut only on request (RFC 8439 §2.8)
	}
	if encrypt {
		return nil
	}
	if len(c.Tag) == 0 {
		if len(c.Data) < p.Tag {
			return core.Errorf(core.CryptographicFailure, "the data is shorter than the tag of %d bytes", p.Tag)
		}
		at := len(c.Data) - p.Tag
		c.Data, c.Tag = c.Data[:at:at], c.Data[at:]
	}
	if len(c.Tag) < least || len(c.Tag) > p.Tag && c.Parameters.TagLength == nil || len(c.Tag) > maxGCMTag {
		return core.Errorf(core.CryptographicFailure, "the tag has %d bytes; it must have %d to %d", len(c.Tag), least, maxGCMTag)
	}
	p.Tag = len(c.Tag)
	return nil
}

func (p *Plan) checkPadding(c *core.Cipher, encrypt bool) error {
	blocks := p.Mode == core.BlockCipherModeECB || p.Mode == core.BlockCipherModeCBC
	switch c.Parameters.PaddingMethod {
	case 0, core.PaddingMethodNone:
	case core.PaddingMethodPKCS5:
		p.Pad = blocks
	default:
		return core.Errorf(core.UnsupportedByHSM, "Padding Method %v is not supported with %v; use None or PKCS5", c.Parameters.PaddingMethod, p.Mode)
	}
	if blocks && len(c.Data)%p.Block != 0 && (!p.Pad || !encrypt) {
		return core.Errorf(core.CryptographicFailure, "the data has %d bytes, which is not a multiple of %d; use PKCS5 padding", len(c.Data), p.Block)
	}
	if blocks && p.Pad && !encrypt && len(c.Data) == 0 {
		return core.Errorf(core.CryptographicFailure, "there is no data to decrypt")
	}
	return nil
}

// Pad appends PKCS5 (PKCS#7) padding to a copy of data.
func Pad(data []byte, block int) []byte {
	n := block - len(data)%block
	out := append(make([]byte, 0, len(data)+n), data...)
	for range n {
		out = append(out, byte(n))
	}
	return out
}

// Unpad removes PKCS5 padding. Its time does not depend on the padding. If the padding
// is wrong, data is zeroed, since it may be the plaintext all the same.
func Unpad(data []byte, block int) ([]byte, error) {
	if len(data) == 0 || len(data)%block != 0 {
		clear(data)
		return nil, wrongPadding()
	}
	n := int(data[len(data)-1])
	good := subtle.ConstantTimeLessOrEq(1, n) & subtle.ConstantTimeLessOrEq(n, block)
	for i := 1; i <= block; i++ {
		inside := subtle.ConstantTimeLessOrEq(i, n)
		same := subtle.ConstantTimeByteEq(data[len(data)-i], byte(n))
		good &= subtle.ConstantTimeSelect(inside, same, 1)
	}
	if good != 1 {
		clear(data)
		return nil, wrongPadding()
	}
	return data[:len(data)-n], nil
}

func wrongPadding() error {
	return core.Errorf(core.CryptographicFailure, "decryption failed: the key, the IV or the data is wrong")
}

// blockOf makes the keyed cipher of AES or 3DES; a 16-byte 3DES key is
// two-key 3DES.
func blockOf(alg core.CryptographicAlgorithm, key []byte) (cipher.Block, error) {
	switch alg {
	case core.AlgorithmAES:
		return aes.NewCipher(key)
	case core.AlgorithmDES3:
		if len(key) == 16 {
			full := append(append(make([]byte, 0, 24), key...), key[:8]...)
			defer clear(full)
			return des.NewTripleDESCipher(full)
		}
		return des.NewTripleDESCipher(key)
	}
	return nil, core.Errorf(core.InvalidField, "%v is not a block cipher", alg)
}

// Encrypt encrypts under a key in memory. random fills in an IV.
func Encrypt(key []byte, c *core.Cipher, random func([]byte) error) (core.Ciphered, error) {
	p, err := CheckCipher(c, true)
	if err != nil {
		return core.Ciphered{}, err
	}
	var out core.Ciphered
	iv := c.IV
	if p.MakeIV {
		iv = make([]byte, p.IV)
		if err := random(iv); err != nil {
			return out, err
		}
		out.IV = iv
	}
	p.nonce = len(iv)
	aead, block, err := p.newCipher(key)
	if err != nil {
		return out, err
	}
	if aead != nil {
		sealed := aead.Seal(nil, iv, c.Data, c.AAD)
		at := len(c.Data)
		out.Data, out.Tag = sealed[:at:at], sealed[at:at+p.Tag]
		return out, nil
	}
	data := c.Data
	if p.Pad {
		data = Pad(data, p.Block)
		defer clear(data)
	}
	out.Data = make([]byte, len(data))
	return out, p.runMode(key, block, iv, out.Data, data, true)
}

// Decrypt decrypts under a key in memory.
func Decrypt(key []byte, c *core.Cipher) ([]byte, error) {
	p, err := CheckCipher(c, false)
	if err != nil {
		return nil, err
	}
	p.nonce = len(c.IV)
	aead, block, err := p.newCipher(key)
	if err != nil {
		return nil, err
	}
	if aead != nil {
		return openAEAD(aead, c)
	}
	out := make([]byte, len(c.Data))
	if err := p.runMode(key, block, c.IV, out, c.Data, false); err != nil || !p.Pad {
		return out, err
	}
	return Unpad(out, p.Block)
}

// newCipher makes the AEAD or the block cipher that the plan needs. ChaCha20 needs
// neither.
func (p *Plan) newCipher(key []byte) (cipher.AEAD, cipher.Block, error) {
	switch p.Algorithm {
	case core.AlgorithmChaCha20Poly1305:
		a, err := chacha20poly1305.New(key)
		return a, nil, err
	case core.AlgorithmChaCha20:
		return nil, nil, nil
	}
	b, err := blockOf(p.Algorithm, key)
	if err != nil || p.Mode != core.BlockCipherModeGCM {
		return nil, b, err
	}
	a, err := cipher.NewGCMWithNonceSize(b, p.nonce)
	return a, b, err
}

// openAEAD decrypts and compares a tag that may be shorter than the full one, of which
// it is then the beginning. Go makes the full tag but does not compare a part of it.
// Sealing the ciphertext gives the plaintext; sealing that gives the full tag.
func openAEAD(a cipher.AEAD, c *core.Cipher) ([]byte, error) {
	n := len(c.Data)
	plain := a.Seal(nil, c.IV, c.Data, c.AAD)[:n:n]
	full := a.Seal(nil, c.IV, plain, c.AAD)
	defer clear(full)
	if subtle.ConstantTimeCompare(full[n:n+len(c.Tag)], c.Tag) != 1 {
		clear(plain)
		return nil, core.Errorf(core.CryptographicFailure, "decryption failed: the key, the IV, the tag, the additional data or the data is wrong")
	}
	return plain, nil
}

// runMode runs a mode without a tag.
func (p *Plan) runMode(key []byte, b cipher.Block, iv, dst, src []byte, encrypt bool) error {
	switch {
	case p.Algorithm == core.AlgorithmChaCha20:
		// The older form has a longer counter, where the first third of the nonce
		// is today. Within one message, 1 MiB at most, that third stays zero.
		nonce := append(make([]byte, chacha20.NonceSize-len(iv), chacha20.NonceSize), iv...)
		s, err := chacha20.NewUnauthenticatedCipher(key, nonce)
		if err != nil {
			return err
		}
		s.XORKeyStream(dst, src)
	case p.Mode == core.BlockCipherModeCTR:
		cipher.NewCTR(b, iv).XORKeyStream(dst, src)
	case p.Mode == core.BlockCipherModeCBC && encrypt:
		cipher.NewCBCEncrypter(b, iv).CryptBlocks(dst, src)
	case p.Mode == core.BlockCipherModeCBC:
		cipher.NewCBCDecrypter(b, iv).CryptBlocks(dst, src)
	default:
		for i := 0; i < len(src); i += p.Block {
			if encrypt {
				b.Encrypt(dst[i:], src[i:])
			} else {
				b.Decrypt(dst[i:], src[i:])
			}
		}
	}
	return nil
}

// MAC makes an HMAC.
func MAC(alg core.CryptographicAlgorithm, key, data []byte) ([]byte, error) {
	h, err := HMACHash(alg)
	if err != nil {
		return nil, err
	}
	m := hmac.New(h.New, key)
	m.Write(data)
	return m.Sum(nil), nil
}

// CMAC makes the MAC of NIST SP 800-38B with a block cipher.
func CMAC(alg core.CryptographicAlgorithm, key, data []byte) ([]byte, error) {
	b, err := blockOf(alg, key)
	if err != nil {
		return nil, err
	}
	n := b.BlockSize()
	k1 := make([]byte, n)
	b.Encrypt(k1, k1)
	doubleInField(k1)
	last := make([]byte, n)
	full := (len(data) - 1) / n * n // bytes before the last block
	if len(data) == 0 {
		full = 0
	}
	tail := copy(last, data[full:])
	if tail < n {
		last[tail] = 0x80
		doubleInField(k1)
	}
	subtle.XORBytes(last, last, k1)
	x := make([]byte, n)
	for i := 0; i < full; i += n {
		subtle.XORBytes(x, x, data[i:i+n])
		b.Encrypt(x, x)
	}
	subtle.XORBytes(x, x, last)
	b.Encrypt(x, x)
	return x, nil
}

// doubleInField multiplies by x in GF(2^n), n 64 or 128.
func doubleInField(k []byte) {
	poly := byte(0x87)
	if len(k) == 8 {
		poly = 0x1b
	}
	carry := k[0] >> 7
	for i := range k[:len(k)-1] {
		k[i] = k[i]<<1 | k[i+1]>>7
	}
	k[len(k)-1] = k[len(k)-1]<<1 ^ poly*carry
}
