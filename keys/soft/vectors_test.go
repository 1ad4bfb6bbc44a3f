package soft

import (
	"bytes"
	"encoding/hex"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func noRandom([]byte) error { panic("no IV was to be made") }

const (
	key128   = "2b7e151628aed2a6abf7158809cf4f3c"
	key256   = "603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4"
	fourPart = "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51 30c81c46a35ce411e5fbc1191a0a52ef f69f2445df4f9b17ad2b417be66c3710"
	counting = "000102030405060708090a0b0c0d0e0f"
	gcmKey   = "feffe9928665731c6d6a8f9467308308"
	gcmPlain = "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39"
	gcmAAD   = "feedfacedeadbeeffeedfacedeadbeefabaddad2"
)

// ciphers are answers printed in the standards.
var ciphers = []struct {
	source                               string
	algorithm                            core.CryptographicAlgorithm
	mode                                 core.BlockCipherMode
	key, iv, aad, plain, ciphertext, tag string
}{
	{"SP 800-38A F.1.1 ECB-AES128", core.AlgorithmAES, core.BlockCipherModeECB, key128, "", "", fourPart,
		"3ad77bb40d7a3660a89ecaf32466ef97 f5d3d58503b9699de785895a96fdbaaf 43b1cd7f598ece23881b00e3ed030688 7b0c785e27e8ad3f8223207104725dd4", ""},
	{"SP 800-38A F.1.5 ECB-AES256", core.AlgorithmAES, core.BlockCipherModeECB, key256, "", "", fourPart,
		"f3eed1bdb5d2a03c064b5a7e3db181f8 591ccb10d410ed26dc5ba74a31362870 b6ed21b99ca6f4f9f153e7b1beafed1d 23304b7a39f9f3ff067d8d8f9e24ecc7", ""},
	{"SP 800-38A F.2.1 CBC-AES128", core.AlgorithmAES, core.BlockCipherModeCBC, key128, counting, "", fourPart,
		"7649abac8119b246cee98e9b12e9197d 5086cb9b507219ee95db113a917678b2 73bed6b8e3c1743b7116e69e22229516 3ff1caa1681fac09120eca307586e1a7", ""},
	{"SP 800-38A F.2.5 CBC-AES256", core.AlgorithmAES, core.BlockCipherModeCBC, key256, counting, "", fourPart,
		"f58c4c04d6e5f1ba779eabfb5f7bfbd6 9cfc4e967edb808d679f777bc6702c7d 39f23369a9d9bacfa530e26304231461 b2eb05e2c39be9fcda6c19078c6a9d1b", ""},
	{"SP 800-38A F.5.1 CTR-AES128", core.AlgorithmAES, core.BlockCipherModeCTR, key128, "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", "", fourPart,
		"874d6191b620e3261bef6864990db6ce 9806f66b7970fdff8617187bb9fffdff 5ae4df3edbd5d35e5b4f09020db03eab 1e031dda2fbe03d1792170a0f3009cee", ""},
	{"SP 800-67 B.1", core.AlgorithmDES3, core.BlockCipherModeECB, "0123456789abcdef23456789abcdef01456789abcdef0123", "", "", "5468652071756663 6b2062726f776e20 666f78206a756d70",
		"a826fd8ce53b855f cce21c8112256fe6 68d5c05dd9b6b900", ""},
	{"GCM test case 4", core.AlgorithmAES, core.BlockCipherModeGCM, gcmKey, "cafebabefacedbaddecaf888", gcmAAD, gcmPlain,
		"42831ec2217774244b7221b784d0d49ce3aa212f2c02a4e035c17e2329aca12e21d514b25466931c7d8f6a5aac84aa051ba30b396a0aac973d58e091", "5bc94fbc3221a5db94fae95ae7121a47"},
	{"GCM test case 5, IV of 8 bytes", core.AlgorithmAES, core.BlockCipherModeGCM, gcmKey, "cafebabefacedbad", gcmAAD, gcmPlain,
		"61353b4c2806934a777ff51fa22a4755699b2a714fcdc6f83766e5f97b6c742373806900e49f24b22b097544d4896b424989b5e1ebac0f07c23f4598", "3612d2e79e3b0785561be14aaca2fccb"},
	{"GCM test case 6, IV of 60 bytes", core.AlgorithmAES, core.BlockCipherModeGCM, gcmKey, "9313225df88406e555909c5aff5269aa6a7a9538534f7da1e4c303d2a318a728c3c0c95156809539fcf0e2429a6b525416aedbf5a0de6a57a637b39b", gcmAAD, gcmPlain,
		"8ce24998625615b603a033aca13fb894be9112a5c3a211a8ba262a3cca7e2ca701e4a9a4fba43c90ccdcb281d48c7c6fd62875d2aca417034c34aee5", "619cc5aefffe0bfa462af43c1699d050"},
	{"GCM test case 1, no data", core.AlgorithmAES, core.BlockCipherModeGCM, "00000000000000000000000000000000", "000000000000000000000000", "", "", "", "58e2fccefa7e3061367f1d57a4e7455a"},
	{"RFC 8439 A.1 #1 and #2", core.AlgorithmChaCha20, 0, strings.Repeat("00", 32), strings.Repeat("00", 12), "", strings.Repeat("00", 128),
		"76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586" +
			"9f07e7be5551387a98ba977c732d080dcb0f29a048e3656912c6533e32ee7aed29b721769ce64e43d57133b074d839d531ed1f28510afb45ace10a1f4b794d6f", ""},
	{"RFC 7539's forerunner, nonce of 8 bytes", core.AlgorithmChaCha20, 0, strings.Repeat("00", 32), "0000000000000001", "", strings.Repeat("00", 60),
		"de9cba7bf3d69ef5e786dc63973f653a0b49e015adbff7134fcb7df137821031e85a050278a7084527214f73efc7fa5b5277062eb7a0433e445f41e3", ""},
	{"RFC 8439 2.8.2", core.AlgorithmChaCha20Poly1305, 0, "808182838485868788898a8b8c8d8e8f909192939495969798999a9b9c9d9e9f", "070000004041424344454647", "50515253c0c1c2c3c4c5c6c7",
		hex.EncodeToString([]byte("Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.")),
		"d31a8d34648e60db7b86afbc53ef7ec2 a4aded51296e08fea9e2b5a736ee62d6 3dbea45e8ca9671282fafb69da92728b 1a71de0a9e060b2905d6a5b67ecd3b36" +
			"92ddbd7f2d778b8c9803aee328091b58 fab324e4fad675945585808b4831d7bc 3ff4def08e4b7a9de576d26586cec64b 6116", "1ae10b594f09e26a7e902ecbd0600691"},
}

func TestCipherVectors(t *testing.T) {
	for _, v := range ciphers {
		p := core.CryptographicParameters{CryptographicAlgorithm: v.algorithm, BlockCipherMode: v.mode}
		key, iv, aad, plain := unhex(t, v.key), unhex(t, v.iv), unhex(t, v.aad), unhex(t, v.plain)
		got, err := Encrypt(key, &core.Cipher{Parameters: p, Data: plain, IV: iv, AAD: aad}, noRandom)
		if err != nil || !bytes.Equal(got.Data, unhex(t, v.ciphertext)) || !bytes.Equal(got.Tag, unhex(t, v.tag)) || got.IV != nil {
			t.Errorf("%s: %x %x, %v", v.source, got.Data, got.Tag, err)
			continue
		}
		back, err := Decrypt(key, &core.Cipher{Parameters: p, Data: got.Data, IV: iv, AAD: aad, Tag: got.Tag})
		if err != nil || !bytes.Equal(back, plain) {
			t.Errorf("%s: decrypts to %x, %v", v.source, back, err)
		}
		if v.tag == "" {
			continue
		}
		appended := append(bytes.Clone(got.Data), got.Tag...)
		if back, err = Decrypt(key, &core.Cipher{Parameters: p, Data: appended, IV: iv, AAD: aad}); err != nil || !bytes.Equal(back, plain) {
			t.Errorf("%s, tag behind the data: decrypts to %x, %v", v.source, back, err)
		}
	}
}

// Each bit of ciphertext, tag, IV and additional data counts, and so does a
// tag's length: what does not decrypt says no more than that.
func TestAEADRefuses(t *testing.T) {
	for _, alg := range []core.CryptographicAlgorithm{core.AlgorithmAES, core.AlgorithmChaCha20Poly1305} {
		p := core.CryptographicParameters{CryptographicAlgorithm: alg, BlockCipherMode: core.BlockCipherModeGCM}
		key := bytes.Repeat([]byte{1}, 32)
		good := core.Cipher{Parameters: p, Data: []byte("seventeen bytes !"), IV: make([]byte, 12), AAD: []byte("aad")}
		sealed, err := Encrypt(key, &good, noRandom)
		if err != nil {
			t.Fatal(err)
		}
		for what, field := range map[string]func(*core.Cipher) *[]byte{"data": func(c *core.Cipher) *[]byte { return &c.Data }, "tag": func(c *core.Cipher) *[]byte { return &c.Tag },
			"IV": func(c *core.Cipher) *[]byte { return &c.IV }, "additional data": func(c *core.Cipher) *[]byte { return &c.AAD }} {
			n := len(*field(&core.Cipher{Data: sealed.Data, Tag: sealed.Tag, IV: good.IV, AAD: good.AAD}))
			for bit := range 8 * n {
				c := core.Cipher{Parameters: p, Data: bytes.Clone(sealed.Data), IV: bytes.Clone(good.IV), AAD: bytes.Clone(good.AAD), Tag: bytes.Clone(sealed.Tag)}
				(*field(&c))[bit/8] ^= 1 << (bit % 8)
				if out, err := Decrypt(key, &c); core.CodeOf(err) != core.CryptographicFailure || out != nil {
					t.Fatalf("%v: bit %d of the %s changed: %x, %v", alg, bit, what, out, err)
				}
			}
		}
		for n := range 20 {
			if n == 0 || n == 16 || n >= minGCMTag && n < 16 && alg == core.AlgorithmAES {
				continue
			}
			tag := append(bytes.Clone(sealed.Tag), 0, 0, 0, 0)[:n]
			if _, err := Decrypt(key, &core.Cipher{Parameters: p, Data: sealed.Data, IV: good.IV, AAD: good.AAD, Tag: tag}); core.CodeOf(err) != core.CryptographicFailure {
				t.Errorf("%v: a tag of %d bytes: %v", alg, n, err)
			}
		}
	}
}

// Tag Length is that of the tag that is made (SP 800-38D §5.2.1.2), and a tag of
// that length is taken.
func TestTagLengths(t *testing.T) {
	for n := int32(-1); n < 20; n++ {
		for _, alg := range []core.CryptographicAlgorithm{core.AlgorithmAES, core.AlgorithmChaCha20Poly1305} {
			p := core.CryptographicParameters{CryptographicAlgorithm: alg, BlockCipherMode: core.BlockCipherModeGCM, TagLength: &n}
			out, err := Encrypt(make([]byte, 32), &core.Cipher{Parameters: p, Data: []byte("d"), IV: make([]byte, 12)}, noRandom)
			ok := n >= minGCMTag && n <= maxGCMTag
			if (err == nil) != ok || err == nil && len(out.Tag) != int(n) || err != nil && core.CodeOf(err) != core.GeneralFailure {
				t.Errorf("%v with a tag of %d bytes gives %d: %v", alg, n, len(out.Tag), err)
			}
			if err != nil {
				continue
			}
			if back, err := Decrypt(make([]byte, 32), &core.Cipher{Parameters: p, Data: out.Data, IV: make([]byte, 12), Tag: out.Tag}); err != nil || string(back) != "d" {
				t.Errorf("%v with a tag of %d bytes: %q, %v", alg, n, back, err)
			}
		}
	}
}

// An IV has the length that the mode takes, is made when none is given at
// Encrypt, and must be given at Decrypt.
func TestIVs(t *testing.T) {
	lengths := map[core.BlockCipherMode]func(int) bool{core.BlockCipherModeCBC: func(n int) bool { return n == 16 }, core.BlockCipherModeCTR: func(n int) bool { return n == 16 },
		core.BlockCipherModeGCM: func(n int) bool { return n >= core.MinGCMIV && n <= core.MaxGCMIV }}
	yes, no := true, false
	for mode, ok := range lengths {
		p := core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: mode}
		for n := 1; n <= 80; n++ {
			_, err := Encrypt(make([]byte, 16), &core.Cipher{Parameters: p, Data: make([]byte, 16), IV: make([]byte, n)}, noRandom)
			if (err == nil) != ok(n) || err != nil && core.CodeOf(err) != core.InvalidField {
				t.Errorf("%v with an IV of %d bytes: %v", mode, n, err)
			}
		}
		random := func(b []byte) error { copy(b, bytes.Repeat([]byte{9}, len(b))); return nil }
		if out, err := Encrypt(make([]byte, 16), &core.Cipher{Parameters: p, Data: make([]byte, 16)}, random); err != nil || len(out.IV) == 0 || out.IV[0] != 9 {
			t.Errorf("%v makes the IV %x: %v", mode, out.IV, err)
		}
		if _, err := Decrypt(make([]byte, 16), &core.Cipher{Parameters: p, Data: make([]byte, 16), Tag: nil}); core.CodeOf(err) != core.InvalidMessage {
			t.Errorf("%v: Decrypt without its IV: %v", mode, err)
		}
		p.RandomIV = &yes
		if _, err := Encrypt(make([]byte, 16), &core.Cipher{Parameters: p, Data: make([]byte, 16), IV: make([]byte, 16)}, noRandom); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%v: Random IV and an IV: %v", mode, err)
		}
		p.RandomIV = &no
		if _, err := Encrypt(make([]byte, 16), &core.Cipher{Parameters: p, Data: make([]byte, 16)}, noRandom); core.CodeOf(err) != core.InvalidMessage {
			t.Errorf("%v: neither Random IV nor an IV: %v", mode, err)
		}
	}
}

