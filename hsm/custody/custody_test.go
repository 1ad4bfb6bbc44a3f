package custody_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/keys/keystest"
)

var ctx = context.Background()

const allUses = core.MaskEncrypt | core.MaskDecrypt | core.MaskSign | core.MaskVerify | core.MaskMACGenerate | core.MaskMACVerify | core.MaskWrapKey | core.MaskUnwrapKey

func aesKey(id string) core.Key {
	return core.Key{Tenant: "default", ID: id, Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Mask: allUses}
}

// keep finishes a key with what the token returned.
func keep(t *testing.T, k core.Key, m core.Material, err error) core.Key {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", k.ID, err)
	}
	k.Material = &m
	return k
}

func spec(kind core.KeyKind, class core.Class, mode core.Mode, bits int) core.KeySpec {
	s := core.KeySpec{Kind: kind, Class: class, Mode: mode, Bits: bits, Format: core.KeyFormatTypeRaw}
	if mode == core.ModeResident {
		s.CKAID = make([]byte, 16)
		rand.Read(s.CKAID)
	}
	return s
}

func gcm(data []byte) *core.Cipher {
	return &core.Cipher{Parameters: core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeGCM}, Data: data, AAD: []byte("bound")}
}

// Every class and mode of AES key makes a round trip, tells where it ran, and
// shows its bytes exactly where its class says.
func TestSymmetricByClassAndMode(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	for _, class := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
		for _, mode := range []core.Mode{core.ModeWrapped, core.ModeResident} {
			name := fmt.Sprintf("%s %s", class, mode)
			k := aesKey(name)
			m, facts, err := token.Generate(ctx, k, spec(core.KeyAES, class, mode, 256))
			k = keep(t, k, m, err)
			c := gcm([]byte("attack at dawn"))
			sealed, err := token.Encrypt(ctx, k, c)
			if err != nil {
				t.Errorf("%s: Encrypt: %v", name, err)
				continue
			}
			if want := map[bool]string{true: "memory", false: "token"}[class == core.ClassC]; sealed.ExecutedIn != want {
				t.Errorf("%s: ran in %s, want %s", name, sealed.ExecutedIn, want)
			}
			open := gcm(sealed.Data)
			open.IV, open.Tag = sealed.IV, sealed.Tag
			plain, err := token.Decrypt(ctx, k, open)
			if err != nil || string(plain.Data) != "attack at dawn" {
				t.Errorf("%s: Decrypt: %q, %v", name, plain.Data, err)
			}
			open = gcm(sealed.Data)
			open.IV, open.Tag = sealed.IV, append([]byte{sealed.Tag[0] ^ 1}, sealed.Tag[1:]...)
			if _, err := token.Decrypt(ctx, k, open); core.CodeOf(err) != core.CryptographicFailure {
				t.Errorf("%s: a wrong tag gives %v, want CryptographicFailure", name, err)
			}
			b, err := token.Clear(ctx, k, nil)
			if class == core.ClassC {
				sum := sha256.Sum256(b)
				if err != nil || len(b) != 32 || !bytes.Equal(sum[:], facts.SHA256) {
					t.Errorf("%s: Clear gives %d bytes whose digest is not that of birth: %v", name, len(b), err)
				}
			} else if err == nil {
				t.Errorf("%s: Clear gave %d bytes", name, len(b))
			}
		}
	}
}

func TestKeysOfManyKinds(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	for _, c := range []struct {
		kind core.KeyKind
		alg  core.CryptographicAlgorithm
		bits int
	}{{core.KeyAES, core.AlgorithmAES, 128}, {core.KeyAES, core.AlgorithmAES, 192}, {core.KeyDES3, core.AlgorithmDES3, 112}, {core.KeyDES3, core.AlgorithmDES3, 168}} {
		for _, class := range []core.Class{core.ClassN, core.ClassC} {
			for _, mode := range []core.BlockCipherMode{core.BlockCipherModeECB, core.BlockCipherModeCBC, core.BlockCipherModeCTR} {
				if c.alg == core.AlgorithmDES3 && mode == core.BlockCipherModeCTR {
					continue
				}
				k := aesKey(fmt.Sprintf("%v %d %s %v", c.alg, c.bits, class, mode))
				k.Algorithm = c.alg
				m, _, err := token.Generate(ctx, k, spec(c.kind, class, core.ModeWrapped, c.bits))
				k = keep(t, k, m, err)
				p := core.CryptographicParameters{CryptographicAlgorithm: c.alg, BlockCipherMode: mode, PaddingMethod: core.PaddingMethodPKCS5}
				sealed, err := token.Encrypt(ctx, k, &core.Cipher{Parameters: p, Data: []byte("nineteen bytes long")})
				if err != nil {
					t.Errorf("%s: %v", k.ID, err)
					continue
				}
				plain, err := token.Decrypt(ctx, k, &core.Cipher{Parameters: p, Data: sealed.Data, IV: sealed.IV})
				if err != nil || string(plain.Data) != "nineteen bytes long" {
					t.Errorf("%s: %q %v", k.ID, plain.Data, err)
				}
			}
		}
	}
}

