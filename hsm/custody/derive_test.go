package custody_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// deriver imports base keys and derives from them.
type deriver struct {
	*testing.T
	token *hsmtest.Token
	made  int
}

// base imports a base key.
func (d *deriver) base(kind core.KeyKind, alg core.CryptographicAlgorithm, class core.Class, mode core.Mode, value []byte) core.Key {
	d.Helper()
	d.made++
	k := core.Key{Tenant: "default", ID: fmt.Sprintf("base %d", d.made), Type: core.ObjectTypeSymmetricKey, Algorithm: alg, Bits: 8 * len(value), Mask: core.MaskDeriveKey}
	if kind == core.KeyData {
		k.Type = core.ObjectTypeSecretData
	}
	s := spec(kind, class, mode, 8*len(value))
	if kind == core.KeyData && class == core.ClassX {
		s.TTLV = append(make([]byte, 16), append(bytes.Clone(value), make([]byte, -len(value)&7)...)...)
	}
	m, _, err := d.token.Import(ctx, k, s, bytes.Clone(value))
	return keep(d.T, k, m, err)
}

// derive derives an AES key, of which [deriver.shows] tells the value.
func (d *deriver) derive(base core.Key, class core.Class, mode core.Mode, bits int, by core.Derivation) (core.Key, string, error) {
	d.made++
	k := core.Key{Tenant: "default", ID: fmt.Sprintf("derived %d", d.made), Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Bits: bits, Mask: core.MaskEncrypt}
	m, facts, err := d.token.Derive(ctx, k, spec(core.KeyAES, class, mode, bits), base, &by)
	k.Material = &m
	return k, facts.ExecutedIn, err
}

var oneBlock = []byte("sixteen bytes !!")

// shows encrypts one block, which tells two AES keys apart.
func (d *deriver) shows(k core.Key) []byte {
	d.Helper()
	p := core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeECB}
	out, err := d.token.Encrypt(ctx, k, &core.Cipher{Parameters: p, Data: oneBlock})
	if err != nil {
		d.Fatalf("%s: %v", k.ID, err)
	}
	return out.Data
}

func (d *deriver) wouldShow(value []byte) []byte {
	p := core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeECB}
	out, err := soft.Encrypt(value, &core.Cipher{Parameters: p, Data: oneBlock}, nil)
	if err != nil {
		d.Fatal(err)
	}
	return out.Data
}

var (
	derivingECB = core.Derivation{Method: core.DerivationMethodENCRYPT, Data: make([]byte, 48), Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeECB}}
	derivingCBC = core.Derivation{Method: core.DerivationMethodENCRYPT, Data: []byte("seventeen bytes !"), IV: []byte("0123456789abcdef"), Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES,
		BlockCipherMode: core.BlockCipherModeCBC, PaddingMethod: core.PaddingMethodPKCS5}}
)

func derivingBy(m core.DerivationMethod, prf core.CryptographicAlgorithm) core.Derivation {
	return core.Derivation{Method: m, PRF: prf, Data: []byte("label\x00context")}
}

// From one base key a method derives one key, whatever the class of both, and whether the HSM
// or this process computes it.
func TestDerivationIsTheSameInEveryClass(t *testing.T) {
	for _, copies := range []int{16, -1} {
		t.Run(fmt.Sprintf("copies %d", copies), func(t *testing.T) { derivationsAgree(t, copies) })
	}
}

