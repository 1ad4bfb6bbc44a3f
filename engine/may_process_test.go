package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// The switches of a tenant hold for its own keys, those of the server for every
// other tenant's. No switch changes anything but decrypting, verifying and
// unwrapping by keys of its state: every state, operation, switch and tenant.
func TestRevokedKeysByTenant(t *testing.T) {
	rows := map[string]string{"unwrap": "syyydd"}
	for _, op := range []string{"encrypt", "sign", "mac", "decrypt", "signature verify", "mac verify"} {
		rows[op] = stateTable[op]
	}
	switches := []engine.RevokedKeys{{false, false}, {false, true}, {true, false}, {true, true}}
	worlds := map[string]*world{"default": newWorld(t), "other": newWorld(t)}
	worlds["other"].alice = worlds["other"].out
	for tenant, w := range worlds {
		for s := core.PreActive; s <= core.DestroyedCompromised; s++ {
			id := w.inState(s)
			for _, server := range switches {
				for _, own := range switches {
					w.Settings.Defaults.RevokedKeys, w.Settings.Defaults.RevokedKeysOf = server, map[string]engine.RevokedKeys{"other": own, "third": {true, true}}
					holds := map[string]engine.RevokedKeys{"default": server, "other": own}[tenant]
					for op, row := range rows {
						want := row[s-core.PreActive]
						if process := row[2] == 'y'; process && (s == core.Deactivated && holds.DeactivatedRefused || s == core.Compromised && holds.CompromisedRefused) {
							want = 's'
						}
						if got := letterOf(w, op, id); got != want {
							t.Errorf("%s in tenant %s by a key that is %v, server %+v, tenant other %+v: %c, want %c", op, tenant, s, server, own, got, want)
						}
					}
				}
			}
		}
	}
}

// letterOf does an operation and returns its letter of stateTable.
func letterOf(w *world, op, id string) byte {
	err := error(nil)
	if op == "unwrap" {
		err = unwrapUnder(w, id)
	} else {
		err = w.step(w.alice, op, id)
	}
	switch {
	case err == nil:
		return 'y'
	case core.CodeOf(err) == core.WrongState:
		return 's'
	case core.CodeOf(err) == core.ObjectDestroyed || core.CodeOf(err) == core.WrappingObjectDestroyed:
		return 'd'
	}
	return 'y' // the fake token unwraps nothing; what matters is that the state allowed it
}

func unwrapUnder(w *world, id string) error {
	_, err := w.Register(ctx, w.alice, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey,
		Attributes: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(allUses)),
		Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Algorithm: core.AlgorithmAES, Length: 256, Wrapped: make([]byte, 40),
			Wrapping: &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding,
				Encryption: &core.WrappingKeyInfo{ID: id, Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeNISTKeyWrap}}}}}})
	return err
}