// What is imported comes back to the byte, whatever its length, and makes the
// right MAC.
func TestImportLengths(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	for _, n := range []int{1, 8, 13, 16, 20, 32, 63, 64, 96, 100, 513} {
		for _, class := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
			b := make([]byte, n)
			rand.Read(b)
			k := aesKey(fmt.Sprintf("hmac %d %s", n, class))
			k.Algorithm = core.AlgorithmHMACSHA256
			m, _, err := token.Import(ctx, k, spec(core.KeyGeneric, class, core.ModeWrapped, n*8), b)
			if class == core.ClassN && n > 64 && n%8 != 0 {
				if core.CodeOf(err) != core.InvalidField {
					t.Errorf("%s: %v; want a refusal, since the token would make wrong MACs", k.ID, err)
				}
				continue
			}
			k = keep(t, k, m, err)
			mac := hmac.New(sha256.New, b)
			mac.Write([]byte("data"))
			want := mac.Sum(nil)
			got, _, err := token.MAC(ctx, k, core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmHMACSHA256}, []byte("data"))
			if err == nil && !bytes.Equal(got, want) {
				t.Errorf("%s: the MAC is wrong", k.ID)
			}
			if err != nil && !(class == core.ClassX && m.Mode == core.ModeData) {
				t.Errorf("%s: %v", k.ID, err)
			}
			if class == core.ClassC {
				if out, err := token.Clear(ctx, k, nil); err != nil || !bytes.Equal(out, b) {
					t.Errorf("%s: came back as %d bytes, %v", k.ID, len(out), err)
				}
			}
		}
	}
	for _, n := range []int{0, 1, 72, 4096, 70000} {
		b := make([]byte, n)
		rand.Read(b)
		k := core.Key{Tenant: "default", ID: fmt.Sprintf("opaque %d", n), Type: core.ObjectTypeOpaqueObject}
		m, _, err := token.Import(ctx, k, spec(core.KeyData, core.ClassC, core.ModeData, n*8), b)
		k = keep(t, k, m, err)
		if out, err := token.Clear(ctx, k, nil); err != nil || !bytes.Equal(out, b) {
			t.Errorf("%s: %d bytes back, %v", k.ID, len(out), err)
		}
	}
}

func TestKeyPairs(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	for _, c := range []struct {
		name  string
		alg   core.CryptographicAlgorithm
		kind  core.KeyKind
		bits  int
		curve core.RecommendedCurve
	}{{"rsa", core.AlgorithmRSA, core.KeyRSA, 2048, 0}, {"p256", core.AlgorithmEC, core.KeyEC, 256, core.RecommendedCurveP256},
		{"p384", core.AlgorithmEC, core.KeyEC, 384, core.RecommendedCurveP384}, {"p521", core.AlgorithmEC, core.KeyEC, 521, core.RecommendedCurveP521},
		{"ed25519", core.AlgorithmEd25519, core.KeyEd25519, 256, core.RecommendedCurveCURVE25519}} {
		for _, class := range []core.Class{core.ClassN, core.ClassC} {
			name := c.name + " " + string(class)
			mode := core.ModeWrapped
			if c.kind == core.KeyEd25519 && class == core.ClassN {
				mode = core.ModeResident
			}
			priv := core.Key{Tenant: "default", ID: name, Type: core.ObjectTypePrivateKey, Algorithm: c.alg, Mask: core.MaskSign | core.MaskDecrypt, Bits: c.bits}
			pub := core.Key{Tenant: "default", ID: name + " public", Type: core.ObjectTypePublicKey, Algorithm: c.alg, Mask: core.MaskVerify | core.MaskEncrypt}
			s := spec(c.kind, class, mode, c.bits)
			s.Curve, s.Format = c.curve, core.KeyFormatTypePKCS8
			m, mp, spki, _, err := token.GeneratePair(ctx, priv, pub, s)
			priv, pub = keep(t, priv, m, err), keep(t, pub, mp, err)
			if _, err := x509.ParsePKIXPublicKey(spki); err != nil {
				t.Errorf("%s: public key: %v", name, err)
			}
			for _, p := range []core.CryptographicParameters{{HashingAlgorithm: core.HashSHA256}, {HashingAlgorithm: core.HashSHA384, PaddingMethod: core.PaddingMethodPSS}} {
				sig, _, err := token.Sign(ctx, priv, p, []byte("deed"), false)
				if err != nil {
					t.Errorf("%s: Sign: %v", name, err)
					continue
				}
				ok, _, err := token.Verify(ctx, pub, p, []byte("deed"), false, sig)
				if err != nil || !ok {
					t.Errorf("%s: the signature is not good: %v", name, err)
				}
				if ok, _, _ := token.Verify(ctx, pub, p, []byte("dead"), false, sig); ok {
					t.Errorf("%s: the signature is good for other data", name)
				}
			}
			der, err := token.Clear(ctx, priv, nil)
			if _, perr := x509.ParsePKCS8PrivateKey(der); class == core.ClassC && (err != nil || perr != nil) {
				t.Errorf("%s: Clear: %v, %v", name, err, perr)
			} else if class == core.ClassN && err == nil {
				t.Errorf("%s: Clear gave a class N key", name)
			}
		}
	}
}

