package format

import (
	"bytes"
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/keys/keystest"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// testKeys are keys of each kind that is kept.
func testKeys(t testing.TB) (keys []any) {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	keys = append(keys, k)
	for _, c := range namedCurves {
		k := keystest.ECKey(t, c.curve)
		keys = append(keys, k)
	}
	ed := keystest.Ed25519Key(t)
	return append(keys, ed)
}

// must is for what cannot fail in these tests.
func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func big1(b []byte) core.Value { return core.BigInt(append([]byte{0}, b...)) }

// blocks are the key blocks in which a key can come.
func blocks(key any) (all []core.KeyBlock) {
	all = append(all, core.KeyBlock{Format: core.KeyFormatTypePKCS8, Material: must(x509.MarshalPKCS8PrivateKey(key))})
	switch k := key.(type) {
	case *rsa.PrivateKey:
		all = append(all, core.KeyBlock{Format: core.KeyFormatTypePKCS1, Material: x509.MarshalPKCS1PrivateKey(k)}, transparent(k))
	case *ecdsa.PrivateKey:
		all = append(all, core.KeyBlock{Format: core.KeyFormatTypeECPrivateKey, Material: must(x509.MarshalECPrivateKey(k))})
	}
	return all
}

func transparent(k *rsa.PrivateKey) core.KeyBlock {
	kb := core.KeyBlock{Format: core.KeyFormatTypeTransparentRSAPrivateKey}
	for i, n := range []*big.Int{k.N, big.NewInt(int64(k.E)), k.D, k.Primes[0], k.Primes[1], k.Precomputed.Dp, k.Precomputed.Dq, k.Precomputed.Qinv} {
		kb.Transparent = append(kb.Transparent, core.Field{Tag: rsaTags[i], Value: big1(n.Bytes())})
	}
	return kb
}

func normalize(kb core.KeyBlock, class core.Class) (core.Normalized, error) {
	return Formats{}.Normalize(core.ObjectTypePrivateKey, &kb, class)
}

// In whatever format a key comes and whatever its class, it is kept as the PKCS#8
// that crypto/x509 writes.
func TestPrivateKeysAreKept(t *testing.T) {
	for _, key := range testKeys(t) {
		want := must(x509.MarshalPKCS8PrivateKey(key))
		for _, kb := range blocks(key) {
			for _, class := range []core.Class{core.ClassN, core.ClassX, core.ClassC} {
				n, err := normalize(kb, class)
				if err != nil || !bytes.Equal(n.Bytes, want) {
					t.Errorf("%T as %v, class %s: %v\ngot  %x\nwant %x", key, kb.Format, class, err, n.Bytes, want)
				}
				if len(kb.Material) > 0 && len(n.Bytes) > 0 && &n.Bytes[0] == &kb.Material[0] {
					t.Errorf("%T as %v: what is kept lies in the message", key, kb.Format)
				}
			}
		}
	}
}

// der writes a structure.
func der(f func(b *cryptobyte.Builder)) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1(asn1.SEQUENCE, f)
	return b.BytesOrPanic()
}

func addRSA(b *cryptobyte.Builder, version int64, ns ...*big.Int) {
	b.AddASN1Int64(version)
	for _, n := range ns {
		b.AddASN1BigInt(n)
	}
}

func addPKCS8(b *cryptobyte.Builder, version int64, alg func(*cryptobyte.Builder), key []byte) {
	b.AddASN1Int64(version)
	b.AddASN1(asn1.SEQUENCE, alg)
	b.AddASN1OctetString(key)
}

func oid(contents ...[]byte) func(*cryptobyte.Builder) {
	return func(b *cryptobyte.Builder) {
		for _, c := range contents {
			b.AddASN1(asn1.OBJECT_IDENTIFIER, func(b *cryptobyte.Builder) { b.AddBytes(c) })
		}
	}
}

// addEC writes an ECPrivateKey; curve and point may be nil.
func addEC(b *cryptobyte.Builder, version int64, d, curve, point []byte) {
	b.AddASN1Int64(version)
	b.AddASN1OctetString(d)
	if curve != nil {
		b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), oid(curve))
	}
	if point != nil {
		b.AddASN1(asn1.Tag(1).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddASN1BitString(point) })
	}
}