func TestMACVectors(t *testing.T) {
	hi, key := []byte("Hi There"), bytes.Repeat([]byte{0x0b}, 20)
	for alg, want := range map[core.CryptographicAlgorithm]string{ // RFC 4231 §4.2, RFC 2202
		core.AlgorithmHMACSHA1:   "b617318655057264e28bc0b6fb378c8ef146be00",
		core.AlgorithmHMACSHA224: "896fb1128abbdf196832107cd49df33f47b4b1169912ba4f53684b22",
		core.AlgorithmHMACSHA256: "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7",
		core.AlgorithmHMACSHA384: "afd03944d84895626b0825f4ab46907f15f9dadbe4101ec682aa034c7cebc59cfaea9ea9076ede7f4af152e8b2fa9cb6",
		core.AlgorithmHMACSHA512: "87aa7cdea5ef619d4ff0b4241a1d6cb02379f4e2ce4ec2787ad0b30545e17cdedaa833b7d6b8a702038b274eaea3f4e4be9d914eeb61f1702e696c203a126854",
	} {
		if got, err := MAC(alg, key, hi); err != nil || !bytes.Equal(got, unhex(t, want)) {
			t.Errorf("%v: %x, %v", alg, got, err)
		}
	}
	if got, err := MAC(core.AlgorithmHMACMD5, key[:16], hi); err != nil || hex.EncodeToString(got) != "9294727a3638bb1c13f48ef8158bfc9d" {
		t.Errorf("HMAC-MD5: %x, %v", got, err)
	}
	// RFC 4231 §4.7: a key longer than the block.
	long, err := MAC(core.AlgorithmHMACSHA256, bytes.Repeat([]byte{0xaa}, 131), []byte("Test Using Larger Than Block-Size Key - Hash Key First"))
	if err != nil || hex.EncodeToString(long) != "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54" {
		t.Errorf("long key: %x, %v", long, err)
	}
	if _, err := MAC(core.AlgorithmAES, key, hi); core.CodeOf(err) != core.BadCryptographicParameters {
		t.Errorf("an HMAC by AES: %v", err)
	}
}