func TestRSAEncryption(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	rsaKey := keystest.RSAKey(2048)
	der, _ := x509.MarshalPKCS8PrivateKey(rsaKey)
	spki, _ := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	for _, class := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
		priv := core.Key{Tenant: "default", ID: "rsa " + string(class), Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskDecrypt}
		m, _, err := token.Import(ctx, priv, spec(core.KeyRSA, class, core.ModeWrapped, 2048), der)
		priv = keep(t, priv, m, err)
		pub := core.Key{Tenant: "default", ID: "rsa public " + string(class), Type: core.ObjectTypePublicKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskEncrypt}
		m, _, err = token.Import(ctx, pub, spec(core.KeyPublic, core.ClassC, core.ModeData, 2048), spki)
		pub = keep(t, pub, m, err)
		for _, p := range []core.CryptographicParameters{{PaddingMethod: core.PaddingMethodPKCS1V1_5}, {PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA1},
			{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA256, MaskGenerator: core.MaskGeneratorMFG1, MaskGeneratorHashing: core.HashSHA256, PSource: []byte("label")},
			{PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA512, MaskGenerator: core.MaskGeneratorMFG1, MaskGeneratorHashing: core.HashSHA1}} {
			sealed, err := token.Encrypt(ctx, pub, &core.Cipher{Parameters: p, Data: []byte("small secret")})
			if err != nil {
				t.Fatal(err)
			}
			plain, err := token.Decrypt(ctx, priv, &core.Cipher{Parameters: p, Data: sealed.Data})
			if err != nil || string(plain.Data) != "small secret" {
				t.Errorf("class %s, %v %v: %q, %v", class, p.PaddingMethod, p.HashingAlgorithm, plain.Data, err)
			}
			sealed.Data[9] ^= 1
			if _, err := token.Decrypt(ctx, priv, &core.Cipher{Parameters: p, Data: sealed.Data}); core.CodeOf(err) != core.CryptographicFailure && p.PaddingMethod == core.PaddingMethodOAEP {
				t.Errorf("class %s, %v: a changed ciphertext gives %v", class, p.HashingAlgorithm, err)
			}
		}
	}
}

// Who writes the database can neither swap blobs nor widen a mask.
func TestTamperedRowsAreRefused(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default", "other")
	make := func(id string) core.Key {
		k := aesKey(id)
		m, _, err := token.Generate(ctx, k, spec(core.KeyAES, core.ClassX, core.ModeWrapped, 256))
		return keep(t, k, m, err)
	}
	a, b := make("a"), make("b")
	for what, change := range map[string]func(k *core.Key){
		"the blob of another row":    func(k *core.Key) { k.Material.Blob = b.Material.Blob },
		"another row's all":          func(k *core.Key) { *k.Material = *b.Material },
		"a wider mask":               func(k *core.Key) { k.Mask |= core.MaskCRLSign },
		"a weaker class":             func(k *core.Key) { k.Material.Class = core.ClassC },
		"another algorithm":          func(k *core.Key) { k.Algorithm = core.AlgorithmDES3 },
		"another tenant":             func(k *core.Key) { k.Tenant = "other" },
		"another length":             func(k *core.Key) { k.Material.Length = 16 },
		"a flipped bit":              func(k *core.Key) { k.Material.Blob = bytes.Clone(k.Material.Blob); k.Material.Blob[3] ^= 4 },
		"no MAC":                     func(k *core.Key) { k.Material.MAC = nil },
		"the MAC's epoch":            func(k *core.Key) { k.Material.MAC = bytes.Clone(k.Material.MAC); k.Material.MAC[0] = 9 },
		"another kind":               func(k *core.Key) { k.Material.Kind = core.KeyGeneric },
		"another format of the blob": func(k *core.Key) { k.Material.Wrap = "none" },
	} {
		k, m := a, *a.Material
		k.Material = &m
		change(&k)
		if _, err := token.Encrypt(ctx, k, gcm([]byte("x"))); core.CodeOf(err) != core.Tampered {
			t.Errorf("%s: Encrypt gives %v, want Tampered", what, err)
		}
		if _, err := token.Clear(ctx, k, nil); core.CodeOf(err) != core.Tampered {
			t.Errorf("%s: Clear gives %v, want Tampered", what, err)
		}
	}
	if _, err := token.Encrypt(ctx, a, gcm([]byte("x"))); err != nil {
		t.Errorf("the row itself: %v", err)
	}
}

