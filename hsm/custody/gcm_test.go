package custody_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

// A token that makes the IVs of AES-GCM itself, and says so, keeps data and
// encrypts for clients: the IV that is stored or returned is the one that was used.
func TestTokenMakesIVs(t *testing.T) {
	faults := hsmtest.FaultModule(t)
	cfg := hsmtest.Config(t)
	cfg.Module, cfg.Copies = faults.Module, -1
	faults.Rule("GCM_IV 0x1 0")
	token := hsmtest.Open(t, cfg, "default")
	secret := []byte("kept under D")
	k := core.Key{Tenant: "default", ID: "data", Type: core.ObjectTypeOpaqueObject}
	m, _, err := token.Import(ctx, k, core.KeySpec{Kind: core.KeyData, Class: core.ClassC, Mode: core.ModeData, Format: core.KeyFormatTypeOpaque}, secret)
	k = keep(t, k, m, err)
	if got, err := token.Clear(ctx, k, nil); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("data is read as %q, %v", got, err)
	}
	n := aesKey("n")
	m, _, err = token.Generate(ctx, n, spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256))
	n = keep(t, n, m, err)
	out, err := token.Encrypt(ctx, n, gcm([]byte("a client's")))
	if err != nil {
		t.Fatal(err)
	}
	in := gcm(out.Data)
	in.IV, in.Tag = out.IV, out.Tag
	if back, err := token.Decrypt(ctx, n, in); err != nil || string(back.Data) != "a client's" {
		t.Errorf("with the IV that was returned it decrypts to %q, %v", back.Data, err)
	}
	own := gcm([]byte("a client's"))
	own.IV = bytes.Repeat([]byte{7}, 12)
	if _, err := token.Encrypt(ctx, n, own); core.CodeOf(err) != core.UnsupportedByHSM {
		t.Errorf("a client's own IV, which the token does not use: %v", err)
	}
	// What was sealed so is read by the plain module, and the set is still the same.
	token.Close(ctx)
	faults.Rule()
	again := hsmtest.Open(t, cfg, "default")
	if got, err := again.Clear(ctx, k, nil); err != nil || !bytes.Equal(got, secret) {
		t.Errorf("after a restart data is read as %q, %v", got, err)
	}
}

// A token whose AES-GCM would lose data, or would let it be forged, is not used.
func TestFaultyGCMIsRefused(t *testing.T) {
	faults := hsmtest.FaultModule(t)
	cfg := hsmtest.Config(t)
	cfg.Module = faults.Module
	for rule, says := range map[string]string{
		"GCM_IV 0x2 0":  "does not decrypt",
		"GCM_IV 0x3 0":  "one IV twice",
		"GCM_AAD 0x1 0": "associated data",
		"GCM_TAG 0x1 0": "",
	} {
		faults.Rule(rule)
		token, err := hsmtest.Start(ctx, cfg)
		if core.CodeOf(err) != core.TokenUnavailable || !strings.Contains(err.Error(), "AES-GCM") || !strings.Contains(err.Error(), says) {
			t.Errorf("under %s: %v", rule, err)
		}
		if token != nil {
			token.Close(ctx)
		}
	}
	faults.Rule()
	token, err := hsmtest.Start(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	token.Close(ctx)
}

// The token encrypts what envelopes can have: no data at all, and as much additional data as
// aad and context allow together.
func TestTokenEncryptsForEnvelopes(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	n := aesKey("n")
	m, _, err := token.Generate(ctx, n, spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256))
	n = keep(t, n, m, err)
	for _, data := range []int{0, 1, 1024, 1 << 20} {
		for _, aad := range []int{50, 64<<10 + 64*(256+4096+8) + 200} {
			in := core.Cipher{Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeGCM},
				Data: bytes.Repeat([]byte{1}, data), AAD: bytes.Repeat([]byte{2}, aad)}
			out, err := token.Encrypt(ctx, n, &in)
			if err != nil || len(out.IV) != 12 || len(out.Tag) != 16 || len(out.Data) != data || out.ExecutedIn != "token" {
				t.Errorf("%d bytes with %d bytes of additional data: IV %x, tag %x, %d bytes, in %q, %v", data, aad, out.IV, out.Tag, len(out.Data), out.ExecutedIn, err)
				continue
			}
			back := in
			back.Data, back.IV, back.Tag = out.Data, out.IV, out.Tag
			if plain, err := token.Decrypt(ctx, n, &back); err != nil || !bytes.Equal(plain.Data, in.Data) {
				t.Errorf("%d bytes with %d bytes of additional data decrypt to %d bytes, %v", data, aad, len(plain.Data), err)
			}
			back.AAD = back.AAD[1:]
			if _, err := token.Decrypt(ctx, n, &back); core.CodeOf(err) != core.CryptographicFailure {
				t.Errorf("with other additional data: %v; want CryptographicFailure", err)
			}
		}
	}
}
