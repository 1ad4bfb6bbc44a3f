package soft

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// derivations are answers printed in the standards. Those of SP 800-108 are of NIST's CAVP,
// with counters of 32 bits before the fixed input.
var derivations = []struct {
	source                          string
	d                               core.Derivation
	key, iv, salt, data, derivedKey string
}{
	{"FIPS 180-4, SHA-256 of abc", core.Derivation{Method: core.DerivationMethodHASH, Parameters: core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}},
		"616263", "", "", "", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
	{"RFC 4231 §4.3", core.Derivation{Method: core.DerivationMethodHMAC, PRF: core.AlgorithmHMACSHA256},
		"4a656665", "", "", "7768617420646f2079612077616e7420666f72206e6f7468696e673f", "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
	{"SP 800-38A F.1.1 ECB-AES128", core.Derivation{Method: core.DerivationMethodENCRYPT, Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeECB}},
		key128, "", "", "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51", "3ad77bb40d7a3660a89ecaf32466ef97 f5d3d58503b9699de785895a96fdbaaf"},
	{"SP 800-38A F.2.1 CBC-AES128, the first 20 bytes", core.Derivation{Method: core.DerivationMethodENCRYPT, Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeCBC}},
		key128, counting, "", "6bc1bee22e409f96e93d7e117393172a ae2d8a571e03ac9c9eb76fac45af8e51", "7649abac8119b246cee98e9b12e9197d 5086cb9b"},
	{"RFC 6070, 1 iteration", core.Derivation{Method: core.DerivationMethodPBKDF2, PRF: core.AlgorithmHMACSHA1, Iterations: 1},
		"70617373776f7264", "", "73616c74", "", "0c60c80f961f0e71f3a9b524af6012062fe037a6"},
	{"RFC 6070, 4096 iterations, two blocks", core.Derivation{Method: core.DerivationMethodPBKDF2, PRF: core.AlgorithmHMACSHA1, Iterations: 4096},
		"70617373776f726450415353574f524470617373776f7264", "", "73616c7453414c5473616c7453414c5473616c7453414c5473616c7453414c5473616c74", "", "3d2eec4fe41c849b80c8d83662c0e44a8b291a964cf2f07038"},
	{"RFC 7914 §11, PBKDF2-HMAC-SHA-256", core.Derivation{Method: core.DerivationMethodPBKDF2, PRF: core.AlgorithmHMACSHA256, Iterations: 1},
		"706173737764", "", "73616c74", "", "55ac046e56e3089fec1691c22544b605f94185216dde0465e68b9d57c20dacbc49ca9cccf179b645991664b39d77ef317c71b845b1e30bd509112041d3a19783"},
	{"RFC 5869 A.1", core.Derivation{Method: core.DerivationMethodHKDF, PRF: core.AlgorithmHMACSHA256},
		"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9", "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"},
	{"RFC 5869 A.3, without salt and info", core.Derivation{Method: core.DerivationMethodHKDF, PRF: core.AlgorithmHMACSHA256},
		"0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b0b", "", "", "", "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8"},
	{"RFC 5869 A.4, SHA-1", core.Derivation{Method: core.DerivationMethodHKDF, PRF: core.AlgorithmHMACSHA1},
		"0b0b0b0b0b0b0b0b0b0b0b", "", "000102030405060708090a0b0c", "f0f1f2f3f4f5f6f7f8f9", "085a01ea1b10f36933068b56efa5ad81a4f14b822f5b091568a9cdd4f155fda2c22e422478d305f3f896"},
	{"CAVP counter mode, HMAC-SHA256", core.Derivation{Method: core.DerivationMethodNIST800_108C, PRF: core.AlgorithmHMACSHA256},
		"c4bedbddb66493e7c7259a3bbbc25f8c7e0ca7fe284d92d431d9cd99a0d214ac", "", "",
		"1c69c54766791e315c2cc5c47ecd3ffab87d0d273dd920e70955814c220eacace6a5946542da3dfe24ff626b4897898cafb7db83bdff3c14fa46fd4b",
		"1da47638d6c9c4d04d74d4640bbd42ab814d9e8cc22f4326695239f96b0693f12d0dd1152cf44430"},
	{"CAVP counter mode, CMAC-AES128", core.Derivation{Method: core.DerivationMethodNIST800_108C, PRF: core.AlgorithmAES},
		"695f1b1a16c949cea51cdf2554ec9d42", "", "",
		"4fce5942832a390aa1cbe8a0bf9d202cb799e986c9d6b51f45e4d597a6b57f06a4ebfec6467335d116b7f5f9c5b954062f661820f5db2a5bbb3e0625",
		"d34b601ec18c34dfa0f9e0b7523e218bdddb9befe8d08b6c0202d75ace0dba89"},
	{"CAVP feedback mode, HMAC-SHA256", core.Derivation{Method: core.DerivationMethodNIST800_108F, PRF: core.AlgorithmHMACSHA256},
		"93f698e842eed75394d629d957e2e89c6e741f810b623c8b901e38376d068e7b", "9f575d9059d3e0c0803f08112f8a806de3c3471912cdf42b095388b14b33508e", "",
		"53b89c18690e2057a1d167822e636de50be0018532c431f7f5e37f77139220d5e042599ebe266af5767ee18cd2c5c19a1f0f80",
		"bd1476f43a4e315747cf5918e0ea5bc0d98769457477c3ab18b742def0e079a933b756365afb5541f253fee43c6fd788a44041038509e9eeb68f7d65ffbb5f95"},
	{"CAVP double pipeline, HMAC-SHA256", core.Derivation{Method: core.DerivationMethodNIST800_108DPI, PRF: core.AlgorithmHMACSHA256},
		"02d36fa021c20ddbdee469f0579468bae5cb13b548b6c61cdf9d3ec419111de2", "", "",
		"85abe38bf265fbdc6445ae5c71159f1548c73b7d526a623104904a0f8792070b3df9902b9669490425a385eadb0f9c76e46f0f",
		"d69f74f518c9f64f90a0beebab69f689b73b5c13eb0f860a95cad7d9814f8c506eb7b179a5c5b4466a9ec154c3bf1c13efd6ec0d82b02c29af2c690299edc453"},
}

