package engine

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Revoked keys decrypt, verify and unwrap as the standard lets them, or not at
// all where the settings say so. Each setting is about its own state alone.
func TestRevokedKeysMayBeRefused(t *testing.T) {
	unwrap := func(w *world, id string) error {
		_, err := w.Register(ctx, w.alice, &core.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey,
			Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(allUses)),
			Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: 256, Wrapped: make([]byte, 40),
				Wrapping: &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding,
					Encryption: &core.WrappingKeyInfo{ID: id, Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeNISTKeyWrap}}}}}})
		return err
	}
	ops := map[string]func(w *world, id string) error{"unwrap": unwrap}
	for _, op := range []string{"decrypt", "signature verify", "mac verify"} {
		ops[op] = func(w *world, id string) error { return w.step(w.alice, op, id) }
	}
	for _, s := range []core.State{core.Deactivated, core.Compromised} {
		for op, do := range ops {
			for _, own := range []bool{false, true} {
				w := newWorld(t)
				id := w.inState(s)
				if err := do(w, id); core.CodeOf(err) == core.WrongState {
					t.Errorf("%s by a key that is %v, as the standard: %v", op, s, err)
				}
				w.Defaults.DeactivatedRefused, w.Defaults.CompromisedRefused = (s == core.Deactivated) == own, (s == core.Compromised) == own
				if err := do(w, id); (core.CodeOf(err) == core.WrongState) != own {
					t.Errorf("%s by a key that is %v, refused %v: %v", op, s, own, err)
				}
				if active := w.inState(core.Active); core.CodeOf(do(w, active)) == core.WrongState {
					t.Errorf("%s by a key that is Active is refused", op)
				}
			}
		}
	}
}