// clientKEK imports an AES key that a client knows, and returns it with its bytes.
func clientKEK(t *testing.T, token *hsmtest.Token) (with core.Key, kek []byte) {
	t.Helper()
	kek = make([]byte, 32)
	rand.Read(kek)
	with = aesKey("client kek")
	m, _, err := token.Import(ctx, with, spec(core.KeyAES, core.ClassC, core.ModeWrapped, 256), kek)
	return keep(t, with, m, err), kek
}

func TestWrapOutAndIn(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	with, kek := clientKEK(t, token)
	p := core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeNISTKeyWrap}
	secret := make([]byte, 32)
	rand.Read(secret)
	for _, class := range []core.Class{core.ClassX, core.ClassC} {
		k := aesKey("wrapped " + string(class))
		s := spec(core.KeyAES, class, core.ModeWrapped, 256)
		s.TTLV = bytes.Repeat([]byte("ttlvttlv"), 6)
		m, _, err := token.Import(ctx, k, s, secret)
		k = keep(t, k, m, err)
		blob, err := token.WrapOut(ctx, k, with, p, nil)
		if err != nil || !bytes.Equal(hsmtest.UnwrapRFC3394(t, kek, blob), secret) {
			t.Fatalf("class %s: the wrapped key is not the key: %v", class, err)
		}
		if class == core.ClassX {
			blob, err := token.WrapOut(ctx, k, with, p, []byte{})
			if err != nil || !bytes.Equal(hsmtest.UnwrapRFC3394(t, kek, blob), s.TTLV) {
				t.Errorf("class X with TTLV: %v", err)
			}
		}
		in := aesKey("back " + string(class))
		m, facts, err := token.ImportWrapped(ctx, in, spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256), with, p, blob)
		in = keep(t, in, m, err)
		if sum := sha256.Sum256(secret); !bytes.Equal(facts.SHA256, sum[:]) {
			t.Errorf("the key that came in wrapped is another: %x", facts.SHA256)
		}
	}
	n := aesKey("never")
	m, _, err := token.Generate(ctx, n, spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256))
	n = keep(t, n, m, err)
	if _, err := token.WrapOut(ctx, n, with, p, nil); err == nil {
		t.Error("the token wrapped a class N key for a client")
	}
}

// An HMAC key leaves wrapped as the bytes that it is, and not with the zeros that
// the token may need behind it; it makes the same MACs all the while.
func TestWrapOutHMAC(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	with, kek := clientKEK(t, token)
	p := core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeNISTKeyWrap}
	for _, mode := range []core.Mode{core.ModeWrapped, core.ModeResident} {
		for _, class := range []core.Class{core.ClassX, core.ClassC} {
			for _, n := range []int{16, 24, 32, 48, 64, 128} {
				secret := make([]byte, n)
				rand.Read(secret)
				k := core.Key{Tenant: "default", ID: fmt.Sprint("hmac ", mode, class, n), Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmHMACSHA256, Mask: core.MaskMACGenerate}
				s := spec(core.KeyGeneric, class, mode, 8*n)
				if mode == core.ModeResident {
					s.CKAID = []byte(k.ID)
				}
				m, _, err := token.Import(ctx, k, s, secret)
				k = keep(t, k, m, err)
				mac, _, err := token.MAC(ctx, k, core.CryptographicParameters{}, []byte("data"))
				want := hmac.New(sha256.New, secret)
				want.Write([]byte("data"))
				if err != nil || !bytes.Equal(mac, want.Sum(nil)) {
					t.Errorf("%s: the MAC is %x, %v", k.ID, mac, err)
				}
				blob, err := token.WrapOut(ctx, k, with, p, nil)
				if class == core.ClassX && n < sha256.Size { // it has zeros behind it, and nobody may cut them off
					if core.CodeOf(err) != core.KeyWrapTypeNotSupported {
						t.Errorf("%s: %d bytes, %v; want Key Wrap Type Not Supported", k.ID, len(blob), err)
					}
					continue
				}
				if err != nil || !bytes.Equal(hsmtest.UnwrapRFC3394(t, kek, blob), secret) {
					t.Errorf("%s: %d bytes are wrapped, %v; want those of the key", k.ID, len(blob), err)
				}
			}
		}
	}
}