// CMAC by RFC 4493 §4 and SP 800-38B D.4, D.5: empty, whole and broken blocks.
func TestCMACVectors(t *testing.T) {
	for _, v := range []struct {
		alg core.CryptographicAlgorithm
		key string
		by  map[int]string
	}{
		{core.AlgorithmAES, key128, map[int]string{0: "bb1d6929e95937287fa37d129b756746", 16: "070a16b46b4d4144f79bdd9dd04a287c", 40: "dfa66747de9ae63030ca32611497c827", 64: "51f0bebf7e3b9d92fc49741779363cfe"}},
		{core.AlgorithmDES3, "8aa83bf8cbda10620bc1bf19fbb6cd58bc313d4a371ca8b5", map[int]string{0: "b7a688e122ffaf95", 8: "8e8f293136283797", 20: "743ddbe0ce2dc2ed", 32: "33e6b1092400eae5"}},
		{core.AlgorithmDES3, "4cf15134a2850dd58a3d10ba80570d38", map[int]string{0: "bd2ebf9a3ba00361", 8: "4ff2ab813c53ce83", 20: "62dd1b471902bd4e", 32: "31b1e431dabc4eb8"}},
	} {
		for n, want := range v.by {
			data := unhex(t, fourPart)[:n]
			if got, err := CMAC(v.alg, unhex(t, v.key), data); err != nil || hex.EncodeToString(got) != want {
				t.Errorf("%v, %d bytes: %x, %v; want %s", v.alg, n, got, err, want)
			}
		}
	}
}