func derivationsAgree(t *testing.T, copies int) {
	cfg := hsmtest.Config(t)
	cfg.Copies = copies
	d := &deriver{T: t, token: hsmtest.Open(t, cfg, "default")}
	value := []byte("0123456789abcdef0123456789abcdef")
	feedback := derivingBy(core.DerivationMethodNIST800_108F, core.AlgorithmHMACSHA1)
	feedback.IV = []byte("iv")
	for what, c := range map[string]struct {
		kind core.KeyKind
		alg  core.CryptographicAlgorithm
		by   core.Derivation
	}{
		"HMAC of an HMAC key":        {core.KeyGeneric, core.AlgorithmHMACSHA256, derivingBy(core.DerivationMethodHMAC, core.AlgorithmHMACSHA256)},
		"HMAC of an AES key":         {core.KeyAES, core.AlgorithmAES, derivingBy(core.DerivationMethodHMAC, core.AlgorithmHMACSHA256)},
		"HMAC of Secret Data":        {core.KeyData, 0, derivingBy(core.DerivationMethodHMAC, core.AlgorithmHMACSHA256)},
		"ENCRYPT by ECB":             {core.KeyAES, core.AlgorithmAES, derivingECB},
		"ENCRYPT by CBC and padding": {core.KeyAES, core.AlgorithmAES, derivingCBC},
		"counter mode by HMAC":       {core.KeyGeneric, core.AlgorithmHMACSHA1, derivingBy(core.DerivationMethodNIST800_108C, core.AlgorithmHMACSHA1)},
		"counter mode by CMAC":       {core.KeyAES, core.AlgorithmAES, derivingBy(core.DerivationMethodNIST800_108C, core.AlgorithmAES)},
		"feedback mode":              {core.KeyGeneric, core.AlgorithmHMACSHA1, feedback},
		"double pipeline":            {core.KeyGeneric, core.AlgorithmHMACSHA1, derivingBy(core.DerivationMethodNIST800_108DPI, core.AlgorithmHMACSHA1)},
	} {
		want := make([]byte, 32)
		if err := soft.DeriveKey(ctx, value, &c.by, want); err != nil {
			t.Fatal(err)
		}
		for _, class := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
			for _, mode := range []core.Mode{core.ModeWrapped, core.ModeResident} {
				if mode == core.ModeResident && (c.kind == core.KeyData || what == "HMAC of an AES key") {
					continue
				}
				name := fmt.Sprintf("copies %d, %s, class %s, %s", copies, what, class, mode)
				if c.kind == core.KeyData && class == core.ClassC && copies < 0 {
					continue // sealed under D, and used in memory
				}
				k, where, err := d.derive(d.base(c.kind, c.alg, class, mode, value), class, core.ModeWrapped, 256, c.by)
				if err != nil {
					t.Errorf("%s: %v", name, err)
					continue
				}
				if inMemory := class == core.ClassC && copies > 0; where != map[bool]string{true: "memory", false: "token"}[inMemory] {
					t.Errorf("%s: ran in %s", name, where)
				}
				if !bytes.Equal(d.shows(k), d.wouldShow(want)) {
					t.Errorf("%s: another key", name)
				}
			}
		}
	}
}

// A key is derived into the class of its base, or into one that forbids more.
func TestDerivedClassIsNotWeaker(t *testing.T) {
	d := &deriver{T: t, token: hsmtest.Open(t, hsmtest.Config(t), "default")}
	value := []byte("0123456789abcdef0123456789abcdef")
	by := derivingBy(core.DerivationMethodHMAC, core.AlgorithmHMACSHA256)
	allowed := map[string]bool{"N N": true, "X X": true, "X N": true, "C C": true, "C X": true, "C N": true}
	for _, from := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
		base := d.base(core.KeyGeneric, core.AlgorithmHMACSHA256, from, core.ModeWrapped, value)
		for _, to := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
			for _, mode := range []core.Mode{core.ModeWrapped, core.ModeResident} {
				k, _, err := d.derive(base, to, mode, 256, by)
				if allowed[string(from)+" "+string(to)] != (err == nil) || (err != nil && core.CodeOf(err) != core.PermissionDenied) {
					t.Errorf("from class %s to %s, %s: %v", from, to, mode, err)
				}
				if err != nil {
					continue
				}
				if k.Material.Class != to || k.Material.Mode != mode {
					t.Errorf("from class %s to %s, %s: class %s, %s", from, to, mode, k.Material.Class, k.Material.Mode)
				}
				if _, err := d.token.Clear(ctx, k, nil); (err == nil) != (to == core.ClassC) {
					t.Errorf("from class %s to %s, %s: Clear gives %v", from, to, mode, err)
				}
			}
		}
	}
}