// What others write and crypto/x509 takes is taken too, and kept as a key that
// it takes again.
func TestUnusualPrivateKeys(t *testing.T) {
	keys := testKeys(t)
	r, ec, ed := keys[0].(*rsa.PrivateKey), keys[2].(*ecdsa.PrivateKey), keys[len(keys)-1].(ed25519.PrivateKey)
	d, point := must(ec.Bytes()), must(ec.PublicKey.Bytes())
	p256 := curveNamed(core.RecommendedCurveP256).oid
	sec1 := func(d, curve, point []byte) []byte {
		return der(func(b *cryptobyte.Builder) { addEC(b, 1, d, curve, point) })
	}
	compressed := elliptic.MarshalCompressed(elliptic.P256(), ec.X, ec.Y)
	short := ecdsa.PrivateKey{}
	for short.D == nil || len(short.D.Bytes()) == 32 { // one whose first byte is zero
		short = *keystest.ECKey(t, elliptic.P256())
	}
	sparse := transparent(r)
	sparse.Transparent = slices.DeleteFunc(slices.Clone(sparse.Transparent), func(f core.Field) bool { return f.Tag == core.TagPublicExponent })
	bare := transparent(r)
	bare.Transparent = slices.Clone(bare.Transparent)
	for i, f := range bare.Transparent {
		bare.Transparent[i].Value = core.BigInt(trimZeros(f.Value.Bytes)) // as if it were negative
	}
	pkcs8 := func(alg func(*cryptobyte.Builder), key []byte, more ...func(*cryptobyte.Builder)) core.KeyBlock {
		return core.KeyBlock{Format: core.KeyFormatTypePKCS8, Material: der(func(b *cryptobyte.Builder) {
			addPKCS8(b, int64(min(1, len(more))), alg, key)
			for _, f := range more {
				f(b)
			}
		})}
	}
	ecBlock := func(b []byte) core.KeyBlock {
		return core.KeyBlock{Format: core.KeyFormatTypeECPrivateKey, Material: b}
	}
	attributes := func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(0).ContextSpecific().Constructed(), func(b *cryptobyte.Builder) { b.AddASN1Int64(7) })
	}
	publicEd := func(b *cryptobyte.Builder) {
		b.AddASN1(asn1.Tag(1).ContextSpecific(), func(b *cryptobyte.Builder) { b.AddBytes(append([]byte{0}, ed[32:]...)) })
	}
	for name, c := range map[string]struct {
		kb   core.KeyBlock
		want interface{ Equal(crypto.PrivateKey) bool }
	}{
		"SEC1 without a point":        {ecBlock(sec1(d, p256, nil)), ec},
		"SEC1, point compressed":      {ecBlock(sec1(d, p256, compressed)), ec},
		"SEC1, zeros before":          {ecBlock(sec1(append(make([]byte, 3), d...), p256, point)), ec},
		"SEC1, zeros left out":        {ecBlock(sec1(short.D.Bytes(), p256, nil)), &short},
		"PKCS#8, curve twice":         {pkcs8(oid(oidEC, p256), sec1(d, p256, point)), ec},
		"PKCS#8, zeros left out":      {pkcs8(oid(oidEC, p256), sec1(short.D.Bytes(), nil, nil)), &short},
		"PKCS#8 with attributes":      {pkcs8(oid(oidEC, p256), sec1(d, nil, point), attributes), ec},
		"PKCS#8 v2":                   {pkcs8(oid(oidEd25519), der2(ed.Seed()), attributes, publicEd), ed},
		"PKCS#8 of RSA without NULL":  {pkcs8(oid(oidRSA), x509.MarshalPKCS1PrivateKey(r)), r},
		"Transparent, no exponent":    {sparse, r},
		"Transparent without a zero":  {bare, r},
		"Transparent EC, many zeros":  {core.KeyBlock{Format: core.KeyFormatTypeTransparentECPrivateKey, Transparent: []core.Field{{Tag: core.TagRecommendedCurve, Value: core.Enum(core.RecommendedCurveP256)}, {Tag: core.TagD, Value: big1(append(make([]byte, 40), d...))}}}, ec},
		"Transparent ECDSA, an alias": {core.KeyBlock{Format: core.KeyFormatTypeTransparentECDSAPrivateKey, Transparent: []core.Field{{Tag: core.TagRecommendedCurve, Value: core.Enum(core.RecommendedCurveP256)}, {Tag: core.TagD, Value: big1(d)}}}, ec},
	} {
		for _, class := range []core.Class{core.ClassN, core.ClassC} {
			n, err := normalize(c.kb, class)
			if err != nil {
				t.Errorf("%s, class %s: %v", name, class, err)
				continue
			}
			if back, err := x509.ParsePKCS8PrivateKey(n.Bytes); err != nil || !c.want.Equal(back) {
				t.Errorf("%s, class %s: it is kept as %x: %v", name, class, n.Bytes, err)
			}
		}
	}
	// Numbers that are missing are computed.
	for name, kb := range map[string]core.KeyBlock{
		"PKCS#1":      {Format: core.KeyFormatTypePKCS1, Material: der(func(b *cryptobyte.Builder) { addRSA(b, 0, r.N, big.NewInt(int64(r.E)), r.D, r.Primes[0], r.Primes[1]) })},
		"Transparent": {Format: core.KeyFormatTypeTransparentRSAPrivateKey, Transparent: transparent(r).Transparent[:5]},
	} {
		for _, class := range allClasses {
			n, err := normalize(kb, class)
			if err != nil || !bytes.Equal(n.Bytes, must(x509.MarshalPKCS8PrivateKey(r))) {
				t.Errorf("%s without CRT values, class %s: %v", name, class, err)
			}
		}
	}
}