func TestWrongPINIsTriedOnce(t *testing.T) {
	cfg := hsmtest.Config(t)
	tries := 0
	cfg.PIN = func() (string, error) { tries++; return "not-the-pin", nil }
	_, err := hsmtest.Start(ctx, cfg)
	if err == nil || !strings.Contains(err.Error(), "hsm.pin_file") || core.CodeOf(err) != core.TokenUnavailable {
		t.Errorf("a wrong PIN: %v; want a sentence that names hsm.pin_file", err)
	}
	if tries != 1 {
		t.Errorf("the PIN was asked for %d times, want 1", tries)
	}
	for what, change := range map[string]func(*hsmtest.Settings){
		"hsm.module": func(c *hsmtest.Settings) { c.Module = "/nowhere/lib.so" },
		"hsm.token":  func(c *hsmtest.Settings) { c.Label = "nobody" },
		"pin_env":    func(c *hsmtest.Settings) { c.PIN = func() (string, error) { return "", errors.New("no such file") } },
	} {
		bad := cfg
		change(&bad)
		if _, err := hsmtest.Start(ctx, bad); err == nil || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v; want a sentence that names it", what, err)
		}
	}
}

// Steady use finds nothing by search, many at once lose no session, and a
// restart finds everything again.
func TestConcurrentUseAndRestart(t *testing.T) {
	cfg := hsmtest.Config(t)
	token := hsmtest.Open(t, cfg, "default")
	var keys []core.Key
	for _, mode := range []core.Mode{core.ModeWrapped, core.ModeResident} {
		for i := range 4 {
			k := aesKey(fmt.Sprintf("%s %d", mode, i))
			m, _, err := token.Generate(ctx, k, spec(core.KeyAES, core.ClassN, mode, 256))
			keys = append(keys, keep(t, k, m, err))
		}
	}
	use := func(tk *hsmtest.Token, k core.Key) error { _, err := tk.Encrypt(ctx, k, gcm([]byte("x"))); return err }
	for _, k := range keys {
		if err := use(token, k); err != nil {
			t.Fatal(err)
		}
	}
	finds := token.Member.Finds()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 50 {
				if err := use(token, keys[(g+i)%len(keys)]); err != nil {
					t.Error(err)
				}
				if i%10 == 0 {
					token.Forget("default", keys[(g+i)%4].ID) // only the wrapped ones
				}
			}
		})
	}
	wg.Wait()
	if token.Member.Finds() != finds {
		t.Errorf("%d searches in steady state, want 0", token.Member.Finds()-finds)
	}
	if h := token.Health(ctx); !h.Ready || h.InUse > 1 || len(h.Refusals) > 0 {
		t.Errorf("afterwards the token says %+v", h)
	}
	token.Close(ctx)
	if err := use(token, keys[0]); core.CodeOf(err) != core.TokenUnavailable {
		t.Errorf("a closed token: %v", err)
	}
	again := hsmtest.Open(t, cfg, "default")
	for _, k := range keys {
		if err := use(again, k); err != nil {
			t.Errorf("%s after a restart: %v", k.ID, err)
		}
	}
}

// While nothing is under way, no byte of a class N or X key is anywhere: not in
// the token's files, not in the memory of this process.
func TestNoKeyByteAtRest(t *testing.T) {
	cfg := hsmtest.Config(t)
	token := hsmtest.Open(t, cfg, "default")
	// The needles are kept masked, so that the search does not find itself.
	var masked [][]byte
	for _, class := range []core.Class{core.ClassN, core.ClassX} {
		b := make([]byte, 32)
		rand.Read(b)
		k := aesKey("secret " + string(class))
		m, _, err := token.Import(ctx, k, spec(core.KeyAES, class, core.ModeWrapped, 256), b)
		for i := range b {
			b[i] ^= 0x5a
		}
		masked = append(masked, b)
		k = keep(t, k, m, err)
		for range 20 {
			if _, err := token.Encrypt(ctx, k, gcm([]byte("some data"))); err != nil {
				t.Fatal(err)
			}
			token.Forget("default", k.ID)
		}
	}
	for i, m := range masked {
		if n := memoryHas(t, m); n > 0 {
			t.Errorf("key %d is %d times in memory", i, n)
		}
		filepath.Walk(os.Getenv("SOFTHSM2_CONF")[:strings.LastIndex(os.Getenv("SOFTHSM2_CONF"), "/")], func(p string, info os.FileInfo, err error) error {
			if err == nil && !info.IsDir() {
				if b, _ := os.ReadFile(p); countMasked(b, m) > 0 {
					t.Errorf("key %d is in %s", i, p)
				}
			}
			return nil
		})
	}
}