// What the HSM cannot do without giving the bytes of the base key away is refused with a
// sentence that names what it can do.
func TestDerivationsThatNeedTheBytes(t *testing.T) {
	d := &deriver{T: t, token: hsmtest.Open(t, hsmtest.Config(t), "default")}
	value := []byte("0123456789abcdef0123456789abcdef")
	hash := core.Derivation{Method: core.DerivationMethodHASH, Parameters: core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}}
	pbkdf2 := core.Derivation{Method: core.DerivationMethodPBKDF2, PRF: core.AlgorithmHMACSHA1, Salt: []byte("salt"), Iterations: 1}
	hkdf := core.Derivation{Method: core.DerivationMethodHKDF, PRF: core.AlgorithmHMACSHA256}
	byHMAC := derivingBy(core.DerivationMethodHMAC, core.AlgorithmHMACSHA256)
	for _, class := range []core.Class{core.ClassN, core.ClassX} {
		key := d.base(core.KeyGeneric, core.AlgorithmHMACSHA256, class, core.ModeWrapped, value)
		secret := d.base(core.KeyData, 0, class, core.ModeWrapped, value)
		withSecret := byHMAC
		withSecret.Data, withSecret.DataOf = nil, &secret
		for what, c := range map[string]struct {
			base core.Key
			by   core.Derivation
			says string
		}{
			"HASH of a key":       {key, hash, "derive by HMAC"},
			"HASH of Secret Data": {secret, hash, "derive by HMAC"},
			"PBKDF2":              {secret, pbkdf2, "derive by HMAC"},
			"HKDF":                {key, hkdf, "derive by HMAC"},
			"data that stays":     {key, withSecret, "stays in the HSM"},
			"a short AES key":     {d.base(core.KeyAES, core.AlgorithmAES, class, core.ModeWrapped, value[:16]), byHMAC, "shorter than the digest"},
			"a resident AES key":  {d.base(core.KeyAES, core.AlgorithmAES, class, core.ModeResident, value), byHMAC, "makes no HMAC"},
		} {
			k, _, err := d.derive(c.base, class, core.ModeWrapped, 128, c.by)
			if core.CodeOf(err) != core.UnsupportedByHSM || !strings.Contains(err.Error(), c.says) || k.Material.Blob != nil {
				t.Errorf("class %s, %s: %v; want UnsupportedByHSM and %q", class, what, err, c.says)
			}
		}
	}
	short := []byte("password")
	for _, class := range []core.Class{core.ClassX, core.ClassC} { // zeros after a short HMAC key change no HMAC
		want := make([]byte, 16)
		if err := soft.DeriveKey(ctx, short, &byHMAC, want); err != nil {
			t.Fatal(err)
		}
		k, _, err := d.derive(d.base(core.KeyGeneric, core.AlgorithmHMACSHA256, class, core.ModeWrapped, short), class, core.ModeWrapped, 128, byHMAC)
		if err != nil || !bytes.Equal(d.shows(k), d.wouldShow(want)) {
			t.Errorf("class %s, a base of 8 bytes: another key, or %v", class, err)
		}
	}
}

