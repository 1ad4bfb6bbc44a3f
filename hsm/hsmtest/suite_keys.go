package hsmtest

import (
	"bytes"
	"crypto"
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// The promises about the keys of clients.

var (
	hmacSHA256 = hsm.Mechanism{Type: hsm.SHA256HMAC}
	keyWrap    = hsm.Mechanism{Type: hsm.AESKeyWrap}
)

// randomBytes returns n random bytes of the operating system.
func randomBytes(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func (m *memberTest) useEncrypts() {
	labels, value := m.loadedSet(), randomBytes(32)
	key := m.imported("k", labels["N"], hsm.AES, value, hsm.Encrypt|hsm.Decrypt)
	block, _ := aes.NewCipher(value)
	aead, _ := cipher.NewGCM(block)
	iv, aad, text := randomBytes(12), []byte("additional"), []byte("seventeen bytes !")
	sealing := hsm.Mechanism{Type: hsm.AESGCM, IV: iv, AAD: aad, TagBits: 128}
	for range 2 { // by a new handle, and by a kept one
		used, err := m.Use(m.ctx, key, hsm.Use{Operation: hsm.Encrypt, Mechanism: sealing, Data: text})
		if err != nil {
			m.Fatal(err)
		}
		if want := aead.Seal(nil, used.IV, text, aad); !bytes.Equal(used.Data, want) {
			m.Errorf("AES-GCM gives %x, want %x", used.Data, want)
		}
		opening := sealing
		opening.IV = used.IV
		into := make([]byte, len(used.Data))
		got, err := m.Use(m.ctx, key, hsm.Use{Operation: hsm.Decrypt, Mechanism: opening, Data: used.Data, Into: into})
		if err != nil || !bytes.Equal(got.Data, text) || !bytes.Equal(into[:len(text)], text) {
			m.Errorf("AES-GCM decrypts to %q, %v; want it in the room of the caller", got.Data, err)
		}
		used.Data[3] ^= 1
		_, err = m.Use(m.ctx, key, hsm.Use{Operation: hsm.Decrypt, Mechanism: opening, Data: used.Data, Into: into})
		m.wantRefused("a changed ciphertext", err, core.CryptographicFailure)
	}
	counter, whole := randomBytes(16), randomBytes(64)
	for mechanism, want := range map[hsm.MechanismType]func(dst []byte){
		hsm.AESCBC: func(dst []byte) { cipher.NewCBCEncrypter(block, counter).CryptBlocks(dst, whole) },
		hsm.AESCTR: func(dst []byte) { cipher.NewCTR(block, counter).XORKeyStream(dst, whole) },
	} {
		expected := make([]byte, len(whole))
		want(expected)
		used, err := m.Use(m.ctx, key, hsm.Use{Operation: hsm.Encrypt, Mechanism: hsm.Mechanism{Type: mechanism, IV: counter}, Data: whole})
		if err != nil || !bytes.Equal(used.Data, expected) {
			m.Errorf("mechanism %#x gives %x, %v; want %x", mechanism, used.Data, err, expected)
		}
		into := make([]byte, len(whole))
		used, err = m.Use(m.ctx, key, hsm.Use{Operation: hsm.Encrypt, Mechanism: hsm.Mechanism{Type: mechanism, IV: counter}, Data: whole, Into: into})
		if err != nil || !bytes.Equal(used.Data, expected) || !bytes.Equal(into, expected) {
			m.Errorf("mechanism %#x gives %x, %v; want %x in the room of the caller", mechanism, into, err, expected)
		}
	}
}

func (m *memberTest) useSigns() {
	labels, value, data := m.loadedSet(), randomBytes(40), []byte("data")
	used, err := m.Use(m.ctx, m.imported("k", labels["X"], hsm.GenericSecret, value, hsm.Sign), hsm.Use{Operation: hsm.Sign, Mechanism: hmacSHA256, Data: data})
	if want := hmacOf(value, data); err != nil || !bytes.Equal(used.Data, want) {
		m.Errorf("HMAC-SHA256 gives %x, %v; want %x", used.Data, err, want)
	}
	for _, text := range [][]byte{data, {}} {
		into := make([]byte, sha256.Size)
		used, err = m.Use(m.ctx, m.imported("k", labels["X"], hsm.GenericSecret, value, hsm.Sign), hsm.Use{Operation: hsm.Sign, Mechanism: hmacSHA256, Data: text, Into: into})
		if want := hmacOf(value, text); err != nil || !bytes.Equal(used.Data, want) || !bytes.Equal(into, want) {
			m.Errorf("HMAC-SHA256 gives %x, %v; want %x in the room of the caller", into, err, want)
		}
	}
	_, err = m.Use(m.ctx, m.imported("k", labels["X"], hsm.GenericSecret, value, hsm.Sign), hsm.Use{Operation: hsm.Sign, Mechanism: hmacSHA256, Data: data, Into: make([]byte, 8)})
	m.wantRefused("a room that is too small for the MAC", err, core.CryptographicFailure)
	sum := sha256.Sum256(data)
	if used, err = m.Use(m.ctx, nil, hsm.Use{Operation: hsm.Digest, Mechanism: hsm.Mechanism{Type: hsm.SHA256}, Data: data}); err != nil || !bytes.Equal(used.Data, sum[:]) {
		m.Errorf("SHA-256 gives %x, %v", used.Data, err)
	}
}

func hmacOf(key, data []byte) []byte {
	h := hmac.New(sha256.New, key)
	h.Write(data)
	return h.Sum(nil)
}

func (m *memberTest) useObeysTemplates() {
	labels, value := m.loadedSet(), randomBytes(32)
	ecb := hsm.Mechanism{Type: hsm.AESECB}
	_, err := m.Use(m.ctx, m.imported("k", labels["N"], hsm.AES, value, hsm.Decrypt), hsm.Use{Operation: hsm.Encrypt, Mechanism: ecb, Data: make([]byte, 16)})
	m.wantRefused("a key that may only decrypt encrypts", err, core.PermissionDenied)
	_, err = m.Use(m.ctx, &hsm.Key{Label: labels["N"]}, hsm.Use{Operation: hsm.Encrypt, Mechanism: ecb, Data: make([]byte, 16)})
	m.wantRefused("a KEK encrypts", err, core.PermissionDenied, core.CryptographicFailure)
	key := m.imported("damaged", labels["N"], hsm.AES, value, hsm.Encrypt)
	key.Blob[9] ^= 1
	_, err = m.Use(m.ctx, key, hsm.Use{Operation: hsm.Encrypt, Mechanism: ecb, Data: make([]byte, 16)})
	m.wantRefused("a damaged blob", err, core.CryptographicFailure)
	key = m.imported("moved", labels["N"], hsm.AES, value, hsm.Encrypt)
	key.KEK = labels["X"]
	_, err = m.Use(m.ctx, key, hsm.Use{Operation: hsm.Encrypt, Mechanism: ecb, Data: make([]byte, 16)})
	m.wantRefused("the blob of another KEK", err, core.CryptographicFailure)
	key.KEK, key.Blob = labels["N"], nil
	_, err = m.Use(m.ctx, key, hsm.Use{Operation: hsm.Encrypt, Mechanism: ecb, Data: make([]byte, 16)})
	if err == nil {
		m.Error("a key without a blob encrypts")
	}
}

// A row that was written again has another MAC: the handle of the one before is not used
// for it.
func (m *memberTest) handlesBelongToMACs() {
	labels, data := m.loadedSet(), []byte("data")
	values := [][]byte{randomBytes(32), randomBytes(32)}
	var keys []*hsm.Key
	for i, value := range values {
		k := m.imported("same", labels["N"], hsm.GenericSecret, value, hsm.Sign)
		k.MAC = fmt.Appendf(nil, "MAC %d", i)
		keys = append(keys, k)
	}
	for _, i := range []int{0, 0, 1, 1, 0} {
		used, err := m.Use(m.ctx, keys[i], hsm.Use{Operation: hsm.Sign, Mechanism: hmacSHA256, Data: data})
		if err != nil || !bytes.Equal(used.Data, hmacOf(values[i], data)) {
			m.Errorf("row %d is used with another row's key: %v", i, err)
		}
	}
	before := m.Health(m.ctx).CachedHandles
	m.Forget("t", "same")
	if after := m.Health(m.ctx).CachedHandles; before != 1 || after != 0 {
		m.Errorf("%d handles are kept, and %d after Forget; want 1 and 0", before, after)
	}
	keys[0].MAC = nil
	if used, err := m.Use(m.ctx, keys[0], hsm.Use{Operation: hsm.Sign, Mechanism: hmacSHA256, Data: data}); err != nil || !bytes.Equal(used.Data, hmacOf(values[0], data)) {
		m.Errorf("a key without a MAC: %v", err)
	}
	if n := m.Health(m.ctx).CachedHandles; n != 0 {
		m.Errorf("%d handles of keys without a MAC are kept", n)
	}
}

func (m *memberTest) readObeysTemplates() {
	labels, value := m.loadedSet(), randomBytes(48)
	for class, readable := range map[string]bool{"C": true, "N": false, "X": false} {
		key := m.imported(class, labels[class], hsm.GenericSecret, value, 0)
		key.Template, key.MAC = hsm.Template{}, nil
		dst := make([]byte, 64)
		n, err := m.Read(m.ctx, key, dst)
		if readable != (err == nil) || readable && !bytes.Equal(dst[:n], value) {
			m.Errorf("class %s: %d bytes %x, %v", class, n, dst[:n], err)
		}
		if !readable {
			m.wantRefused("class "+class, err, core.PermissionDenied, core.CryptographicFailure)
		}
		short := make([]byte, 64)
		if _, err := m.Read(m.ctx, key, short[:16]); err == nil || !bytes.Equal(short, make([]byte, 64)) {
			m.Errorf("class %s into a room of 16 bytes: %x, %v", class, short, err)
		}
	}
	clear := &hsm.Key{Tenant: "t", ID: "resident", Label: "keyreeve-suite/clear", CKAID: []byte("clear")}
	o := hsm.Order{Template: hsm.Template{Type: hsm.GenericSecret, Extractable: true, Label: clear.Label, CKAID: clear.CKAID}, Bytes: bytes.Clone(value)}
	if _, err := m.Make(m.ctx, o); err != nil {
		m.Fatal(err)
	}
	dst := make([]byte, 64)
	if n, err := m.Read(m.ctx, clear, dst); err != nil || !bytes.Equal(dst[:n], value) {
		m.Errorf("a resident key that may be read: %x, %v", dst[:n], err)
	}
	_, err := m.Read(m.ctx, m.keepResident("keyreeve-suite/secret", []byte("secret"), hsm.Encrypt), dst)
	m.wantRefused("a resident key that is sensitive", err, core.PermissionDenied)
}

func (m *memberTest) wrapWraps() {
	labels, kek, value := m.loadedSet(), randomBytes(32), randomBytes(24)
	under := m.imported("kek", labels["N"], hsm.AES, kek, hsm.Wrap)
	key := m.imported("x", labels["X"], hsm.GenericSecret, value, 0)
	key.Template.Extractable, key.MAC = true, nil
	for what, w := range map[string]hsm.Wrapping{"a key": {Under: under, Mechanism: keyWrap, Key: key}, "bytes": {Under: under, Mechanism: keyWrap, Bytes: bytes.Clone(value)}} {
		out, err := m.Wrap(m.ctx, w)
		if err != nil || !bytes.Equal(UnwrapRFC3394(m, kek, out), value) {
			m.Errorf("%s: %v", what, err)
		}
	}
	stays := m.imported("n", labels["N"], hsm.GenericSecret, value, 0)
	stays.Template.Extractable = true
	_, err := m.Wrap(m.ctx, hsm.Wrapping{Under: under, Mechanism: keyWrap, Key: stays})
	m.wantRefused("a key of class N is wrapped", err, core.PermissionDenied, core.CryptographicFailure)
	_, err = m.Wrap(m.ctx, hsm.Wrapping{Under: m.keepResident("keyreeve-suite/r", []byte("r"), hsm.Encrypt), Mechanism: keyWrap, Key: key})
	m.wantRefused("a key that may not wrap wraps", err, core.PermissionDenied)
}

func (m *memberTest) wrapUnderRSA() {
	labels, value := m.loadedSet(), randomBytes(32)
	pair, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		m.Fatal(err)
	}
	public := &hsm.RSAPublicKey{Modulus: pair.N.Bytes(), Exponent: big.NewInt(int64(pair.E)).Bytes()}
	oaep := hsm.Mechanism{Type: hsm.RSAOAEP, OAEP: hsm.OAEP{Hash: crypto.SHA1, MGF: crypto.SHA1}}
	key := m.imported("x", labels["X"], hsm.GenericSecret, value, 0)
	key.Template.Extractable, key.MAC = true, nil
	out, err := m.Wrap(m.ctx, hsm.Wrapping{PublicKey: public, Mechanism: oaep, Key: key})
	if err != nil {
		m.Fatal(err)
	}
	if got, err := rsa.DecryptOAEP(sha1.New(), nil, pair, out, nil); err != nil || !bytes.Equal(got, value) {
		m.Errorf("the wrapped key is %x, %v; want %x", got, err, value)
	}
	_, err = m.Wrap(m.ctx, hsm.Wrapping{PublicKey: public, Mechanism: oaep, Bytes: make([]byte, 512)})
	if !errors.Is(err, hsm.ErrTooLong) {
		m.Errorf("512 bytes under an RSA key of 2048 bits: %v; want ErrTooLong", err)
	}
	if left := m.labels(); len(left) != len(core.KeyPurposes) {
		m.Errorf("the calls leave objects: %q", left)
	}
}

func (m *memberTest) makeGenerates() {
	labels, before := m.loadedSet(), m.labels()
	made, err := m.Make(m.ctx, hsm.Order{Generate: true, Digest: true, Measure: true, KEK: labels["C"],
		Template: hsm.Template{Type: hsm.GenericSecret, Sensitive: true, Extractable: true, Bytes: 40}})
	if err != nil {
		m.Fatal(err)
	}
	value := make([]byte, 64)
	n, err := m.Read(m.ctx, &hsm.Key{Tenant: "t", ID: "made", KEK: labels["C"], Blob: made.Blob}, value)
	sum := sha256.Sum256(value[:n])
	if err != nil || n != 40 || made.Bytes != 0 && made.Bytes != n || made.SHA256 != nil && !bytes.Equal(made.SHA256, sum[:]) {
		m.Errorf("%d bytes with digest %x are made, %v; the HSM says %d bytes with digest %x", n, sum, err, made.Bytes, made.SHA256)
	}
	out, err := m.Make(m.ctx, hsm.Order{Digest: true, KEK: labels["N"], Template: hsm.Template{Type: hsm.GenericSecret, Sensitive: true, Extractable: true},
		Unwrap: &hsm.Wrapped{Under: &hsm.Key{Label: labels["C"]}, Mechanism: keyWrap, Blob: made.Blob}})
	if err != nil || !bytes.Equal(out.SHA256, made.SHA256) || bytes.Equal(out.Blob, made.Blob) {
		m.Errorf("a key that moves to another KEK: digest %x, %v; want %x", out.SHA256, err, made.SHA256)
	}
	for what, o := range map[string]hsm.Order{
		"a KEK that is not loaded": {Generate: true, KEK: "keyreeve-suite/none", Template: hsm.Template{Type: hsm.AES, Sensitive: true, Extractable: true, Bytes: 32}},
		"no wrapped bytes":         {KEK: labels["N"], Template: hsm.Template{Type: hsm.AES, Sensitive: true, Extractable: true}, Unwrap: &hsm.Wrapped{Under: &hsm.Key{Label: labels["C"]}, Mechanism: keyWrap}},
	} {
		_, err := m.Make(m.ctx, o)
		m.wantRefused(what, err, core.TokenUnavailable, core.CryptographicFailure)
	}
	if after := m.labels(); !slices.Equal(before, after) {
		m.Errorf("the orders leave objects: %q", after)
	}
}

// makeUnwrapsTwice unwraps a key under an AES key that comes wrapped itself.
func (m *memberTest) makeUnwrapsTwice() {
	labels, before := m.loadedSet(), m.labels()
	between, err := m.Make(m.ctx, hsm.Order{Generate: true, KEK: labels["C"], Template: hsm.Template{Type: hsm.AES, Sensitive: true, Extractable: true, Bytes: 32}})
	if err != nil {
		m.Fatal(err)
	}
	value := []byte("a key of forty bytes, wrapped under both")
	under := &hsm.Key{Tenant: "t", ID: "between", KEK: labels["C"], Blob: between.Blob, Template: hsm.Template{Type: hsm.AES, Sensitive: true, Uses: hsm.Wrap}}
	inner, err := m.Wrap(m.ctx, hsm.Wrapping{Under: under, Mechanism: keyWrap, Bytes: value})
	if err != nil {
		m.Fatal(err)
	}
	order := func(inner []byte) hsm.Order {
		return hsm.Order{Digest: true, KEK: labels["N"], Template: hsm.Template{Type: hsm.GenericSecret, Sensitive: true, Extractable: true},
			Unwrap: &hsm.Wrapped{Under: &hsm.Key{Label: labels["C"]}, Mechanism: keyWrap, Blob: between.Blob, Inner: &hsm.Wrapped{Mechanism: keyWrap, Blob: inner}}}
	}
	sum := sha256.Sum256(value)
	if out, err := m.Make(m.ctx, order(inner)); err != nil || out.SHA256 != nil && !bytes.Equal(out.SHA256, sum[:]) {
		m.Errorf("the key has the digest %x, %v; want %x", out.SHA256, err, sum)
	}
	for what, bad := range map[string][]byte{"no inner bytes": nil, "half of the inner bytes": inner[:24]} {
		_, err := m.Make(m.ctx, order(bad))
		m.wantRefused(what, err, core.CryptographicFailure)
	}
	if after := m.labels(); !slices.Equal(before, after) {
		m.Errorf("the orders leave objects: %q", after)
	}
}

// curveOf is CKA_EC_PARAMS of a curve.
func curveOf(oid ...int) []byte {
	b, _ := asn1.Marshal(asn1.ObjectIdentifier(oid))
	return b
}

var (
	curveP256 = curveOf(1, 2, 840, 10045, 3, 1, 7)
	curveP384 = curveOf(1, 3, 132, 0, 34)
)

func (m *memberTest) makeGeneratesPairs() {
	labels, message := m.loadedSet(), sha256.Sum256([]byte("message"))
	sign := func(typ hsm.KeyType, made hsm.Made, mechanism hsm.MechanismType) []byte {
		key := &hsm.Key{Tenant: "t", ID: fmt.Sprint("pair", typ), KEK: labels["X"], Blob: made.Blob, Template: hsm.Template{Type: typ, Sensitive: true, Uses: hsm.Sign}}
		used, err := m.Use(m.ctx, key, hsm.Use{Operation: hsm.Sign, Mechanism: hsm.Mechanism{Type: mechanism}, Data: message[:]})
		if err != nil {
			m.Errorf("a pair of type %d: %v", typ, err)
		}
		return used.Data
	}
	order := hsm.Order{Generate: true, KEK: labels["X"], Template: hsm.Template{Type: hsm.EC, Sensitive: true, Extractable: true, Curve: curveP256}}
	made, err := m.Make(m.ctx, order)
	if err != nil {
		m.Fatal(err)
	}
	point, inner := made.Public.Point, []byte{}
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		point = inner // some HSMs wrap the point in DER, others do not
	}
	public, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), point)
	if err != nil {
		m.Fatal(err)
	}
	sig := sign(hsm.EC, made, hsm.ECDSA)
	if r, s := new(big.Int).SetBytes(sig[:len(sig)/2]), new(big.Int).SetBytes(sig[len(sig)/2:]); !ecdsa.Verify(public, message[:], r, s) {
		m.Error("the halves of an EC pair do not belong together")
	}
	order.ModulusBits, order.Template = 2048, hsm.Template{Type: hsm.RSA, Sensitive: true, Extractable: true}
	if made, err = m.Make(m.ctx, order); err != nil {
		m.Fatal(err)
	}
	modulus, exponent := new(big.Int).SetBytes(made.Public.RSA.Modulus), new(big.Int).SetBytes(made.Public.RSA.Exponent)
	if err := rsa.VerifyPKCS1v15(&rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, 0, message[:], sign(hsm.RSA, made, hsm.RSAPKCS)); err != nil || modulus.BitLen() != 2048 {
		m.Errorf("the halves of an RSA pair of %d bits do not belong together: %v", modulus.BitLen(), err)
	}
}