func TestDerivationVectors(t *testing.T) {
	for _, v := range derivations {
		d := v.d
		d.IV, d.Salt, d.Data = unhex(t, v.iv), unhex(t, v.salt), unhex(t, v.data)
		want := unhex(t, v.derivedKey)
		got := make([]byte, len(want))
		if err := DeriveKey(context.Background(), unhex(t, v.key), &d, got); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %x, %v; want %x", v.source, got, err, want)
		}
	}
}

// A key is never longer than what the method gives, and no request takes minutes.
func TestDerivationsAreBounded(t *testing.T) {
	ecb := core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeECB}
	padded := ecb
	padded.PaddingMethod = core.PaddingMethodPKCS5
	sha256 := core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}
	cbc := ecb
	cbc.BlockCipherMode = core.BlockCipherModeCBC
	for _, c := range []struct {
		what string
		d    core.Derivation
		most int // 0: refused at any length
		code core.Code
	}{
		{"HASH", core.Derivation{Method: core.DerivationMethodHASH, Parameters: sha256}, 32, core.CryptographicFailure},
		{"HASH without a hash", core.Derivation{Method: core.DerivationMethodHASH}, 0, core.InvalidField},
		{"HMAC", core.Derivation{Method: core.DerivationMethodHMAC, PRF: core.AlgorithmHMACSHA1}, 20, core.CryptographicFailure},
		{"HMAC without a hash", core.Derivation{Method: core.DerivationMethodHMAC}, 0, core.BadCryptographicParameters},
		{"ENCRYPT", core.Derivation{Method: core.DerivationMethodENCRYPT, Parameters: ecb, Data: make([]byte, 32)}, 32, core.CryptographicFailure},
		{"ENCRYPT with padding", core.Derivation{Method: core.DerivationMethodENCRYPT, Parameters: padded, Data: make([]byte, 33)}, 48, core.CryptographicFailure},
		{"ENCRYPT of a part of a block", core.Derivation{Method: core.DerivationMethodENCRYPT, Parameters: ecb, Data: make([]byte, 33)}, 0, core.CryptographicFailure},
		{"ENCRYPT without its IV", core.Derivation{Method: core.DerivationMethodENCRYPT, Parameters: cbc, Data: make([]byte, 32)}, 0, core.InvalidField},
		{"HKDF", core.Derivation{Method: core.DerivationMethodHKDF, PRF: core.AlgorithmHMACSHA1}, 5100, core.CryptographicFailure},
		{"PBKDF2", core.Derivation{Method: core.DerivationMethodPBKDF2, PRF: core.AlgorithmHMACSHA256, Iterations: 1_000_000}, 64, core.InvalidField},
		{"PBKDF2 for minutes", core.Derivation{Method: core.DerivationMethodPBKDF2, PRF: core.AlgorithmHMACSHA256, Iterations: 2_000_001}, 0, core.InvalidField},
	} {
		if err := CheckDerivation(&c.d, max(1, c.most)); (err == nil) != (c.most > 0) {
			t.Errorf("%s, %d bytes: %v", c.what, c.most, err)
		}
		if err := DeriveKey(context.Background(), make([]byte, 16), &c.d, make([]byte, c.most+1)); core.CodeOf(err) != c.code {
			t.Errorf("%s, %d bytes: %v; want code %v", c.what, c.most+1, err, c.code)
		}
	}
	gone, cancel := context.WithCancel(context.Background())
	cancel()
	d := core.Derivation{Method: core.DerivationMethodPBKDF2, PRF: core.AlgorithmHMACSHA256, Iterations: 2_000_000}
	if err := DeriveKey(gone, []byte("password"), &d, make([]byte, 32)); !errors.Is(err, context.Canceled) || core.CodeOf(err) != core.GeneralFailure {
		t.Errorf("a client that has gone: %v; want the end of the work", err)
	}
}
