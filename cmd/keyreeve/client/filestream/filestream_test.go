package filestream

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
)

// vectorFile has streams that Tink for Go (github.com/tink-crypto/tink-go/v2 v2.9.0, streamingaead/subtle,
// NewAESGCMHKDF(key, "SHA256", 32, 1<<20, 0)) has encrypted, with the header as associated data.
const vectorFile = "testdata/vectors.json"

// vector is one test vector. Byte strings are hexadecimal. Byte i of the plaintext is i mod 251.
type vector struct {
	Name           string `json:"name"`
	DataKey        string `json:"dataKey"`
	Envelope       string `json:"envelope"`
	Start          string `json:"start"`
	PlaintextBytes int    `json:"plaintextBytes"`
	File           string `json:"file"` // "" for large ones
	SHA256         string `json:"sha256"`
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

// counting returns the plaintext of test vectors.
func counting(n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(i % 251)
	}
	return b
}

// Files are those that Tink makes, byte for byte, and are decrypted.
func TestVectorsOfTink(t *testing.T) {
	for _, v := range readVectors(t) {
		key, plain := fromHex(t, v.DataKey), counting(v.PlaintextBytes)
		header, err := Header(fromHex(t, v.Envelope))
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		if err := encrypt(&file, bytes.NewReader(plain), key, header, fromHex(t, v.Start), segmentBytes); err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if sum := sha256.Sum256(file.Bytes()); hex.EncodeToString(sum[:]) != v.SHA256 || v.File != "" && hex.EncodeToString(file.Bytes()) != v.File {
			t.Errorf("%s: the file is not that of Tink", v.Name)
		}
		read, envelope, err := ReadHeader(&file)
		if err != nil || !bytes.Equal(read, header) || hex.EncodeToString(envelope) != v.Envelope {
			t.Fatalf("%s: header %x, envelope %x, %v", v.Name, read, envelope, err)
		}
		var got bytes.Buffer
		if err := Decrypt(&got, &file, key, header); err != nil || !bytes.Equal(got.Bytes(), plain) {
			t.Errorf("%s: %d bytes, %v", v.Name, got.Len(), err)
		}
	}
}

// The tests below use short segments, so that there are many of them.
const shortSegment = 64

// The plaintext of a segment, the first one and the others.
const (
	shortFirst = shortSegment - startBytes - tagBytes
	shortNext  = shortSegment - tagBytes
)

var testKey = bytes.Repeat([]byte{1}, KeyBytes)

// shortFile returns a file with short segments.
func shortFile(t testing.TB, plain []byte) (header, body []byte) {
	t.Helper()
	header, err := Header([]byte("an envelope"))
	if err != nil {
		t.Fatal(err)
	}
	start := append([]byte{startBytes}, bytes.Repeat([]byte{2}, startBytes-1)...)
	var file bytes.Buffer
	if err := encrypt(&file, iotest.OneByteReader(bytes.NewReader(plain)), testKey, header, start, shortSegment); err != nil {
		t.Fatal(err)
	}
	return header, file.Bytes()[len(header):]
}

// open decrypts a file with short segments.
func open(header, body []byte) ([]byte, error) {
	var got bytes.Buffer
	err := decrypt(&got, bytes.NewReader(body), testKey, header, shortSegment)
	return got.Bytes(), err
}

// Every size around the ends of segments comes back, in every size of reads.
func TestSizes(t *testing.T) {
	for n := range shortFirst + 3*shortNext + 2 {
		plain := counting(n)
		header, body := shortFile(t, plain)
		for name, r := range map[string]io.Reader{"whole": bytes.NewReader(body), "bytes": iotest.OneByteReader(bytes.NewReader(body)), "with EOF": iotest.DataErrReader(bytes.NewReader(body))} {
			var got bytes.Buffer
			if err := decrypt(&got, r, testKey, header, shortSegment); err != nil || !bytes.Equal(got.Bytes(), plain) {
				t.Fatalf("%d bytes, %s: %x, %v", n, name, got.Bytes(), err)
			}
		}
	}
}