func (m *memberTest) makeComparesParts() {
	labels := m.loadedSet()
	pair, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(pair)
	if err != nil {
		m.Fatal(err)
	}
	der = append(der, make([]byte, (8-len(der)%8)%8)...)
	carried := m.imported("der", labels["C"], hsm.GenericSecret, der, 0)
	for what, c := range map[string]struct {
		curve []byte
		ok    bool
	}{"its curve": {curveP256, true}, "any curve": {nil, true}, "another curve": {curveP384, false}} {
		made, err := m.Make(m.ctx, hsm.Order{Template: hsm.Template{Type: hsm.EC, Sensitive: true, Extractable: true}, KEK: labels["X"],
			Unwrap: &hsm.Wrapped{Under: &hsm.Key{Label: labels["C"]}, Mechanism: keyWrap, Blob: carried.Blob}, Expect: &hsm.PublicParts{Curve: c.curve}})
		if c.ok != (err == nil) || c.ok != (made.Blob != nil) {
			m.Errorf("%s: a blob of %d bytes, %v", what, len(made.Blob), err)
		}
		if !c.ok {
			m.wantRefused(what, err, core.InvalidField)
		}
	}
}

func (m *memberTest) objectsStayUntilDestroyed() {
	one, two := "keyreeve-suite/object/1", "keyreeve-suite/object/2"
	k := m.keepResident(one, []byte("id 1"), hsm.Encrypt)
	m.keepResident(two, []byte("id 2"), hsm.Encrypt)
	ecb := hsm.Use{Operation: hsm.Encrypt, Mechanism: hsm.Mechanism{Type: hsm.AESECB}, Data: make([]byte, 16)}
	first, err := m.Use(m.ctx, k, ecb)
	if err != nil {
		m.Fatal(err)
	}
	for _, o := range []hsm.Object{{Label: one, CKAID: []byte("id 2")}, {Label: two, CKAID: []byte("id 1")}, {Label: one}, {CKAID: []byte("id 1")}, {Label: "keyreeve-suite/object/", CKAID: []byte("id 1")}, {}} {
		m.Destroy(m.ctx, o) // whatever it answers, nothing is gone
		if got := m.labels(); !slices.Equal(got, []string{one, two}) {
			m.Fatalf("Destroy of %q with CKA_ID %q leaves %q", o.Label, o.CKAID, got)
		}
	}
	again, err := m.Use(m.ctx, k, ecb)
	if err != nil || !bytes.Equal(first.Data, again.Data) {
		m.Errorf("a resident key is another one later: %v", err)
	}
	other := &hsm.Key{Tenant: "t", ID: "other", Label: two, CKAID: []byte("id 1"), MAC: []byte("MAC of other")}
	_, err = m.Use(m.ctx, other, ecb)
	m.wantRefused("the label of one object and the CKA_ID of another", err, core.TokenUnavailable)
	for range 2 { // nil means that it is gone, also the second time
		if err := m.Destroy(m.ctx, hsm.Object{Label: one, CKAID: []byte("id 1")}); err != nil {
			m.Error(err)
		}
	}
	m.Forget(k.Tenant, k.ID)
	_, err = m.Use(m.ctx, k, ecb)
	m.wantRefused("a destroyed object", err, core.TokenUnavailable)
	if got, err := m.Objects(m.ctx, two); err != nil || len(got) != 1 || string(got[0].CKAID) != "id 2" {
		m.Errorf("Objects lists %v, %v", got, err)
	}
}

