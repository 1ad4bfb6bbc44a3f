package envelope_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// decoderLines is how long the decoder in the document may be.
const decoderLines = 30

// decodeVectors runs behind the decoder of the document. It tries each vector, and each vector
// with one thing changed.
const decodeVectors = `
import json, sys

for v in json.load(open(sys.argv[1], encoding="utf-8")):
    key, data, aad = bytes.fromhex(v["key"]), bytes.fromhex(v["envelope"]), bytes.fromhex(v["aad"])
    family, version, plaintext = open_envelope(key, data, aad, v["context"])
    if (family, version, plaintext.hex()) != (v["family"], v["version"], v["plaintext"]):
        sys.exit(v["name"] + ": " + repr((family, version, plaintext)))
    for changed in ((data, aad + b"x", v["context"]), (data, aad, {**v["context"], "more": ""}), (data[:-1] + bytes([data[-1] ^ 1]), aad, v["context"])):
        try:
            open_envelope(key, *changed)
        except Exception:
            continue
        sys.exit(v["name"] + ": something changed, and it is decrypted")
    print("read", v["name"])
`

// The decoder that docs/envelope.md shows reads the test vectors, by another library than ours.
func TestDocumentedDecoder(t *testing.T) {
	text, err := os.ReadFile("../../docs/envelope.md")
	if err != nil {
		t.Fatal(err)
	}
	_, decoder, _ := strings.Cut(string(text), "```python\n")
	decoder, _, found := strings.Cut(decoder, "```")
	if lines := strings.Count(decoder, "\n"); !found || lines > decoderLines {
		t.Fatalf("docs/envelope.md has a decoder of %d lines; want 1 to %d", lines, decoderLines)
	}
	if err := exec.Command("python3", "-c", "import cryptography").Run(); err != nil {
		t.Skipf("python3 with cryptography is not there (%v); install python3-cryptography", err)
	}
	script := filepath.Join(t.TempDir(), "decode.py")
	if err := os.WriteFile(script, []byte(decoder+decodeVectors), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("python3", script, vectorFile).CombinedOutput()
	if want := len(readVectors(t)); err != nil || strings.Count(string(out), "read ") != want {
		t.Errorf("the decoder says %q, %v; want that it reads %d vectors", out, err, want)
	}
}