// PKCS#5 padding: what Pad wrote Unpad takes off, whatever else ends a block is
// refused, and what was decrypted is zeroed then.
func TestPadding(t *testing.T) {
	for _, block := range []int{8, 16} {
		for n := range 3*block + 1 {
			data := bytes.Repeat([]byte{0x5a}, n)
			padded := Pad(data, block)
			if len(padded)%block != 0 || len(padded) <= n {
				t.Fatalf("%d bytes are padded to %d", n, len(padded))
			}
			if got, err := Unpad(padded, block); err != nil || !bytes.Equal(got, data) {
				t.Fatalf("%d bytes: %x, %v", n, got, err)
			}
		}
		for last := range 256 {
			for wrong := range block {
				b := bytes.Repeat([]byte{0x5a}, 2*block)
				for i := range min(last, len(b)) {
					b[len(b)-1-i] = byte(last)
				}
				b[len(b)-1] = byte(last)
				valid := last >= 1 && last <= block
				if wrong > 0 { // one byte of the padding differs
					b[len(b)-1-wrong] ^= 0x80
					valid = valid && wrong >= last
				}
				_, err := Unpad(b, block)
				if (err == nil) != valid {
					t.Fatalf("blocks of %d, last byte %d, byte %d changed: %v", block, last, wrong, err)
				}
				if err != nil && (core.CodeOf(err) != core.CryptographicFailure || len(bytes.Trim(b, "\x00")) > 0) {
					t.Fatalf("%v leaves %x", err, b)
				}
			}
		}
		for _, n := range []int{0, 1, block - 1, block + 1} {
			if _, err := Unpad(make([]byte, n), block); core.CodeOf(err) != core.CryptographicFailure {
				t.Errorf("%d bytes: %v", n, err)
			}
		}
	}
}

