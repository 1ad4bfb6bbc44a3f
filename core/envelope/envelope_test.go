package envelope_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/envelope"
)

var update = flag.Bool("update", false, "write the results of the test vectors again")

const vectorFile = "testdata/vectors.json"

// vector is one test vector. Byte strings are hexadecimal.
type vector struct {
	Name           string            `json:"name"`
	Algorithm      string            `json:"algorithm"`
	Key            string            `json:"key"`
	IV             string            `json:"iv"`
	Family         string            `json:"family"`
	Version        uint32            `json:"version"`
	AAD            string            `json:"aad"`
	Context        map[string]string `json:"context"`
	Plaintext      string            `json:"plaintext"`
	AdditionalData string            `json:"additionalData"`
	Envelope       string            `json:"envelope"`
}

func readVectors(t testing.TB) (all []vector) {
	t.Helper()
	text, err := os.ReadFile(vectorFile)
	if err != nil {
		t.Fatal(err)
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

func fromHex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// cipherOf returns the cipher of a vector, from Go's own library.
func cipherOf(t testing.TB, v *vector) (envelope.Algorithm, cipher.AEAD) {
	t.Helper()
	key := fromHex(t, v.Key)
	if v.Algorithm == "ChaCha20-Poly1305" {
		a, err := chacha20poly1305.New(key)
		if err != nil {
			t.Fatal(err)
		}
		return envelope.ChaCha20Poly1305, a
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		t.Fatal(err)
	}
	return envelope.AESGCM, a
}

// The bytes of envelopes never change: what was written once can be read forever.
func TestVectors(t *testing.T) {
	all := readVectors(t)
	for i := range all {
		v := &all[i]
		algorithm, aead := cipherOf(t, v)
		h := envelope.Header{Family: v.Family, Version: v.Version, Algorithm: algorithm}
		ad, err := h.AdditionalData(fromHex(t, v.AAD), v.Context)
		if err != nil {
			t.Fatal(err)
		}
		iv, plaintext := fromHex(t, v.IV), fromHex(t, v.Plaintext)
		sealed := aead.Seal(nil, iv, plaintext, ad)
		at := len(sealed) - envelope.TagBytes
		e := envelope.Envelope{Header: h, IV: iv, Ciphertext: sealed[:at], Tag: sealed[at:]}
		b, err := e.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		if *update {
			v.AdditionalData, v.Envelope = hex.EncodeToString(ad), hex.EncodeToString(b)
			continue
		}
		if hex.EncodeToString(ad) != v.AdditionalData || hex.EncodeToString(b) != v.Envelope {
			t.Errorf("%s: additional data %x and envelope %x; the vector has %s and %s", v.Name, ad, b, v.AdditionalData, v.Envelope)
		}
		p, err := envelope.Parse(fromHex(t, v.Envelope))
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if p.Header != h {
			t.Errorf("%s: the header is %+v, want %+v", v.Name, p.Header, h)
		}
		opened, err := aead.Open(nil, p.IV, append(bytes.Clone(p.Ciphertext), p.Tag...), fromHex(t, v.AdditionalData))
		if err != nil || !bytes.Equal(opened, plaintext) {
			t.Errorf("%s: decrypts to %x, %v; want %x", v.Name, opened, err, plaintext)
		}
	}
	if *update {
		text, err := json.MarshalIndent(all, "", "  ")
		if err == nil {
			err = os.WriteFile(vectorFile, append(text, '\n'), 0o644)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// sound is an envelope that is read.
func sound() envelope.Envelope {
	return envelope.Envelope{Header: envelope.Header{Family: "f-1", Version: 3, Algorithm: envelope.AESGCM},
		IV: make([]byte, envelope.IVBytes), Ciphertext: []byte("ciphertext"), Tag: make([]byte, envelope.TagBytes)}
}

func mustWrite(t testing.TB, e envelope.Envelope) []byte {
	t.Helper()
	b, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// Each part of the header changes the additional data, and so does each boundary between the
// parts: nothing can be moved from one to the next.
func TestAdditionalDataIsUnambiguous(t *testing.T) {
	seen := map[string]string{}
	add := func(what string, h envelope.Header, aad string, context map[string]string) {
		t.Helper()
		ad, err := h.AdditionalData([]byte(aad), context)
		if err != nil {
			t.Fatal(err)
		}
		if other, ok := seen[string(ad)]; ok {
			t.Errorf("%s and %s have the same additional data", what, other)
		}
		seen[string(ad)] = what
	}
	h := sound().Header
	add("plain", h, "", nil)
	add("aad", h, "ab", nil)
	add("aad of zeros", h, "\x00\x00\x00\x00", nil)
	add("a pair", h, "", map[string]string{"a": "b"})
	add("a pair of other lengths", h, "", map[string]string{"ab": ""})
	add("two pairs", h, "", map[string]string{"a": "b", "c": "d"})
	add("two pairs with their values exchanged", h, "", map[string]string{"a": "d", "c": "b"})
	add("aad and a pair", h, "a", map[string]string{"b": "c"})
	for what, change := range map[string]func(*envelope.Header){
		"another family":    func(h *envelope.Header) { h.Family = "f-2" },
		"a longer family":   func(h *envelope.Header) { h.Family = "f-11" },
		"another version":   func(h *envelope.Header) { h.Version = 4 },
		"another algorithm": func(h *envelope.Header) { h.Algorithm = envelope.ChaCha20Poly1305 },
	} {
		other := h
		change(&other)
		add(what, other, "", nil)
	}
	ad, _ := h.AdditionalData(nil, nil)
	if whole := mustWrite(t, sound()); !bytes.HasPrefix(whole, ad[:len(ad)-8]) {
		t.Errorf("the additional data %x does not begin with the header of %x", ad, whole)
	}
}

// Context is sorted by bytes, not by letters.
func TestContextIsSortedByBytes(t *testing.T) {
	h := sound().Header
	ad, err := h.AdditionalData(nil, map[string]string{"é": "4", "z": "3", "a": "2", "Z": "1"})
	if err != nil {
		t.Fatal(err)
	}
	last := -1
	for _, pair := range []string{"Z\x00\x00\x00\x011", "a\x00\x00\x00\x012", "z\x00\x00\x00\x013", "é\x00\x00\x00\x014"} {
		at := bytes.Index(ad, []byte(pair))
		if at <= last {
			t.Errorf("%q is at %d of %x, not behind the pair before it", pair, at, ad)
		}
		last = at
	}
}

func TestInputsAreBounded(t *testing.T) {
	pairs := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[fmt.Sprint(i)] = "v"
		}
		return m
	}
	long := strings.Repeat
	for what, c := range map[string]struct {
		aad     int
		context map[string]string
		fits    bool
	}{
		"nothing":                 {0, nil, true},
		"the longest aad":         {envelope.MaxAAD, nil, true},
		"a longer aad":            {envelope.MaxAAD + 1, nil, false},
		"as many pairs":           {0, pairs(envelope.MaxContextPairs), true},
		"more pairs":              {0, pairs(envelope.MaxContextPairs + 1), false},
		"the longest key":         {0, map[string]string{long("k", envelope.MaxContextKeyBytes): ""}, true},
		"a longer key":            {0, map[string]string{long("k", envelope.MaxContextKeyBytes+1): ""}, false},
		"an empty key":            {0, map[string]string{"": "v"}, false},
		"the longest value":       {0, map[string]string{"k": long("v", envelope.MaxContextValueBytes)}, true},
		"a longer value":          {0, map[string]string{"k": long("v", envelope.MaxContextValueBytes+1)}, false},
		"a key that is no text":   {0, map[string]string{"\xff": "v"}, false},
		"a value that is no text": {0, map[string]string{"k": "\xff"}, false},
	} {
		h := sound().Header
		_, err := h.AdditionalData(make([]byte, c.aad), c.context)
		if (err == nil) != c.fits || err != nil && core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %v; want that it fits: %v", what, err, c.fits)
		}
	}
}

func TestParseIsStrict(t *testing.T) {
	whole := mustWrite(t, sound())
	changed := func(at int, to byte) []byte {
		b := bytes.Clone(whole)
		b[at] = to
		return b
	}
	const family = 5 // where the name of the family begins
	for what, b := range map[string][]byte{
		"nothing":                 nil,
		"other letters":           changed(0, 'K'),
		"another format":          changed(3, 2),
		"no family":               changed(4, 0),
		"a family beyond the end": changed(4, 200),
		"a space in the family":   changed(family, ' '),
		"a letter of Latin-1":     changed(family, 0xe4),
		"version 0":               changed(family+3+3, 0),
		"algorithm 0":             changed(family+3+4, 0),
		"algorithm 3":             changed(family+3+4, 3),
		"text":                    []byte("plain text that is long enough to be an envelope of some kind"),
		"too much ciphertext":     append(bytes.Clone(whole), make([]byte, envelope.MaxPlaintext)...),
	} {
		if e, err := envelope.Parse(b); core.CodeOf(err) != core.InvalidField {
			t.Errorf("%s: %+v, %v; want InvalidField", what, e.Header, err)
		}
	}
	shortest := len(whole) - len("ciphertext")
	for n := range whole {
		if _, err := envelope.Parse(whole[:n]); (err == nil) != (n >= shortest) {
			t.Errorf("%d bytes of an envelope: %v", n, err)
		}
	}
}

func TestBytesChecksItsParts(t *testing.T) {
	for what, change := range map[string]func(*envelope.Envelope){
		"a short IV":          func(e *envelope.Envelope) { e.IV = e.IV[1:] },
		"a long tag":          func(e *envelope.Envelope) { e.Tag = append(e.Tag, 0) },
		"no family":           func(e *envelope.Envelope) { e.Family = "" },
		"a long family":       func(e *envelope.Envelope) { e.Family = strings.Repeat("f", envelope.MaxFamilyBytes+1) },
		"too much ciphertext": func(e *envelope.Envelope) { e.Ciphertext = make([]byte, envelope.MaxPlaintext+1) },
	} {
		e := sound()
		change(&e)
		if b, err := e.Bytes(); err == nil {
			t.Errorf("%s is written as %d bytes", what, len(b))
		}
	}
}

// An envelope that is read is written with the same bytes: there is one form.
func FuzzParse(f *testing.F) {
	for _, v := range readVectors(f) {
		f.Add(fromHex(f, v.Envelope))
	}
	f.Add([]byte("kre\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := envelope.Parse(b)
		if err != nil {
			return
		}
		again, err := e.Bytes()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%x is read as %+v, which is %x, %v", b, e, again, err)
		}
	})
}