// In a class C base, everything can be computed here if the settings allow it, and the data
// may be Secret Data.
func TestDerivationInSoftware(t *testing.T) {
	value := []byte("0123456789abcdef0123456789abcdef")
	for _, allow := range []bool{true, false} {
		t.Run(fmt.Sprintf("allowed %v", allow), func(t *testing.T) {
			cfg := hsmtest.Config(t)
			cfg.AllowSoftware = allow
			d := &deriver{T: t, token: hsmtest.Open(t, cfg, "default")}
			for _, tenant := range []bool{true, false} {
				base := d.base(core.KeyGeneric, core.AlgorithmHMACSHA256, core.ClassC, core.ModeWrapped, value)
				base.NoSoftware = !tenant
				hkdf := core.Derivation{Method: core.DerivationMethodHKDF, PRF: core.AlgorithmHMACSHA256, Salt: []byte("salt"), Data: []byte("info")}
				k, where, err := d.derive(base, core.ClassN, core.ModeWrapped, 256, hkdf)
				if !allow || !tenant {
					if core.CodeOf(err) != core.UnsupportedByHSM || !strings.Contains(err.Error(), "hsm.allow_software") {
						t.Errorf("allowed %v, by the tenant %v: %v", allow, tenant, err)
					}
					continue
				}
				want := make([]byte, 32)
				if soft.DeriveKey(ctx, value, &hkdf, want); err != nil || where != "software" || !bytes.Equal(d.shows(k), d.wouldShow(want)) {
					t.Errorf("HKDF: %v in %s, or another key", err, where)
				}
			}
		})
	}
	d := &deriver{T: t, token: hsmtest.Open(t, hsmtest.Config(t), "default")}
	info := d.base(core.KeyData, 0, core.ClassC, core.ModeData, []byte("label and context"))
	by := derivingBy(core.DerivationMethodNIST800_108C, core.AlgorithmHMACSHA256)
	by.Data, by.DataOf = nil, &info
	k, where, err := d.derive(d.base(core.KeyGeneric, core.AlgorithmHMACSHA256, core.ClassN, core.ModeWrapped, value), core.ClassN, core.ModeWrapped, 256, by)
	known := by
	known.Data = []byte("label and context")
	want := make([]byte, 32)
	if soft.DeriveKey(ctx, value, &known, want); err != nil || where != "token" || !bytes.Equal(d.shows(k), d.wouldShow(want)) {
		t.Errorf("data of Secret Data: %v in %s, or another key", err, where)
	}
}

// Secret Data that is derived into class X leaves wrapped, exactly as long as it is.
func TestDerivedSecretDataIsWrapped(t *testing.T) {
	d := &deriver{T: t, token: hsmtest.Open(t, hsmtest.Config(t), "default")}
	value, by := []byte("0123456789abcdef0123456789abcdef"), derivingBy(core.DerivationMethodHMAC, core.AlgorithmHMACSHA512)
	base := d.base(core.KeyGeneric, core.AlgorithmHMACSHA512, core.ClassX, core.ModeWrapped, bytes.Repeat(value, 2))
	kek := core.Key{Tenant: "default", ID: "kek", Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Bits: 256, Mask: core.MaskWrapKey}
	m, _, err := d.token.Import(ctx, kek, spec(core.KeyAES, core.ClassC, core.ModeWrapped, 256), bytes.Clone(value))
	kek = keep(t, kek, m, err)
	for _, n := range []int{16, 32, 64} {
		k := core.Key{Tenant: "default", ID: fmt.Sprintf("secret %d", n), Type: core.ObjectTypeSecretData, Bits: 8 * n, Mask: core.MaskDeriveKey}
		m, _, err := d.token.Derive(ctx, k, spec(core.KeyGeneric, core.ClassX, core.ModeWrapped, 8*n), base, &by)
		k = keep(t, k, m, err)
		want := make([]byte, n)
		if err := soft.DeriveKey(ctx, bytes.Repeat(value, 2), &by, want); err != nil {
			t.Fatal(err)
		}
		out, err := d.token.WrapOut(ctx, k, kek, core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeNISTKeyWrap}, nil)
		if err != nil || len(out) != n+8 || !bytes.Equal(hsmtest.UnwrapRFC3394(t, value, out), want) {
			t.Errorf("%d bytes: %d bytes wrapped, %v", n, len(out), err)
		}
	}
}