// der2 is the CurvePrivateKey in an Ed25519 key.
func der2(seed []byte) []byte {
	b := cryptobyte.NewBuilder(nil)
	b.AddASN1OctetString(seed)
	return b.BytesOrPanic()
}

// What is no key, or not one, is refused in a sentence, before anybody computes
// with it.
func TestPrivateKeysAreRefused(t *testing.T) {
	keys := testKeys(t)
	r, ec := keys[0].(*rsa.PrivateKey), keys[2].(*ecdsa.PrivateKey)
	other := must(rsa.GenerateKey(rand.Reader, 1024))
	e := big.NewInt(int64(r.E))
	d, point := must(ec.Bytes()), must(ec.PublicKey.Bytes())
	p256, p384 := curveNamed(core.RecommendedCurveP256).oid, curveNamed(core.RecommendedCurveP384).oid
	off := bytes.Clone(point)
	off[40] ^= 1
	order := curveNamed(core.RecommendedCurveP256).order
	numbers := func(change func(n []*big.Int)) []byte {
		n := []*big.Int{r.N, e, r.D, r.Primes[0], r.Primes[1], r.Precomputed.Dp, r.Precomputed.Dq, r.Precomputed.Qinv}
		change(n)
		return der(func(b *cryptobyte.Builder) { addRSA(b, 0, n...) })
	}
	sec1 := func(version int64, d, curve, point []byte) []byte {
		return der(func(b *cryptobyte.Builder) { addEC(b, version, d, curve, point) })
	}
	pkcs8 := func(version int64, alg func(*cryptobyte.Builder), key []byte) []byte {
		return der(func(b *cryptobyte.Builder) { addPKCS8(b, version, alg, key) })
	}
	good := x509.MarshalPKCS1PrivateKey(r)
	large := new(big.Int).Lsh(big.NewInt(1), 17000)
	large.Add(large, big.NewInt(1))
	const pkcs1, p8, ecKey = core.KeyFormatTypePKCS1, core.KeyFormatTypePKCS8, core.KeyFormatTypeECPrivateKey
	for name, c := range map[string]struct {
		f   core.KeyFormatType
		der []byte
	}{
		"nothing":                  {pkcs1, nil},
		"no DER":                   {pkcs1, []byte("-----BEGIN RSA PRIVATE KEY-----")},
		"cut off":                  {pkcs1, good[:len(good)-1]},
		"trailing data":            {pkcs1, append(bytes.Clone(good), 0)},
		"PKCS#8, trailing data":    {p8, append(must(x509.MarshalPKCS8PrivateKey(r)), 0)},
		"SEC1, trailing data":      {ecKey, append(sec1(1, d, p256, point), 0)},
		"another element":          {pkcs1, der(func(b *cryptobyte.Builder) { addRSA(b, 0, r.N, e, r.D, r.Primes[0], r.Primes[1], e, e, e, e) })},
		"a length too long":        {pkcs1, append([]byte{0x30, 0x83, 0, good[2], good[3]}, good[4:]...)},
		"a number not minimal":     {pkcs1, bytes.Replace(good, []byte{2, 1, 0}, []byte{2, 2, 0, 0}, 1)},
		"a negative number":        {pkcs1, numbers(func(n []*big.Int) { n[2] = new(big.Int).Neg(n[2]) })},
		"a zero":                   {pkcs1, numbers(func(n []*big.Int) { n[3] = new(big.Int) })},
		"version 2":                {pkcs1, der(func(b *cryptobyte.Builder) { addRSA(b, 2, r.N, e, r.D, r.Primes[0], r.Primes[1], e, e, e) })},
		"more than two primes":     {pkcs1, der(func(b *cryptobyte.Builder) { addRSA(b, 1, r.N, e, r.D, r.Primes[0], r.Primes[1], e, e, e) })},
		"a modulus too long":       {pkcs1, numbers(func(n []*big.Int) { n[0] = large })},
		"a modulus too short":      {pkcs1, numbers(func(n []*big.Int) { n[0] = big.NewInt(77) })},
		"an exponent too long":     {pkcs1, numbers(func(n []*big.Int) { n[1] = big.NewInt(1<<33 + 1) })},
		"an exponent of 1":         {pkcs1, numbers(func(n []*big.Int) { n[1] = big.NewInt(1) })},
		"an even exponent":         {pkcs1, numbers(func(n []*big.Int) { n[1] = big.NewInt(65536) })},
		"another's modulus":        {pkcs1, numbers(func(n []*big.Int) { n[0] = other.N })},
		"another's prime":          {pkcs1, numbers(func(n []*big.Int) { n[4] = other.Primes[1] })},
		"D not below the modulus":  {pkcs1, numbers(func(n []*big.Int) { n[2] = n[0] })},
		"dP not below P":           {pkcs1, numbers(func(n []*big.Int) { n[5] = n[3] })},
		"qInv not below P":         {pkcs1, numbers(func(n []*big.Int) { n[7] = n[0] })},
		"some CRT values":          {pkcs1, der(func(b *cryptobyte.Builder) { addRSA(b, 0, r.N, e, r.D, r.Primes[0], r.Primes[1], r.Precomputed.Dp) })},
		"PKCS#8 as PKCS#1":         {pkcs1, must(x509.MarshalPKCS8PrivateKey(r))},
		"PKCS#1 as PKCS#8":         {p8, good},
		"PKCS#8 version 2":         {p8, pkcs8(2, oid(oidEC, p256), sec1(1, d, nil, point))},
		"PKCS#8 version -1":        {p8, pkcs8(-1, oid(oidEC, p256), sec1(1, d, nil, point))},
		"no curve":                 {p8, pkcs8(0, oid(oidEC), sec1(1, d, p256, nil))},
		"two curves":               {p8, pkcs8(0, oid(oidEC, p384), sec1(1, d, p256, nil))},
		"SEC1 without a curve":     {ecKey, sec1(1, d, nil, point)},
		"SEC1 version 0":           {ecKey, sec1(0, d, p256, point)},
		"D is 0":                   {ecKey, sec1(1, make([]byte, 32), p256, nil)},
		"D is the order":           {ecKey, sec1(1, order, p256, nil)},
		"D is too long":            {ecKey, sec1(1, append([]byte{1}, d...), p256, nil)},
		"no D":                     {ecKey, sec1(1, nil, p256, nil)},
		"a point off the curve":    {ecKey, sec1(1, d, p256, off)},
		"a point of another curve": {ecKey, sec1(1, d, p256, append([]byte{4}, make([]byte, 96)...))},
		"an Ed25519 seed short":    {p8, pkcs8(0, oid(oidEd25519), der2(make([]byte, 31)))},
		"Ed25519 with parameters":  {p8, pkcs8(0, oid(oidEd25519, p256), der2(make([]byte, 32)))},
	} {
		for _, class := range []core.Class{core.ClassN, core.ClassC} {
			n, err := normalize(core.KeyBlock{Format: c.f, Material: c.der}, class)
			want := core.InvalidField
			if c.der == nil {
				want = core.KeyValueNotPresent
			}
			if core.CodeOf(err) != want || n.Bytes != nil {
				t.Errorf("%s, class %s: %v and %d bytes; want %v", name, class, err, len(n.Bytes), want)
			}
		}
	}
	// A point that is another key's is found for class C here, for others by the token.
	foreign := keystest.ECKey(t, elliptic.P256())
	kb := core.KeyBlock{Format: ecKey, Material: sec1(1, d, p256, must(foreign.PublicKey.Bytes()))}
	if _, err := normalize(kb, core.ClassC); core.CodeOf(err) != core.InvalidField {
		t.Errorf("another's point: %v", err)
	}
	if _, err := normalize(kb, core.ClassN); err != nil {
		t.Errorf("another's point, class N: %v; it is the token that finds it", err)
	}
}