// What is kept of the keys of one tenant is dropped together: copies in memory and handles in the
// HSM, and nothing of another tenant. The keys work again afterwards.
func TestATenantIsForgotten(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default", "other")
	var keys []core.Key
	for _, tenant := range []string{"default", "other"} {
		for class, mode := range map[core.Class]core.Mode{core.ClassC: core.ModeWrapped, core.ClassX: core.ModeWrapped, core.ClassN: core.ModeResident} {
			k := aesKey("key " + string(class))
			k.Tenant = tenant
			m, _, err := token.Generate(ctx, k, spec(core.KeyAES, class, mode, 256))
			keys = append(keys, keep(t, k, m, err))
		}
	}
	useAll := func() core.HSMHealth {
		for _, k := range keys {
			if _, err := token.Encrypt(ctx, k, gcm([]byte("data"))); err != nil {
				t.Fatalf("%s of %s: %v", k.ID, k.Tenant, err)
			}
		}
		return token.Health(ctx)
	}
	kept := useAll()
	token.ForgetTenant("nobody")
	token.ForgetTenant("other")
	if left := token.Health(ctx); left.CachedCopies != kept.CachedCopies/2 || left.CachedHandles != kept.CachedHandles/2 || kept.CachedCopies == 0 || kept.CachedHandles == 0 {
		t.Errorf("of %d copies and %d handles of two tenants with the same keys, %d and %d are left; want half", kept.CachedCopies, kept.CachedHandles, left.CachedCopies, left.CachedHandles)
	}
	if again := useAll(); again.CachedCopies != kept.CachedCopies || again.CachedHandles != kept.CachedHandles {
		t.Errorf("when the keys are used again, %d copies and %d handles are kept; want %d and %d", again.CachedCopies, again.CachedHandles, kept.CachedCopies, kept.CachedHandles)
	}
}

// countMasked counts 16-byte halves of the unmasked needle in b, raw and hex.
func countMasked(b, masked []byte) (n int) {
	for half := range 2 {
		part := masked[half*16 : half*16+16]
		for i := 0; i+16 <= len(b); i++ {
			if b[i]^0x5a == part[0] && b[i+1]^0x5a == part[1] && b[i+7]^0x5a == part[7] {
				same := true
				for j := range part {
					same = same && b[i+j]^0x5a == part[j]
				}
				if same {
					n++
				}
			}
		}
		un := make([]byte, 4)
		for j := range un {
			un[j] = part[j] ^ 0x5a
		}
		prefix := hex.EncodeToString(un) // 4 bytes in hex are enough to look closer
		for at := bytes.Index(b, []byte(prefix)); at >= 0 && at+32 <= len(b); {
			if d, err := hex.DecodeString(string(b[at : at+32])); err == nil && len(d) == 16 {
				for j := range d {
					d[j] ^= 0x5a
				}
				if bytes.Equal(d, part) {
					n++
				}
			}
			next := bytes.Index(b[at+1:], []byte(prefix))
			if next < 0 {
				break
			}
			at += 1 + next
		}
	}
	return n
}

// memoryHas searches every readable, writable mapping of this process.
func memoryHas(t *testing.T, masked []byte) (n int) {
	t.Helper()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		t.Skip("the memory of a process can be searched on Linux alone")
	}
	mem, err := os.Open("/proc/self/mem")
	if err != nil {
		t.Skipf("/proc/self/mem cannot be read: %v", err)
	}
	defer mem.Close()
	buf := make([]byte, 1<<20)
	for _, line := range strings.Split(string(maps), "\n") {
		var from, to int64
		var perm string
		if _, err := fmt.Sscanf(line, "%x-%x %s", &from, &to, &perm); err != nil || !strings.HasPrefix(perm, "rw") || to-from > 1<<30 {
			continue
		}
		for at := from; at < to; at += int64(len(buf)) - 32 {
			m, _ := mem.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
			n += countMasked(buf[:m], masked)
		}
	}
	clear(buf)
	return n
}

func TestEd25519Import(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	pub, priv, _ := ed25519.GenerateKey(rand.Reader)
	der, _ := x509.MarshalPKCS8PrivateKey(priv)
	for _, mode := range []core.Mode{core.ModeResident, core.ModeWrapped} {
		class := map[core.Mode]core.Class{core.ModeResident: core.ClassN, core.ModeWrapped: core.ClassC}[mode]
		k := core.Key{Tenant: "default", ID: "ed " + string(mode), Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmEd25519, Mask: core.MaskSign}
		m, _, err := token.Import(ctx, k, spec(core.KeyEd25519, class, mode, 256), der)
		k = keep(t, k, m, err)
		sig, where, err := token.Sign(ctx, k, core.CryptographicParameters{}, []byte("deed"), false)
		if err != nil || !ed25519.Verify(pub, []byte("deed"), sig) {
			t.Errorf("%s (%s): %v", mode, where, err)
		}
	}
}