// A row that was tampered with derives nothing, in any class.
func TestDerivationChecksRows(t *testing.T) {
	d := &deriver{T: t, token: hsmtest.Open(t, hsmtest.Config(t), "default")}
	by := derivingBy(core.DerivationMethodHMAC, core.AlgorithmHMACSHA256)
	for _, class := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
		base := d.base(core.KeyGeneric, core.AlgorithmHMACSHA256, class, core.ModeWrapped, make([]byte, 32))
		for what, change := range map[string]func(k *core.Key, m *core.Material){
			"mask": func(k *core.Key, m *core.Material) { k.Mask |= core.MaskEncrypt },
			"class": func(k *core.Key, m *core.Material) {
				m.Class = map[core.Class]core.Class{core.ClassN: core.ClassC, core.ClassX: core.ClassC, core.ClassC: core.ClassN}[class]
			},
			"blob": func(k *core.Key, m *core.Material) { m.Blob = append([]byte{m.Blob[0] ^ 1}, m.Blob[1:]...) },
		} {
			k, m := base, *base.Material
			k.Material = &m
			change(&k, &m)
			if _, _, err := d.derive(k, m.Class, core.ModeWrapped, 128, by); core.CodeOf(err) != core.Tampered {
				t.Errorf("class %s, another %s: %v; want Tampered", class, what, err)
			}
		}
	}
}

// A key that was derived into class N or X leaves nothing of its bytes in the memory of this
// process, though they passed through it.
func TestDerivedBytesDoNotStay(t *testing.T) {
	d := &deriver{T: t, token: hsmtest.Open(t, hsmtest.Config(t), "default")}
	value := []byte("fedcba9876543210fedcba9876543210")
	base := d.base(core.KeyGeneric, core.AlgorithmHMACSHA256, core.ClassN, core.ModeWrapped, value)
	by := derivingBy(core.DerivationMethodHMAC, core.AlgorithmHMACSHA256)
	// What is derived, masked so that the search does not find itself. HMAC of Go would leave
	// it in memory.
	masked, err := hex.DecodeString("732f7cc3c3005df0c41761e1c21bdbc3c5c773cbe969352db9ac943100c8ec93")
	if n := memoryHas(t, masked); err != nil || n > 0 {
		t.Fatalf("the test itself has left the needle %d times in memory, %v", n, err)
	}
	for _, mode := range []core.Mode{core.ModeWrapped, core.ModeResident} {
		for range 20 {
			k, _, err := d.derive(base, core.ClassN, mode, 256, by)
			if err != nil {
				t.Fatal(err)
			}
			d.shows(k)
			d.token.Forget("default", k.ID)
		}
	}
	d.token.Forget("default", base.ID)
	if n := memoryHas(t, masked); n > 0 {
		t.Errorf("the derived key is %d times in memory", n)
	}
	k, _, err := d.derive(d.base(core.KeyGeneric, core.AlgorithmHMACSHA256, core.ClassC, core.ModeWrapped, value), core.ClassC, core.ModeWrapped, 256, by)
	if _, err2 := d.token.Clear(ctx, k, nil); err != nil || err2 != nil || memoryHas(t, masked) == 0 { // a copy is kept
		t.Errorf("the search does not find what is there: %v, %v", err, err2)
	}
}

// A client that has gone ends the work that it asked for.
func TestDerivationEndsWithItsClient(t *testing.T) {
	d := &deriver{T: t, token: hsmtest.Open(t, hsmtest.Config(t), "default")}
	base := d.base(core.KeyData, 0, core.ClassC, core.ModeData, []byte("password"))
	gone, cancel := context.WithCancel(ctx)
	d.token.Clear(ctx, base, nil) // a copy is kept, so that the HSM is not needed
	cancel()
	k := core.Key{Tenant: "default", ID: "k", Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Bits: 256}
	if _, _, err := d.token.Derive(gone, k, spec(core.KeyAES, core.ClassC, core.ModeWrapped, 256), base,
		&core.Derivation{Method: core.DerivationMethodPBKDF2, PRF: core.AlgorithmHMACSHA256, Salt: []byte("salt"), Iterations: 2_000_000}); err == nil {
		t.Error("PBKDF2 goes on after its client has gone")
	}
}