// The comparison is that of numbers, whatever zeros stand before them.
func TestLess(t *testing.T) {
	for range 2000 {
		a, b := make([]byte, 1+mod(4)), make([]byte, 1+mod(4))
		rand.Read(a)
		rand.Read(b)
		if mod(3) == 0 {
			b = bytes.Clone(a)
		}
		if mod(3) == 0 {
			a = append(make([]byte, mod(3)), a...)
		}
		if got, want := isLessBigEndian(a, b), new(big.Int).SetBytes(a).Cmp(new(big.Int).SetBytes(b)) < 0; got != want {
			t.Fatalf("%x < %x: %v", a, b, got)
		}
		if got, want := bitLen(a), new(big.Int).SetBytes(a).BitLen(); got != want {
			t.Fatalf("%x has %d bits, not %d", a, want, got)
		}
	}
}

func mod(n int) int { b := [1]byte{}; rand.Read(b[:]); return int(b[0]) % n }

// FuzzPrivateKey lays the reader beside crypto/x509. What that one reads, and
// would write so, is taken; what is taken is the same key. It may be stricter: of
// what lies behind or between the fields that are known, of curves named twice,
// of moduli below 512 bits; more than two primes it never takes. What crypto/x509
// does not read is refused, but for RSA numbers that do not belong together, which
// show to who computes with them: the token, and crypto/x509 itself for class C.
func FuzzPrivateKey(f *testing.F) {
	formats := []core.KeyFormatType{core.KeyFormatTypePKCS8, core.KeyFormatTypePKCS1, core.KeyFormatTypeECPrivateKey}
	for _, key := range testKeys(f) {
		for _, kb := range blocks(key) {
			if i := slices.Index(formats, kb.Format); i >= 0 {
				f.Add(kb.Material, uint8(i))
				f.Add(bytes.ReplaceAll(kb.Material, prime256v1, prime239v3), uint8(i)) // a curve that Go lacks
			}
		}
	}
	f.Fuzz(func(t *testing.T, der []byte, format uint8) {
		kb := core.KeyBlock{Format: formats[int(format)%len(formats)], Material: der}
		want, mine, wantErr := readByGo(kb)
		before := bytes.Clone(der)
		n, err := normalize(kb, core.ClassN)
		if !bytes.Equal(der, before) {
			t.Fatal("what was read has changed")
		}
		switch {
		case err == nil && wantErr != nil && !strings.Contains(wantErr.Error(), "crypto/rsa: "):
			t.Errorf("taken, and crypto/x509 says %v", wantErr)
		case err != nil && wantErr == nil && bytes.Equal(mine, der) && kept(want):
			t.Errorf("refused (%v), and crypto/x509 writes it so", err)
		case err == nil && wantErr == nil:
			if back, err := x509.ParsePKCS8PrivateKey(n.Bytes); err != nil || !want.Equal(back) {
				t.Errorf("kept as another key: %v", err)
			}
		}
		if err != nil && core.CodeOf(err) != core.InvalidField && core.CodeOf(err) != core.KeyValueNotPresent {
			t.Errorf("the error is %v", err)
		}
		n, err = normalize(kb, core.ClassC)
		switch {
		case err == nil && n.Kind == core.KeyData: // not read here, such as one on a curve that Go lacks
			if !bytes.Equal(n.Bytes, der) {
				t.Errorf("a key that is not read is kept as %x", n.Bytes)
			}
		case err == nil && wantErr != nil:
			t.Errorf("taken for class C, and crypto/x509 says %v", wantErr)
		}
	})
}

