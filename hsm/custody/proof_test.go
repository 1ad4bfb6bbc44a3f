package custody_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"encoding/asn1"
	"fmt"
	"math/big"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
	"github.com/keyreeve/keyreeve/keys/keystest"
)

// rsaNumbers is RSAPrivateKey (RFC 8017 §A.1.2), with numbers that need be no key's.
type rsaNumbers struct {
	Version                      int
	N                            *big.Int
	E                            int
	D, P, Q, DP, DQ, Coefficient *big.Int
}

func pkcs8(t *testing.T, oid, parameters any, key any) []byte {
	t.Helper()
	inner, err := asn1.Marshal(key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := asn1.Marshal(struct {
		Version   int
		Algorithm struct{ OID, Parameters any }
		Key       []byte
	}{0, struct{ OID, Parameters any }{oid, parameters}, inner})
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// A private key of class N or X that is imported proves itself: the token signs
// with it before it is kept, and one that does not belong to the public key inside
// it, or is none, is refused and leaves nothing in the token. What signs in one of
// the two ways that an RSA key has is a key: the token needs no more.
func TestImportedPrivateKeysProveThemselves(t *testing.T) {
	token := hsmtest.Open(t, hsmtest.Config(t), "default")
	type imported struct {
		kind core.KeyKind
		der  []byte
		good bool
	}
	all := map[string]imported{}
	marshal := func(k any) []byte {
		der, err := x509.MarshalPKCS8PrivateKey(k)
		if err != nil {
			t.Fatal(err)
		}
		return der
	}
	for _, bits := range []int{1024, 2048} {
		k := keystest.RSAKey(bits)
		all[fmt.Sprint("RSA-", bits)] = imported{core.KeyRSA, marshal(k), true}
		two := big.NewInt(2)
		for name, change := range map[string]func(n *rsaNumbers) bool{
			"D and dP of no key": func(n *rsaNumbers) bool {
				n.D, n.DP = new(big.Int).Sub(n.D, two), new(big.Int).Sub(n.DP, two)
				return false
			},
			"another modulus":  func(n *rsaNumbers) bool { n.N = new(big.Int).Sub(n.N, two); return false },
			"another exponent": func(n *rsaNumbers) bool { n.E = 3; return false },
			"D of no key":      func(n *rsaNumbers) bool { n.D = new(big.Int).Sub(n.D, two); return true },
			"dP of no key":     func(n *rsaNumbers) bool { n.DP = new(big.Int).Sub(n.DP, two); return true },
		} {
			n := rsaNumbers{0, k.N, k.E, k.D, k.Primes[0], k.Primes[1], k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv}
			good := change(&n)
			all[fmt.Sprintf("RSA-%d, %s", bits, name)] = imported{core.KeyRSA, pkcs8(t, asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 1, 1}, asn1.NullRawValue, n), good}
		}
	}
	for _, c := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k := keystest.ECKey(t, c)
		other := keystest.ECKey(t, c)
		good := marshal(k)
		mine, _ := k.PublicKey.Bytes()
		theirs, _ := other.PublicKey.Bytes()
		bad := append(good[:len(good)-len(mine):len(good)-len(mine)], theirs...)
		all[c.Params().Name] = imported{core.KeyEC, good, true}
		all[c.Params().Name+", another's point"] = imported{core.KeyEC, bad, false}
	}
	before, err := token.Labels(ctx)
	if err != nil {
		t.Fatal(err)
	}
	kept := 0
	for name, key := range all {
		for _, class := range []core.Class{core.ClassN, core.ClassX} {
			for _, mode := range []core.Mode{core.ModeWrapped, core.ModeResident} {
				k := core.Key{Tenant: "default", ID: fmt.Sprint(name, class, mode), Type: core.ObjectTypePrivateKey, Mask: core.MaskSign,
					Algorithm: map[core.KeyKind]core.CryptographicAlgorithm{core.KeyRSA: core.AlgorithmRSA, core.KeyEC: core.AlgorithmEC}[key.kind]}
				m, _, err := token.Import(ctx, k, spec(key.kind, class, mode, 0), key.der)
				if !key.good {
					if core.CodeOf(err) != core.InvalidField {
						t.Errorf("%s, class %s, %s: %v; want Invalid Field", name, class, mode, err)
					}
					continue
				}
				if err != nil {
					t.Errorf("%s, class %s, %s: %v", name, class, mode, err)
					continue
				}
				if mode == core.ModeResident {
					kept++
				}
				k.Material = &m
				if _, _, err := token.Sign(ctx, k, core.CryptographicParameters{HashingAlgorithm: core.HashSHA256, PaddingMethod: core.PaddingMethodPKCS1V1_5}, []byte("deed"), false); err != nil {
					t.Errorf("%s, class %s, %s: %v", name, class, mode, err)
				}
			}
		}
	}
	after, err := token.Labels(ctx)
	if err != nil || len(after)-len(before) != kept {
		t.Errorf("%d objects came into the token, not %d: %v", len(after)-len(before), kept, err)
	}
}

// A fault of the token's own while a key proves itself is not blamed on the key.
func TestProofUnderFaults(t *testing.T) {
	f := openFaulty(t, func(*hsmtest.Settings) {})
	key := keystest.ECKey(t, elliptic.P256())
	der := keystest.PKCS8(t, key)
	take := func() error {
		k := core.Key{Tenant: "default", ID: "proven", Type: core.ObjectTypePrivateKey, Mask: core.MaskSign, Algorithm: core.AlgorithmEC}
		_, _, err := f.Import(ctx, k, spec(core.KeyEC, core.ClassN, core.ModeWrapped, 256), der)
		return err
	}
	for _, fault := range []string{"C_Sign 0x30 0", "C_SignInit 0x32 0", "C_UnwrapKey 0x30 0", "C_Sign 0x80000001 0", "C_SignInit 0x31 0"} {
		f.Rule(fault)
		if err := take(); core.CodeOf(err) != core.TokenUnavailable {
			t.Errorf("%s: %v; want Token Unavailable", fault, err)
		}
		f.Rule()
		if err := soon(take); err != nil {
			t.Fatalf("after %s: %v", fault, err)
		}
	}
}

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