func (m *memberTest) randomDoesNotRepeat() {
	if err := m.Seed(m.ctx, randomBytes(32)); err != nil {
		m.Error(err)
	}
	var seen [][]byte
	for range 8 {
		b := make([]byte, 32)
		if err := m.Random(m.ctx, b); err != nil || bytes.Equal(b, make([]byte, 32)) || slices.ContainsFunc(seen, func(s []byte) bool { return bytes.Equal(s, b) }) {
			m.Errorf("random bytes %x after %x, %v", b, seen, err)
		}
		seen = append(seen, b)
	}
	if err := m.Random(m.ctx, nil); err != nil {
		m.Errorf("no random bytes: %v", err)
	}
}

func (m *memberTest) closedMemberRefuses() {
	if h := m.Health(m.ctx); !h.Ready || h.Problem != "" || h.Label == "" {
		m.Errorf("an open member: %+v", h)
	}
	for range 2 {
		if err := m.Close(m.ctx); err != nil {
			m.Errorf("Close: %v", err)
		}
	}
	m.wantRefused("a closed member", m.Random(m.ctx, make([]byte, 8)), core.TokenUnavailable)
	if h := m.Health(m.ctx); h.Ready || h.Problem == "" {
		m.Errorf("a closed member: %+v", h)
	}
}

func (m *memberTest) membersAreConcurrent() {
	labels := m.loadedSet()
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			id := fmt.Sprint(g)
			for range 10 {
				made, err := m.Make(m.ctx, hsm.Order{Generate: true, Digest: true, KEK: labels["C"], Template: hsm.Template{Type: hsm.GenericSecret, Sensitive: true, Extractable: true, Bytes: 32}})
				if err != nil {
					m.Error(err)
					return
				}
				key, value := &hsm.Key{Tenant: id, ID: id, KEK: labels["C"], Blob: made.Blob}, make([]byte, 32)
				if _, err := m.Read(m.ctx, key, value); err != nil {
					m.Error(err)
				}
				key.MAC, key.Template = made.Blob, hsm.Template{Type: hsm.GenericSecret, Sensitive: true, Uses: hsm.Sign}
				used, err := m.Use(m.ctx, key, hsm.Use{Operation: hsm.Sign, Mechanism: hmacSHA256, Data: []byte(id)})
				if err != nil || !bytes.Equal(used.Data, hmacOf(value, []byte(id))) {
					m.Errorf("key %s is another one beside others: %v", id, err)
				}
			}
		})
	}
	wg.Wait()
}