// benchKey makes an AES key of a class.
func benchKey(b *testing.B, token *hsmtest.Token, class core.Class) core.Key {
	b.Helper()
	k := aesKey("bench")
	m, _, err := token.Generate(ctx, k, spec(core.KeyAES, class, core.ModeWrapped, 256))
	if err != nil {
		b.Fatal(err)
	}
	k.Material = &m
	return k
}

func BenchmarkClearCached(b *testing.B) {
	token := hsmtest.Open(b, hsmtest.Config(b), "default")
	k := benchKey(b, token, core.ClassC)
	buf := make([]byte, 0, 64)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := token.Clear(ctx, k, buf); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncryptToken(b *testing.B) {
	token := hsmtest.Open(b, hsmtest.Config(b), "default")
	k := benchKey(b, token, core.ClassN)
	b.ReportAllocs()
	data := make([]byte, 1024)
	for b.Loop() {
		if _, err := token.Encrypt(ctx, k, gcm(data)); err != nil {
			b.Fatal(err)
		}
	}
}

// Many read at once, in turns: each gets its own key, and what fails fails alone.
func TestReadsTogether(t *testing.T) {
	cfg := hsmtest.Config(t)
	cfg.Copies = -1
	token := hsmtest.Open(t, cfg, "default")
	keys, want := make([]core.Key, 8), make([][]byte, 8)
	for i := range keys {
		want[i] = bytes.Repeat([]byte{byte(i + 1)}, 16+8*(i%3))
		k := aesKey(fmt.Sprint("k", i))
		m, _, err := token.Import(ctx, k, spec(core.KeyAES, core.ClassC, core.ModeWrapped, len(want[i])*8), want[i])
		keys[i] = keep(t, k, m, err)
	}
	broken := keys[0]
	blob := *keys[0].Material
	blob.Blob = append([]byte{^blob.Blob[0]}, blob.Blob[1:]...)
	broken.Material = &blob
	gone, cancel := context.WithCancel(ctx)
	cancel()
	var wg sync.WaitGroup
	for n := range 32 {
		wg.Go(func() {
			for i, k := range keys {
				if got, err := token.Clear(ctx, k, nil); err != nil || !bytes.Equal(got, want[i]) {
					t.Errorf("%s: %x, %v", k.ID, got, err)
				}
			}
			if _, err := token.Clear(ctx, broken, nil); core.CodeOf(err) != core.Tampered {
				t.Errorf("a changed blob: %v", err)
			}
			if n%4 == 0 {
				if got, err := token.Clear(gone, keys[1], nil); err != nil && core.CodeOf(err) != core.TokenUnavailable {
					t.Errorf("a caller that left: %x, %v", got, err)
				}
			}
		})
	}
	wg.Wait()
	if h := token.Health(ctx); !h.Ready || h.InUse != 1 && h.InUse != 0 {
		t.Errorf("afterwards: %+v", h)
	}
}

// A key that is wrapped again for a stricter class works as before, shows no
// more than its class does, and its old row is another one.
func TestReclass(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	rsaKey := keystest.RSAKey(2048)
	der, _ := x509.MarshalPKCS8PrivateKey(rsaKey)
	secret := bytes.Repeat([]byte{9}, 32)
	for what, c := range map[string]struct {
		k     core.Key
		kind  core.KeyKind
		bytes []byte
	}{
		"AES":  {aesKey("a"), core.KeyAES, secret},
		"RSA":  {core.Key{Tenant: "default", ID: "r", Type: core.ObjectTypePrivateKey, Algorithm: core.AlgorithmRSA, Mask: core.MaskSign, Bits: 2048}, core.KeyRSA, der},
		"data": {core.Key{Tenant: "default", ID: "d", Type: core.ObjectTypeSecretData}, core.KeyData, secret},
	} {
		for _, way := range [][]core.Class{{core.ClassC, core.ClassX}, {core.ClassC, core.ClassN}, {core.ClassC, core.ClassX, core.ClassN}} {
			if what == "data" && len(way) == 3 {
				continue // X data is under D already
			}
			k := c.k
			k.ID += string(way[len(way)-1]) + fmt.Sprint(len(way))
			m, _, err := token.Import(ctx, k, core.KeySpec{Kind: c.kind, Class: way[0], Mode: core.ModeWrapped, Bits: len(c.bytes) * 8, Format: core.KeyFormatTypeRaw}, c.bytes)
			k = keep(t, k, m, err)
			if b, err := token.Clear(ctx, k, nil); err != nil || !bytes.Equal(b, c.bytes) {
				t.Fatalf("%s: %v", what, err)
			}
			old := k
			for _, to := range way[1:] {
				m, err := token.Reclass(ctx, k, to)
				k = keep(t, k, m, err)
				token.Forget(k.Tenant, k.ID)
			}
			last := way[len(way)-1]
			if k.Material.Class != last || bytes.Equal(k.Material.Blob, old.Material.Blob) {
				t.Errorf("%s %v: class %s, the same blob %v", what, way, k.Material.Class, bytes.Equal(k.Material.Blob, old.Material.Blob))
			}
			if b, err := token.Clear(ctx, k, nil); k.Material.Mode != core.ModeData && core.CodeOf(err) != core.Sensitive {
				t.Errorf("%s in class %s shows %d bytes: %v", what, last, len(b), err)
			}
			switch what {
			case "AES":
				before, err1 := token.Encrypt(ctx, k, gcm([]byte("x")))
				in := gcm(before.Data)
				in.IV, in.Tag = before.IV, before.Tag
				if out, err2 := token.Decrypt(ctx, old, in); err1 != nil || err2 != nil || string(out.Data) != "x" {
					t.Errorf("AES %v: the key is another one: %v, %v", way, err1, err2)
				}
			case "RSA":
				p := core.CryptographicParameters{PaddingMethod: core.PaddingMethodPKCS1V1_5, HashingAlgorithm: core.HashSHA256}
				sum := sha256.Sum256([]byte("x"))
				sig, _, err := token.Sign(ctx, k, p, []byte("x"), false)
				if err == nil {
					err = rsa.VerifyPKCS1v15(&rsaKey.PublicKey, crypto.SHA256, sum[:], sig)
				}
				if err != nil {
					t.Errorf("RSA %v: %v", way, err)
				}
			}
			mixed := k
			forged := *k.Material
			forged.Class = core.ClassC
			mixed.Material = &forged
			if _, err := token.Clear(ctx, mixed, nil); core.CodeOf(err) != core.Tampered {
				t.Errorf("%s: a row whose class was written back to C: %v", what, err)
			}
		}
	}
	resident := aesKey("resident")
	m, _, err := token.Generate(ctx, resident, spec(core.KeyAES, core.ClassC, core.ModeResident, 256))
	resident = keep(t, resident, m, err)
	if _, err := token.Reclass(ctx, resident, core.ClassN); core.CodeOf(err) != core.IllegalOperation {
		t.Errorf("a token object: %v", err)
	}
}

// The key of an authority signs what its public half verifies, after a restart too. It is
// neither a resident object, which could be purged, nor a key of a set. An ID that is another
// one, or is no ID, names no key.
func TestAuthorityKey(t *testing.T) {
	config := hsmtest.Config(t)
	token := hsmtest.Open(t, config, "t")
	id, spki, err := token.MakeAuthorityKey(ctx)
	if err != nil {
		t.Fatal(err)
	}
	other, _, err := token.MakeAuthorityKey(ctx)
	if err != nil || other == id {
		t.Fatalf("a second key: %q, %v", other, err)
	}
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.Sum256([]byte("certificate"))
	verifies := func(token *hsmtest.Token, id string) bool {
		t.Helper()
		signature, err := token.SignByAuthority(ctx, id, digest[:])
		if err != nil {
			t.Fatal(err)
		}
		return ecdsa.VerifyASN1(public.(*ecdsa.PublicKey), digest[:], signature)
	}
	if !verifies(token, id) || verifies(token, other) {
		t.Error("a key does not verify its own signature, or verifies that of another key")
	}
	labels, err := token.Labels(ctx)
	if want := "keyreeve/" + hsmtest.Installation + "/authority/" + id; err != nil || !slices.Contains(labels, want) {
		t.Errorf("the token has the labels %q, %v; want %q", labels, err, want)
	}
	objects, err := token.Objects(ctx)
	if err != nil || len(objects) != 0 {
		t.Errorf("the key of an authority is listed as a resident object: %v, %v", objects, err)
	}
	sets, err := token.KeySets(ctx)
	if err != nil || len(sets) != 2 {
		t.Errorf("with the key of an authority the token has the sets %v, %v; want that of the system and one more", sets, err)
	}
	for what, bad := range map[string]string{"nothing": "", "capitals": strings.ToUpper(id), "a path": "../0/R", "too short": id[:31], "too long": id + "0"} {
		if _, err := token.SignByAuthority(ctx, bad, digest[:]); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s as an ID: %v; want InvalidField", what, err)
		}
	}
	if _, err := token.SignByAuthority(ctx, strings.Repeat("0", 32), digest[:]); err == nil {
		t.Error("a key that does not exist signs")
	}
	if _, err := token.SignByAuthority(ctx, id, []byte("certificate")); core.CodeOf(err) != core.InvalidField {
		t.Errorf("text that is no digest: %v; want InvalidField", err)
	}
	token.Close(ctx)
	if again := hsmtest.Open(t, config, "t"); !verifies(again, id) {
		t.Error("after a restart the key does not verify its own signature")
	}
}