// Object identifiers of two curves of ANSI X9.62.
var (
	prime256v1 = []byte{0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07}
	prime239v3 = []byte{0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x06}
)

// readByGo reads a key by crypto/x509 and writes it again.
func readByGo(kb core.KeyBlock) (key interface{ Equal(crypto.PrivateKey) bool }, der []byte, err error) {
	var k any
	switch kb.Format {
	case core.KeyFormatTypePKCS8:
		if k, err = x509.ParsePKCS8PrivateKey(kb.Material); err == nil {
			der, err = x509.MarshalPKCS8PrivateKey(k)
		}
	case core.KeyFormatTypePKCS1:
		var r *rsa.PrivateKey
		if r, err = x509.ParsePKCS1PrivateKey(kb.Material); err == nil {
			k, der = r, x509.MarshalPKCS1PrivateKey(r)
		}
	default:
		var ec *ecdsa.PrivateKey
		if ec, err = x509.ParseECPrivateKey(kb.Material); err == nil {
			k = ec
			der, err = x509.MarshalECPrivateKey(ec)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	eq, ok := k.(interface{ Equal(crypto.PrivateKey) bool })
	if !ok {
		return nil, nil, fmt.Errorf("a key of type %T", k)
	}
	return eq, der, nil
}

// kept tells whether a key is of a kind that is kept.
func kept(key any) bool {
	switch k := key.(type) {
	case *rsa.PrivateKey:
		return len(k.Primes) == 2 && k.N.BitLen() >= minModulus && k.N.BitLen() <= maxModulus
	case *ecdsa.PrivateKey, ed25519.PrivateKey:
		return true
	}
	return false
}

// Each public key comes back from each format that it is given out in as the
// same stored bytes.
func TestPublicFormats(t *testing.T) {
	keys := map[core.CryptographicAlgorithm]any{core.AlgorithmRSA: &keystest.RSAKey(2048).PublicKey}
	formats := map[core.CryptographicAlgorithm][]core.KeyFormatType{
		core.AlgorithmRSA:     {core.KeyFormatTypePKCS1, core.KeyFormatTypeX509, core.KeyFormatTypePKCS8, core.KeyFormatTypeTransparentRSAPublicKey},
		core.AlgorithmEC:      {core.KeyFormatTypeX509, core.KeyFormatTypeTransparentECPublicKey, core.KeyFormatTypeTransparentECDSAPublicKey},
		core.AlgorithmEd25519: {core.KeyFormatTypeX509},
	}
	keys[core.AlgorithmEd25519], _, _ = ed25519.GenerateKey(rand.Reader)
	for _, curve := range []elliptic.Curve{elliptic.P224(), elliptic.P256(), elliptic.P384(), elliptic.P521()} {
		k := keystest.ECKey(t, curve)
		keys[core.AlgorithmEC] = &k.PublicKey
		for alg, key := range keys {
			stored := keystest.SPKI(t, key)
			for _, f := range formats[alg] {
				var kb core.KeyBlock
				m := core.Material{Kind: core.KeyPublic, Format: core.KeyFormatTypeX509}
				if err := (Formats{}).Render(stored, &m, alg, f, &kb); err != nil {
					t.Fatalf("%v as %v: %v", alg, f, err)
				}
				n, err := Formats{}.Normalize(core.ObjectTypePublicKey, &kb, core.ClassC)
				if err != nil || !bytes.Equal(n.Bytes, stored) || n.Kind != core.KeyPublic || n.Algorithm != alg || n.Length == 0 || n.Format != f {
					t.Errorf("%v as %v comes back as %+v, %v", alg, f, n, err)
				}
			}
		}
	}
}

// Keys that no operation could use rightly are refused at Register.
func TestPublicKeysThatAreRefused(t *testing.T) {
	block := func(f core.KeyFormatType, alg core.CryptographicAlgorithm, b []byte) core.KeyBlock {
		return core.KeyBlock{Format: f, Algorithm: alg, Material: b}
	}
	transparent := func(n, e *big.Int) core.KeyBlock {
		return core.KeyBlock{Format: core.KeyFormatTypeTransparentRSAPublicKey, Transparent: []core.Field{{Tag: core.TagModulus, Value: core.BigInt(positive(n.Bytes()))}, {Tag: core.TagPublicExponent, Value: core.BigInt(positive(e.Bytes()))}}}
	}
	ec := keystest.ECKey(t, elliptic.P256())
	x25519, _ := ecdh.X25519().GenerateKey(rand.Reader)
	k := keystest.RSAKey(2048)
	huge := new(big.Int).SetBit(big.NewInt(1), 16384, 1)
	point := func(b []byte) core.KeyBlock {
		return core.KeyBlock{Format: core.KeyFormatTypeTransparentECPublicKey, Transparent: []core.Field{{Tag: core.TagRecommendedCurve, Value: core.Enum(core.RecommendedCurveP256)}, {Tag: core.TagQString, Value: core.Bytes(b)}}}
	}
	for what, kb := range map[string]core.KeyBlock{
		"an EC key called RSA":      block(core.KeyFormatTypeX509, core.AlgorithmRSA, keystest.SPKI(t, &ec.PublicKey)),
		"an EC key called Ed25519":  block(core.KeyFormatTypeX509, core.AlgorithmEd25519, keystest.SPKI(t, &ec.PublicKey)),
		"an RSA key called AES":     block(core.KeyFormatTypePKCS1, core.AlgorithmAES, x509.MarshalPKCS1PublicKey(&k.PublicKey)),
		"an X25519 key called RSA":  block(core.KeyFormatTypeX509, core.AlgorithmRSA, keystest.SPKI(t, x25519.PublicKey())),
		"a modulus of 1":            transparent(big.NewInt(1), big.NewInt(3)),
		"a modulus of 16,385 bits":  transparent(huge, big.NewInt(65537)),
		"the same as PKCS_1":        block(core.KeyFormatTypePKCS1, 0, x509.MarshalPKCS1PublicKey(&rsa.PublicKey{N: huge, E: 65537})),
		"an even modulus":           transparent(new(big.Int).Lsh(k.N, 1), big.NewInt(65537)),
		"exponent 1":                transparent(k.N, big.NewInt(1)),
		"exponent 2":                transparent(k.N, big.NewInt(2)),
		"an exponent of 33 bits":    transparent(k.N, new(big.Int).Lsh(big.NewInt(1), 32)),
		"no modulus":                transparent(new(big.Int), big.NewInt(3)),
		"nothing":                   block(core.KeyFormatTypeX509, 0, []byte{}),
		"bytes behind the key":      block(core.KeyFormatTypeX509, 0, append(keystest.SPKI(t, &ec.PublicKey), 0)),
		"bytes behind PKCS_1":       block(core.KeyFormatTypePKCS1, 0, append(x509.MarshalPKCS1PublicKey(&k.PublicKey), 0)),
		"a point off its curve":     point(append([]byte{4}, make([]byte, 64)...)),
		"the point at infinity":     point([]byte{0}),
		"a compressed point":        point(append([]byte{2}, make([]byte, 32)...)),
		"a format of private keys":  block(core.KeyFormatTypeTransparentRSAPrivateKey, 0, []byte{1}),
		"material as a certificate": block(core.KeyFormatTypePKCS12, 0, keystest.SPKI(t, &ec.PublicKey)),
	} {
		if n, err := (Formats{}).Normalize(core.ObjectTypePublicKey, &kb, core.ClassC); err == nil {
			t.Errorf("%s is kept: %+v", what, n)
		} else if c := core.CodeOf(err); c != core.InvalidField && c != core.KeyFormatTypeNotSupported {
			t.Errorf("%s: %v has code %v", what, err, c)
		}
	}
}

// Symmetric material is bounded in each format, and comes back as it was.
func TestSymmetricFormats(t *testing.T) {
	for alg, lengths := range map[core.CryptographicAlgorithm]map[int]core.KeyKind{
		core.AlgorithmAES:        {16: core.KeyAES, 24: core.KeyAES, 32: core.KeyAES, 15: core.KeyData, 128: core.KeyData},
		core.AlgorithmDES3:       {16: core.KeyDES3, 24: core.KeyDES3, 8: core.KeyData},
		core.AlgorithmHMACSHA256: {1: core.KeyGeneric, 200: core.KeyGeneric},
		core.AlgorithmChaCha20:   {32: core.KeyData},
	} {
		for n, kind := range lengths {
			raw := bytes.Repeat([]byte{0x61}, n)
			for _, kb := range []core.KeyBlock{{Format: core.KeyFormatTypeRaw, Material: raw}, {Format: core.KeyFormatTypeOpaque, Material: raw},
				{Format: core.KeyFormatTypeTransparentSymmetricKey, Transparent: []core.Field{{Tag: core.TagKey, Value: core.Bytes(raw)}}}} {
				kb.Algorithm = alg
				got, err := Formats{}.Normalize(core.ObjectTypeSymmetricKey, &kb, core.ClassC)
				if err != nil || got.Kind != kind || !bytes.Equal(got.Bytes, raw) || &got.Bytes[0] == &raw[0] {
					t.Errorf("%v of %d bytes as %v: %+v, %v", alg, n, kb.Format, got, err)
					continue
				}
				var back core.KeyBlock
				if err := (Formats{}).Render(got.Bytes, &core.Material{Kind: got.Kind, Format: got.Format}, alg, kb.Format, &back); err != nil || !bytes.Equal(back.Material, kb.Material) || len(back.Transparent) != len(kb.Transparent) {
					t.Errorf("%v as %v comes back as %+v, %v", alg, kb.Format, back, err)
				}
			}
		}
	}
	big := make([]byte, maxKeyBytes+1)
	for _, kb := range []core.KeyBlock{{Format: core.KeyFormatTypeRaw, Material: big}, {Format: core.KeyFormatTypeRaw, Material: []byte{}}, {Format: core.KeyFormatTypeRaw},
		{Format: core.KeyFormatTypeTransparentSymmetricKey, Transparent: []core.Field{{Tag: core.TagKey, Value: core.Bytes(big)}}},
		{Format: core.KeyFormatTypeTransparentSymmetricKey, Transparent: []core.Field{{Tag: core.TagKey, Value: core.Text("text")}}},
		{Format: core.KeyFormatTypeTransparentSymmetricKey, Transparent: []core.Field{}},
		{Format: core.KeyFormatTypePKCS8, Material: []byte{1}}, {Format: core.KeyFormatTypeRaw, Material: []byte{1}, Compression: core.KeyCompressionTypeECPublicKeyTypeX9_62CompressedPrime}} {
		if n, err := (Formats{}).Normalize(core.ObjectTypeSymmetricKey, &kb, core.ClassC); err == nil {
			t.Errorf("%v with %d bytes is kept: %d", kb.Format, len(kb.Material), len(n.Bytes))
		}
	}
}

// Whatever public key is taken is stored as one that can be read, used and
// given out again; nothing takes long.
func FuzzPublicKey(f *testing.F) {
	ec := keystest.ECKey(f, elliptic.P256())
	ed, _, _ := ed25519.GenerateKey(rand.Reader)
	k := keystest.RSAKey(1024)
	for _, b := range [][]byte{keystest.SPKI(f, &k.PublicKey), keystest.SPKI(f, &ec.PublicKey), keystest.SPKI(f, ed)} {
		f.Add(uint32(core.KeyFormatTypeX509), uint32(0), b, []byte{})
	}
	f.Add(uint32(core.KeyFormatTypePKCS1), uint32(core.AlgorithmRSA), x509.MarshalPKCS1PublicKey(&k.PublicKey), []byte{})
	f.Add(uint32(core.KeyFormatTypeTransparentRSAPublicKey), uint32(core.AlgorithmRSA), k.N.Bytes(), []byte{1, 0, 1})
	q, _ := ec.PublicKey.Bytes()
	f.Add(uint32(core.KeyFormatTypeTransparentECPublicKey), uint32(core.AlgorithmEC), []byte{}, q)
	f.Fuzz(func(t *testing.T, format, alg uint32, a, b []byte) {
		kb := core.KeyBlock{Format: core.KeyFormatType(format), Algorithm: core.CryptographicAlgorithm(alg), Material: a}
		switch kb.Format {
		case core.KeyFormatTypeTransparentRSAPublicKey:
			kb.Material, kb.Transparent = nil, []core.Field{{Tag: core.TagModulus, Value: core.BigInt(a)}, {Tag: core.TagPublicExponent, Value: core.BigInt(b)}}
		case core.KeyFormatTypeTransparentECPublicKey:
			kb.Material, kb.Transparent = nil, []core.Field{{Tag: core.TagRecommendedCurve, Value: core.Enum(core.RecommendedCurveP256)}, {Tag: core.TagQString, Value: core.Bytes(b)}}
		}
		n, err := Formats{}.Normalize(core.ObjectTypePublicKey, &kb, core.ClassC)
		if err != nil {
			return
		}
		if n.Kind == core.KeyData { // not read, so kept as it came
			if !bytes.Equal(n.Bytes, kb.Material) {
				t.Fatalf("%+v is kept as %+v", kb, n)
			}
			return
		}
		if _, err := x509.ParsePKIXPublicKey(n.Bytes); err != nil || n.Length == 0 || n.Algorithm == 0 {
			t.Fatalf("%+v is stored: %v", n, err)
		}
		soft.VerifyPublic(n.Bytes, core.CryptographicParameters{}, n.Algorithm, []byte("data"), false, make([]byte, n.Length/8))
		soft.VerifyPublic(n.Bytes, core.CryptographicParameters{PaddingMethod: core.PaddingMethodPSS}, n.Algorithm, []byte("data"), false, make([]byte, (n.Length+7)/8))
		var out core.KeyBlock
		if err := (Formats{}).Render(n.Bytes, &core.Material{Kind: n.Kind, Format: n.Format}, n.Algorithm, core.KeyFormatTypeX509, &out); err != nil {
			t.Fatal(err)
		}
		if again, err := (Formats{}).Normalize(core.ObjectTypePublicKey, &out, core.ClassC); err != nil || !bytes.Equal(again.Bytes, n.Bytes) {
			t.Fatalf("%x comes back as %x, %v", n.Bytes, again.Bytes, err)
		}
	})
}
