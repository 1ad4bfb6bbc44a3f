package custody_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

// hsm.allow_software lets keys that may leave in clear be used outside the token,
// for what the token does not do. Without it such a use is refused, also where a
// copy of the key is in memory, and what the token does is not touched by it.
func TestAllowSoftware(t *testing.T) {
	ctx := context.Background()
	chacha := core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmChaCha20Poly1305}
	gcm := core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeGCM}
	for _, allow := range []bool{false, true} {
		for _, copies := range []int{-1, 16} {
			t.Run(fmt.Sprintf("allow %v, copies %d", allow, copies), func(t *testing.T) {
				cfg := hsmtest.Config(t)
				cfg.AllowSoftware, cfg.Copies = allow, copies
				token := hsmtest.Open(t, cfg, "default")
				make := func(id string, alg core.CryptographicAlgorithm, kind core.KeyKind, class core.Class) core.Key {
					k := core.Key{Tenant: "default", ID: id, Type: core.ObjectTypeSymmetricKey, Algorithm: alg, Bits: 256,
						Mask: core.MaskEncrypt | core.MaskDecrypt | core.MaskMACGenerate}
					m, _, err := token.Generate(ctx, k, core.KeySpec{Kind: kind, Class: class, Mode: core.ModeWrapped, Bits: 256, Format: core.KeyFormatTypeRaw})
					if err != nil {
						t.Fatal(err)
					}
					k.Material = &m
					return k
				}
				stream, block := make("c", core.AlgorithmChaCha20Poly1305, core.KeyGeneric, core.ClassC), make("a", core.AlgorithmAES, core.KeyAES, core.ClassC)
				out, err := token.Encrypt(ctx, stream, &core.Cipher{Parameters: chacha, Data: []byte("data"), AAD: []byte("a")})
				if allow && (err != nil || out.ExecutedIn != "software") {
					t.Errorf("copies %d, allowed: %v, %q", copies, err, out.ExecutedIn)
				}
				if !allow && (core.CodeOf(err) != core.UnsupportedByHSM || !strings.Contains(err.Error(), "hsm.allow_software")) {
					t.Errorf("copies %d, not allowed: %v", copies, err)
				}
				back, err := token.Decrypt(ctx, stream, &core.Cipher{Parameters: chacha, Data: out.Data, IV: out.IV, Tag: out.Tag, AAD: []byte("a")})
				if allow && (err != nil || string(back.Data) != "data") {
					t.Errorf("copies %d, allowed: %q, %v", copies, back.Data, err)
				}
				if e, err := token.Encrypt(ctx, block, &core.Cipher{Parameters: gcm, Data: []byte("data")}); err != nil || e.ExecutedIn != map[int]string{-1: "token", 16: "memory"}[copies] {
					t.Errorf("allow %v, copies %d, what the token does: %v, %q", allow, copies, err, e.ExecutedIn)
				}
				for _, class := range []core.Class{core.ClassX, core.ClassN} {
					if _, err := token.Encrypt(ctx, make("k"+string(class), core.AlgorithmChaCha20Poly1305, core.KeyGeneric, class), &core.Cipher{Parameters: chacha, Data: []byte("data")}); core.CodeOf(err) != core.UnsupportedByHSM {
						t.Errorf("allow %v, class %s: %v; want UnsupportedByHSM", allow, class, err)
					}
				}
				private, public := core.Key{Tenant: "default", ID: "e", Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmEd25519, Mask: core.MaskSign},
					core.Key{Tenant: "default", ID: "p", Type: core.ObjectTypePublicKey, Algorithm: core.AlgorithmEd25519, Mask: core.MaskVerify}
				m, _, _, _, err := token.GeneratePair(ctx, private, public, core.KeySpec{Kind: core.KeyEd25519, Class: core.ClassC, Mode: core.ModeWrapped, Curve: core.RecommendedCurveCURVE25519, Format: core.KeyFormatTypePKCS8})
				if private.Material = &m; (err == nil) != allow {
					t.Errorf("allow %v: a pair of Ed25519: %v", allow, err)
				}
				if allow {
					if _, where, err := token.Sign(ctx, private, core.CryptographicParameters{}, []byte("data"), false); err != nil || where != "software" {
						t.Errorf("Sign by Ed25519: %v, %q", err, where)
					}
				}
			})
		}
	}
}
