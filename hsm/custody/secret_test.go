package custody_test

import (
	"bytes"
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

// Secret Data of class X is kept as a key is: its bytes do not come back into this
// process, and it leaves wrapped by the token, exactly as long as it was.
func TestSecretDataOfClassXStaysInTheToken(t *testing.T) {
	ctx := context.Background()
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	kek := core.Key{Tenant: "default", ID: "kek", Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Bits: 256, Mask: core.MaskWrapKey | core.MaskUnwrapKey}
	secret := []byte("0123456789abcdef0123456789abcdef")
	m, _, err := token.Import(ctx, kek, core.KeySpec{Kind: core.KeyAES, Class: core.ClassC, Mode: core.ModeWrapped, Bits: 256, Format: core.KeyFormatTypeRaw}, secret)
	if err != nil {
		t.Fatal(err)
	}
	kek.Material = &m
	kw := core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeNISTKeyWrap}
	for n, exact := range map[int]bool{1: false, 8: false, 13: false, 16: true, 20: false, 32: true, 100: false, 1000: true} {
		value := bytes.Repeat([]byte("password"), n/8+1)[:n]
		ttlv := append(bytes.Repeat([]byte{7}, 16), append(bytes.Clone(value), make([]byte, -n&7)...)...)
		k := core.Key{Tenant: "default", ID: string(rune('a' + n%26)), Type: core.ObjectTypeSecretData}
		m, _, err := token.Import(ctx, k, core.KeySpec{Kind: core.KeyData, Class: core.ClassX, Mode: core.ModeData, Format: core.KeyFormatTypeRaw, TTLV: bytes.Clone(ttlv)}, bytes.Clone(value))
		if err != nil {
			t.Errorf("%d bytes: %v", n, err)
			continue
		}
		if k.Material = &m; m.Mode != core.ModeWrapped || m.Length != n {
			t.Errorf("%d bytes are kept as %s with length %d", n, m.Mode, m.Length)
		}
		if _, err := token.Clear(ctx, k, nil); core.CodeOf(err) != core.Sensitive {
			t.Errorf("%d bytes: Clear gives %v; want Sensitive", n, err)
		}
		unwrapped := func(wrapped []byte) []byte {
			back := core.Key{Tenant: "default", ID: "back", Type: core.ObjectTypeSymmetricKey}
			m, _, err := token.ImportWrapped(ctx, back, core.KeySpec{Kind: core.KeyGeneric, Class: core.ClassC, Mode: core.ModeWrapped, Bits: 8 * (len(wrapped) - 8), Format: core.KeyFormatTypeRaw}, kek, kw, wrapped)
			if err != nil {
				t.Fatal(err)
			}
			back.Material = &m
			defer token.Forget("default", "back")
			b, err := token.Clear(ctx, back, nil)
			if err != nil {
				t.Fatal(err)
			}
			return b
		}
		out, err := token.WrapOut(ctx, k, kek, kw, nil)
		if exact && (err != nil || !bytes.Equal(unwrapped(out), value)) {
			t.Errorf("%d bytes wrapped without TTLV: %v", n, err)
		}
		if !exact && core.CodeOf(err) != core.KeyWrapTypeNotSupported {
			t.Errorf("%d bytes wrapped without TTLV: %v; want a refusal, since zeros would go with them", n, err)
		}
		out, err = token.WrapOut(ctx, k, kek, kw, []byte{})
		if err != nil || !bytes.Equal(unwrapped(out), ttlv) {
			t.Errorf("%d bytes wrapped with TTLV: %v", n, err)
		}
	}
}