// Data that fills no block is padded when asked for and refused otherwise; no
// data at all is a block of padding.
func TestBlocksAreFilled(t *testing.T) {
	for _, mode := range []core.BlockCipherMode{core.BlockCipherModeECB, core.BlockCipherModeCBC} {
		for n := range 34 {
			iv := make([]byte, 16)
			if mode == core.BlockCipherModeECB {
				iv = nil
			}
			p := core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: mode}
			if _, err := Encrypt(make([]byte, 16), &core.Cipher{Parameters: p, Data: make([]byte, n), IV: iv}, noRandom); (err == nil) != (n%16 == 0) {
				t.Errorf("%v, %d bytes without padding: %v", mode, n, err)
			}
			p.PaddingMethod = core.PaddingMethodPKCS5
			out, err := Encrypt(make([]byte, 16), &core.Cipher{Parameters: p, Data: make([]byte, n), IV: iv}, noRandom)
			if err != nil || len(out.Data) != (n/16+1)*16 {
				t.Fatalf("%v, %d bytes with padding: %d bytes, %v", mode, n, len(out.Data), err)
			}
			if back, err := Decrypt(make([]byte, 16), &core.Cipher{Parameters: p, Data: out.Data, IV: iv}); err != nil || len(back) != n {
				t.Errorf("%v, %d bytes come back as %d: %v", mode, n, len(back), err)
			}
			if _, err := Decrypt(make([]byte, 16), &core.Cipher{Parameters: p, Data: out.Data[:len(out.Data)-1], IV: iv}); core.CodeOf(err) != core.CryptographicFailure {
				t.Errorf("%v, a byte missing: %v", mode, err)
			}
		}
	}
}

func TestDigests(t *testing.T) { // FIPS 180-4 and FIPS 202, "abc"
	for h, want := range map[core.HashingAlgorithm]string{
		core.HashMD5: "900150983cd24fb0d6963f7d28e17f72", core.HashSHA1: "a9993e364706816aba3e25717850c26c9cd0d89d",
		core.HashSHA256:   "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
		core.HashSHA3_256: "3a985da74fe225b2045c172d6bd390bd855f086e3e9d525b46bfe24511431532"} {
		if got, err := Digest(h, []byte("abc")); err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%v: %x, %v", h, got, err)
		}
	}
	if _, err := Digest(core.HashingAlgorithm(0x77), nil); core.CodeOf(err) != core.InvalidField {
		t.Errorf("an unknown hash: %v", err)
	}
}
