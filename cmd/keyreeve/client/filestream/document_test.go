package filestream

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// decoderLines is how long the decoder in the document may be.
const decoderLines = 40

// decodeFiles runs behind the decoder of the document. It decrypts each file that is named, and
// tries each of them with one thing changed.
const decodeFiles = `
import hashlib, io, sys

for name in sys.argv[2:]:
    data = open(name, "rb").read()
    def decrypt(data):
        file = io.BytesIO(data)
        header, envelope = read_header(file)
        return hashlib.sha256(b"".join(segments(file, header, bytes.fromhex(sys.argv[1])))).hexdigest()
    for changed in (data[:-1], data + b"x", data[:7] + bytes([data[7] ^ 1]) + data[8:], data[:-1] + bytes([data[-1] ^ 1])):
        try:
            decrypt(changed)
        except Exception:
            continue
        sys.exit(name + ": something changed, and it is decrypted")
    print("read", decrypt(data))
`

// The decoder that docs/files.md shows reads our files, by another library than ours.
func TestDocumentedDecoder(t *testing.T) {
	text, err := os.ReadFile("../../../../docs/files.md")
	if err != nil {
		t.Fatal(err)
	}
	_, decoder, _ := strings.Cut(string(text), "```python\n")
	decoder, _, found := strings.Cut(decoder, "```")
	if lines := strings.Count(decoder, "\n"); !found || lines > decoderLines {
		t.Fatalf("docs/files.md has a decoder of %d lines; want 1 to %d", lines, decoderLines)
	}
	if err := exec.Command("python3", "-c", "import cryptography").Run(); err != nil {
		t.Skipf("python3 with cryptography is not there (%v); install python3-cryptography", err)
	}
	dir := t.TempDir()
	script := filepath.Join(dir, "decode.py")
	if err := os.WriteFile(script, []byte(decoder+decodeFiles), 0o600); err != nil {
		t.Fatal(err)
	}
	args, want := []string{script, hex.EncodeToString(testKey)}, ""
	for _, n := range []int{0, 1, segmentBytes - startBytes - tagBytes, 3<<20 + 5} {
		header, err := Header([]byte("an envelope"))
		if err != nil {
			t.Fatal(err)
		}
		var file bytes.Buffer
		if err := Encrypt(&file, bytes.NewReader(counting(n)), testKey, header); err != nil {
			t.Fatal(err)
		}
		name := filepath.Join(dir, fmt.Sprint(n))
		if err := os.WriteFile(name, file.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		args, want = append(args, name), want+fmt.Sprintf("read %x\n", sha256.Sum256(counting(n)))
	}
	if out, err := exec.Command("python3", args...).CombinedOutput(); err != nil || string(out) != want {
		t.Errorf("the decoder says %q, %v; want %q", out, err, want)
	}
}
