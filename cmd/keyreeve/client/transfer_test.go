package client_test

import (
	"crypto/elliptic"
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/keys/keystest"
)

// What openssl does with import jobs and exported keys is tried by docs/BYOK.md. These are the
// other forms and the mistakes.
func TestImportJobsAndTransfer(t *testing.T) {
	p := atTerminal(t)
	made := p.must(0, "", "import-job", "create", "--algorithm", "rsa-oaep-sha1", "-o", "json")
	if !strings.Contains(made, `"publicKey":"-----BEGIN PUBLIC KEY-----`) || !strings.Contains(made, `"length":3072`) {
		t.Errorf("the job is %s", made)
	}
	_, rest, _ := strings.Cut(made, `"jobId":"`)
	job, _, _ := strings.Cut(rest, `"`)
	if got := p.must(0, "", "import-job", "show", job, "--out", "transport.pem"); !strings.Contains(got, "algorithm  rsa-oaep-sha1") || strings.Contains(got, "BEGIN") {
		t.Errorf("the table is %s", got)
	}
	if text, _ := os.ReadFile(filepath.Join(p.dir, "transport.pem")); !strings.HasPrefix(string(text), "-----BEGIN PUBLIC KEY-----\n") {
		t.Errorf("the transport key is %s", text)
	}
	wrapped := p.file("wrapped", strings.Repeat("x", 384))
	p.must(1, "", "key", "import", wrapped, "--job", job, "--length", "256", "--usage", "encrypt") // and the job stays
	p.must(1, "", "key", "import", wrapped, "--job", job, "--wrapping", "aes-kw", "--length", "256", "--usage", "encrypt")
	if got := p.must(0, "", "import-job", "delete", job); got != "" {
		t.Errorf("delete prints %q", got)
	}
	p.must(3, "", "import-job", "show", job)
	p.must(3, "", "import-job", "delete", job)
	if got := p.must(1, "", "import-job", "create"); !strings.Contains(got, "SHA-256") { // SoftHSM2 has SHA-1 alone
		t.Errorf("an HSM without SHA-256: %s", got)
	}

	signer := keystest.ECKey(t, elliptic.P256())
	public := string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: keystest.SPKI(t, &signer.PublicKey)}))
	id := strings.TrimSpace(p.must(0, public, "key", "import", "--type", "public", "--usage", "verify", "-q"))
	if got := p.must(0, "", "key", "export", id); got != public {
		t.Errorf("the public key leaves as %s", got)
	}
	if got := p.must(0, "", "key", "export", id, "--jwk"); !strings.HasPrefix(got, "{") || !strings.Contains(got, `"crv":"P-256"`) {
		t.Errorf("the JWK is %s", got)
	}
	private := string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keystest.PKCS8(t, signer)}))
	p.must(2, private, "key", "import", "--type", "private", "--usage", "sign") // Import Clear
	for what, text := range map[string]string{"two blocks": public + public, "a private key": private, "an open block": public[:60]} {
		if got := p.must(1, text, "key", "import", "--type", "public", "--usage", "verify"); !strings.Contains(got, "one block") {
			t.Errorf("%s: %s", what, got)
		}
	}
	aes, kek := p.key("--usage", "encrypt"), p.key("--usage", "wrapKey,unwrapKey")
	p.must(1, "", "key", "export", aes)
	p.must(1, "", "key", "export", aes, "--with", kek, "--jwk")
	if out := p.must(0, "", "key", "export", aes, "--with", kek); len(out) != 40 {
		t.Errorf("an AES key leaves as %d bytes, want 40", len(out))
	}
	if got := p.must(0, "", "key", "export", aes, "--with", kek, "-o", "json"); !strings.Contains(got, `"wrappingKeyId":"`+kek+`"`) {
		t.Errorf("JSON is %s", got)
	}
}
