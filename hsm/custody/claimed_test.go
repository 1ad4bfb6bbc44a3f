package custody_test

import (
	"fmt"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

// A private key that comes wrapped is what is said of it, or it is refused: the
// length of an RSA key and the curve of another.
func TestWrappedPrivateKeysAreWhatIsSaidOfThem(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	kek := aesKey("kek")
	m, _, err := token.Generate(t.Context(), kek, spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256))
	kek = keep(t, kek, m, err)
	p := core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeAESKeyWrapPadding}
	pair := func(id string, s core.KeySpec) core.Key {
		t.Helper()
		k := core.Key{Tenant: "default", ID: id, Type: core.ObjectTypePrivateKey, Mask: core.MaskSign, Bits: s.Bits}
		m, _, _, _, err := token.GeneratePair(t.Context(), k, core.Key{Tenant: "default", ID: id + " public", Type: core.ObjectTypePublicKey}, s)
		return keep(t, k, m, err)
	}
	kind := func(kind core.KeyKind, bits int, curve core.RecommendedCurve) core.KeySpec {
		return core.KeySpec{Kind: kind, Class: core.ClassX, Mode: core.ModeWrapped, Bits: bits, Curve: curve, Format: core.KeyFormatTypePKCS8}
	}
	rsa, ec := kind(core.KeyRSA, 2048, 0), kind(core.KeyEC, 256, core.RecommendedCurveP256)
	for i, made := range []core.KeySpec{rsa, ec} {
		wrapped, err := token.WrapOut(t.Context(), pair(fmt.Sprint("made ", i), made), kek, p, nil)
		if err != nil {
			t.Fatal(err)
		}
		for j, said := range []core.KeySpec{rsa, kind(core.KeyRSA, 3072, 0), ec, kind(core.KeyEC, 384, core.RecommendedCurveP384)} {
			k := core.Key{Tenant: "default", ID: fmt.Sprint("in ", i, j), Type: core.ObjectTypePrivateKey, Mask: core.MaskSign, Bits: said.Bits}
			_, _, err := token.ImportWrapped(t.Context(), k, said, kek, p, wrapped)
			if same := said.Kind == made.Kind && said.Bits == made.Bits; (err == nil) != same {
				t.Errorf("a %s key of %d bits said to be %s of %d: %v", made.Kind, made.Bits, said.Kind, said.Bits, err)
			} else if said.Kind == made.Kind && !same && core.CodeOf(err) != core.InvalidField {
				t.Errorf("a %s key of %d bits said to have %d: %v; want InvalidField", made.Kind, made.Bits, said.Bits, err)
			}
		}
	}
}
