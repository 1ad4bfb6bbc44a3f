package pemfile

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func certificate(t testing.TB, serial int64) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(serial), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// A file is complete or refused. A file that is cut off at any byte, or with text before,
// between or after its blocks, is an error that names a line.
func TestWholeOrRefused(t *testing.T) {
	a, b := certificate(t, 1), certificate(t, 2)
	both := append(bytes.Clone(a), b...)
	parse := func(text []byte) int {
		blocks, err := Parse(text, "CERTIFICATE")
		if (err == nil) != (len(blocks) > 0) {
			t.Fatalf("%d blocks and %v", len(blocks), err)
		}
		return len(blocks)
	}
	for what, text := range map[string][]byte{"two": both, "Windows lines": bytes.ReplaceAll(both, []byte("\n"), []byte("\r\n")), "a byte order mark": append([]byte("\ufeff"), both...),
		"comments and empty lines": []byte("# first\n\n" + string(a) + "\n # second\n \t\n" + string(b) + "# end"), "no last line end": bytes.TrimSpace(both)} {
		if parse(text) != 2 {
			t.Errorf("%s: not read", what)
		}
	}
	// The last byte is the line break, which may be missing.
	for n := range len(both) - 1 {
		want := 0
		if n == len(a) || n == len(a)-1 {
			want = 1 // a whole file of one certificate
		}
		if got := parse(both[:n]); got != want {
			t.Fatalf("cut off at byte %d of %d: %d certificates", n, len(both), got)
		}
	}
	lines := bytes.SplitAfter(a, []byte("\n"))
	join := func(ls ...[]byte) []byte { return bytes.Join(ls, nil) }
	for what, text := range map[string][]byte{
		"nothing": {}, "comments alone": []byte("# x\n"), "no PEM": []byte("hello"), "leading text": join([]byte("subject=CN = x\n"), both), "text between": join(a, []byte("x\n"), b),
		"trailing garbage": join(both, []byte("x")), "trailing half marker": join(both, []byte("-----BEG")), "another type": join(a, bytes.ReplaceAll(b, []byte("CERTIFICATE"), []byte("X509 CRL"))),
		"an END of another type": bytes.Replace(both, []byte("END CERTIFICATE"), []byte("END X"), 1), "a line lost": join(lines[0], lines[2], join(lines[3:]...)),
		"a damaged letter": bytes.Replace(both, lines[1][:4], []byte("M*IB"), 1), "a header": join(lines[0], []byte("Proc-Type: 4,ENCRYPTED\n\n"), join(lines[1:]...)),
		"END lost, BEGIN follows": join(join(lines[:len(lines)-2]...), b), "BEGIN lost": join(join(lines[1:]...), b), "a marker with more behind": bytes.Replace(both, []byte("-----\n"), []byte("----- x\n"), 1),
		"two values in a block": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte{5, 0, 5, 0}}), "no DER": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("text")}),
		"a zero byte behind": append(bytes.Clone(both), 0),
	} {
		if n := parse(text); n != 0 {
			t.Errorf("%s: %d certificates were read", what, n)
		}
	}
	if _, err := Parse(join(both, []byte("x")), "CERTIFICATE"); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("line %d:", bytes.Count(both, []byte("\n"))+1)) {
		t.Errorf("%v; the error must name the line", err)
	}
}

// Only a regular file of limited size is read: a pipe would block forever.
func TestFiles(t *testing.T) {
	dir := t.TempDir()
	pipe, large, good, twice := filepath.Join(dir, "pipe"), filepath.Join(dir, "large"), filepath.Join(dir, "good"), filepath.Join(dir, "twice")
	c := certificate(t, 1)
	for path, text := range map[string][]byte{good: c, twice: append(bytes.Clone(c), c...)} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Create(large); err != nil || f.Truncate(maxBytes+1) != nil || f.Close() != nil {
		t.Fatal("the large file cannot be made")
	}
	for path, ok := range map[string]bool{good: true, twice: true, pipe: false, large: false, dir: false, "/dev/zero": false, filepath.Join(dir, "none"): false} {
		if all, err := Certificates(path); (err == nil) != ok || (ok && len(all) != 1) {
			t.Errorf("%s: %d certificates, %v", path, len(all), err)
		} else if err != nil && !strings.Contains(err.Error(), path) {
			t.Errorf("%v does not name %s", err, path)
		}
	}
	if _, err := One(twice, "CERTIFICATE"); err == nil {
		t.Error("a second block was ignored")
	}
}

// FuzzParse tests that Parse reads everything that is in the text.
func FuzzParse(f *testing.F) {
	c := certificate(f, 1)
	f.Add(c)
	f.Add(append(bytes.Clone(c), "# x"...))
	f.Add([]byte("-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		blocks, err := Parse(text, "CERTIFICATE")
		if (err == nil) != (len(blocks) > 0) {
			t.Fatalf("%d blocks and %v", len(blocks), err)
		}
		if err == nil && bytes.Count(text, []byte("-----BEGIN")) > len(blocks)+bytes.Count(text, []byte("#")) {
			t.Errorf("a block of %q was skipped", text)
		}
	})
}