// A file that ends early, anywhere, is an error, and what is written until then is a prefix of
// whole segments. At the end of a segment, the error says what is missing.
func TestCutOff(t *testing.T) {
	plain := counting(shortFirst + 2*shortNext + 5)
	header, body := shortFile(t, plain)
	for n := range body {
		got, err := open(header, body[:n])
		if err == nil {
			t.Fatalf("%d of %d bytes are decrypted", n, len(body))
		}
		whole := max(0, n-1) / shortSegment // segments with something behind them
		if want := max(0, whole*shortNext-startBytes); len(got) != want || !bytes.HasPrefix(plain, got) {
			t.Errorf("of %d bytes, %d are written, want %d", n, len(got), want)
		}
		if n%shortSegment < tagBytes && !errors.Is(err, ErrCutOff) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

// A file of which one bit is changed is an error, and so are bytes behind it, segments in another
// order, another header and another key.
func TestChanged(t *testing.T) {
	plain := counting(shortFirst + 2*shortNext + 5)
	header, body := shortFile(t, plain)
	refused := func(what string, header, body []byte) {
		t.Helper()
		if got, err := open(header, body); err == nil || !bytes.HasPrefix(plain, got) || len(got) == len(plain) && what != "bytes behind the end" {
			t.Errorf("%s: %d bytes are written, %v", what, len(got), err)
		}
	}
	for i := range body {
		changed := bytes.Clone(body)
		changed[i] ^= 1
		refused("a bit", header, changed)
	}
	for i := range header {
		changed := bytes.Clone(header)
		changed[i] ^= 1
		refused("a bit of the header", changed, body)
	}
	refused("bytes behind the end", header, append(bytes.Clone(body), 0))
	refused("the last segment twice", header, append(bytes.Clone(body), body[3*shortSegment:]...))
	second, third := body[shortSegment:2*shortSegment], body[2*shortSegment:3*shortSegment]
	refused("another order", header, slices.Concat(body[:shortSegment], third, second, body[3*shortSegment:]))
	refused("a segment is missing", header, slices.Concat(body[:shortSegment], third, body[3*shortSegment:]))
	if err := decrypt(io.Discard, bytes.NewReader(body), bytes.Repeat([]byte{9}, KeyBytes), header, shortSegment); err == nil {
		t.Error("another key decrypts")
	}
	for _, n := range []int{0, 16, 31, 33} {
		if err := Encrypt(io.Discard, bytes.NewReader(plain), make([]byte, n), header); err == nil {
			t.Errorf("a key of %d bytes encrypts", n)
		}
	}
}

// Two files of the same bytes under the same key have different keys of segments.
func TestFilesAreFresh(t *testing.T) {
	header, err := Header([]byte("an envelope"))
	if err != nil {
		t.Fatal(err)
	}
	var files [2]bytes.Buffer
	for i := range files {
		if err := Encrypt(&files[i], strings.NewReader("the same"), testKey, header); err != nil {
			t.Fatal(err)
		}
	}
	a, b := files[0].Bytes()[len(header)+1:], files[1].Bytes()[len(header)+1:]
	if bytes.Equal(a[:saltBytes], b[:saltBytes]) || bytes.Equal(a[startBytes:], b[startBytes:]) {
		t.Errorf("%x and %x", a, b)
	}
}

// Headers beyond their bounds are neither written nor read.
func TestHeaders(t *testing.T) {
	for _, n := range []int{0, MaxEnvelopeBytes + 1} {
		if h, err := Header(make([]byte, n)); err == nil {
			t.Errorf("an envelope of %d bytes has the header %x", n, h)
		}
	}
	if h, err := Header(make([]byte, MaxEnvelopeBytes)); err != nil || len(h) != MagicBytes+2+MaxEnvelopeBytes {
		t.Errorf("%d bytes, %v", len(h), err)
	}
	for bytes, want := range map[string]string{
		"":                      "cut off",
		"krf":                   "cut off",
		"krf\x01\x00\x02x":      "cut off",
		"krf\x01\x00\x00xxxxxx": "1 to 1024",
		"krf\x01\x04\x01xxxxxx": "1 to 1024",
		"krf\x02\x00\x01x":      "format 2",
		"kre\x01\x00\x01x":      "not a file",
	} {
		if _, _, err := ReadHeader(strings.NewReader(bytes)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v; want %q", bytes, err, want)
		}
	}
}

// failing is a writer that takes some bytes and then fails.
type failing struct{ takes int }

func (f *failing) Write(b []byte) (int, error) {
	if f.takes -= len(b); f.takes < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// An error of the source or of the target is returned, from every segment.
func TestErrorsOfOthers(t *testing.T) {
	plain := counting(shortFirst + 5*shortNext)
	header, body := shortFile(t, plain)
	for n := range len(body) {
		broken := func(b []byte) io.Reader {
			return io.MultiReader(bytes.NewReader(b), iotest.ErrReader(io.ErrClosedPipe))
		}
		if err := decrypt(io.Discard, broken(body[:n]), testKey, header, shortSegment); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("a source that fails after %d bytes: %v", n, err)
		}
		if n >= len(plain) {
			continue
		}
		if err := encrypt(io.Discard, broken(plain[:n]), testKey, header, body[:startBytes], shortSegment); !errors.Is(err, io.ErrClosedPipe) {
			t.Fatalf("a source that fails after %d bytes: %v", n, err)
		}
		if err := decrypt(&failing{n}, bytes.NewReader(body), testKey, header, shortSegment); !errors.Is(err, io.ErrShortWrite) {
			t.Fatalf("a target that fails after %d bytes: %v", n, err)
		}
	}
}

// Whatever is read as a file: nothing is written that was not encrypted, and no header is read
// that is not the one that is written.
func FuzzDecrypt(f *testing.F) {
	plain := counting(shortFirst + 2*shortNext + 5)
	header, body := shortFile(f, plain)
	f.Add(slices.Concat(header, body))
	f.Add(slices.Concat(header, body[:2*shortSegment]))
	f.Add([]byte("krf\x01\x00\x01x"))
	f.Fuzz(func(t *testing.T, file []byte) {
		src := bytes.NewReader(file)
		read, envelope, err := ReadHeader(src)
		if err != nil {
			return
		}
		if again, err := Header(envelope); err != nil || !bytes.Equal(again, read) || !bytes.HasPrefix(file, read) {
			t.Fatalf("the header %x is read, and %x is written, %v", read, again, err)
		}
		got, err := open(read, file[len(read):])
		if same := bytes.Equal(file, slices.Concat(header, body)); same != (err == nil) || !bytes.HasPrefix(plain, got) {
			t.Fatalf("%x is written, %v", got, err)
		}
	})
}

// BenchmarkEncrypt has the throughput without pipes and files.
func BenchmarkEncrypt(b *testing.B) {
	plain := make([]byte, 64<<20)
	header, err := Header([]byte("an envelope"))
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(plain)))
	for b.Loop() {
		if err := Encrypt(io.Discard, bytes.NewReader(plain), testKey, header); err != nil {
			b.Fatal(err)
		}
	}
}
