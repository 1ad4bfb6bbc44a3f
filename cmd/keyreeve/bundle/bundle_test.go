package bundle

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/certs/pemfile"
)

// authority makes an authority, and returns its certificate.
func authority(t *testing.T) (*certs.Authority, *x509.Certificate) {
	t.Helper()
	dir := t.TempDir()
	if err := certs.MakeAuthority(dir); err != nil {
		t.Fatal(err)
	}
	a, err := certs.OpenAuthority(filepath.Join(dir, certs.EnrollmentCertificate), filepath.Join(dir, certs.EnrollmentKey))
	if err != nil {
		t.Fatal(err)
	}
	all, err := pemfile.Certificates(filepath.Join(dir, certs.EnrollmentCertificate))
	if err != nil {
		t.Fatal(err)
	}
	return a, all[0]
}

// makeBundle makes a whole bundle, and returns it with its folder.
func makeBundle(t *testing.T, p Product, c Choice) (*Bundle, string) {
	t.Helper()
	a, ca := authority(t)
	folder := filepath.Join(t.TempDir(), "out")
	b, err := New(folder, "array7", p, c, false)
	if err != nil {
		t.Fatal(err)
	}
	request, err := b.Request()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.Sign(request, "default", "array7", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Finish(certs.PEM(issued), []*x509.Certificate{ca}); err != nil {
		t.Fatal(err)
	}
	return b, folder
}

// The files of each product, and of each other form and type of key, can be read by Go and by
// openssl. Only their owner can read them, and certificate and key belong together.
func TestFilesOfEachProduct(t *testing.T) {
	for _, p := range Products() {
		t.Run(p.Name, func(t *testing.T) {
			b, folder := makeBundle(t, p, Choice{})
			checkFiles(t, folder, p.Form, p.Key)
			checkText(t, b.Listing()+b.Steps(Place{"kms.example.com", "5697"}), folder)
		})
	}
	for i, form := range Forms() {
		for _, key := range slices.DeleteFunc(KeyTypes(), func(k KeyType) bool { return k == KeyRSA4096 && i > 0 }) { // slow to make
			t.Run(string(form)+" "+string(key), func(t *testing.T) {
				_, folder := makeBundle(t, products[0], Choice{Form: form, Key: key})
				checkFiles(t, folder, form, key)
			})
		}
	}
}

// checkText demands that each file of a folder is named, with the real place of the server, that
// no place is left open and that no secret is shown.
func checkText(t *testing.T, text, folder string) {
	t.Helper()
	all, err := os.ReadDir(folder)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range all {
		if !strings.Contains(text, filepath.Join(folder, f.Name())) {
			t.Errorf("%s is not named in:\n%s", f.Name(), text)
		}
		content, err := os.ReadFile(filepath.Join(folder, f.Name()))
		if err != nil {
			t.Fatal(err)
		}
		if secret := strings.TrimSpace(string(content)); strings.Contains(text, secret) {
			t.Errorf("%s is shown", f.Name())
		}
	}
	for _, want := range []string{"kms.example.com", "5697"} {
		if !strings.Contains(text, want) {
			t.Errorf("%s is not in:\n%s", want, text)
		}
	}
	if strings.ContainsAny(text, "{}") {
		t.Errorf("a place is open in:\n%s", text)
	}
}

func checkFiles(t *testing.T, folder string, form Form, key KeyType) {
	t.Helper()
	at := func(name string) string { return filepath.Join(folder, name) }
	if info, err := os.Stat(folder); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("the folder has mode %v, %v", info.Mode(), err)
	}
	all, _ := os.ReadDir(folder)
	for _, f := range all {
		if info, err := f.Info(); err != nil || info.Mode().Perm() != 0o600 || info.Size() == 0 {
			t.Errorf("%s: %v, %v; want mode 0600 and content", f.Name(), info, err)
		}
	}
	openssl(t, "x509", "-in", at(Authority), "-noout")
	begin := map[Form]map[bool]string{FormPEM: {true: "PRIVATE KEY", false: "PRIVATE KEY"}, FormTraditional: {true: "RSA PRIVATE KEY", false: "EC PRIVATE KEY"}, FormCombined: {true: "PRIVATE KEY", false: "PRIVATE KEY"}}
	isRSA := strings.HasPrefix(string(key), "rsa")
	switch form {
	case FormPEM, FormTraditional:
		if _, err := tls.LoadX509KeyPair(at("array7.pem"), at("array7-key.pem")); err != nil {
			t.Error(err)
		}
		openssl(t, "x509", "-in", at("array7.pem"), "-noout")
		openssl(t, "pkey", "-in", at("array7-key.pem"), "-noout", "-check")
		text, _ := os.ReadFile(at("array7-key.pem"))
		if block, _ := pem.Decode(text); block == nil || block.Type != begin[form][isRSA] {
			t.Errorf("the key is a block of another type than %q", begin[form][isRSA])
		}
	case FormCombined:
		if _, err := tls.LoadX509KeyPair(at("array7.pem"), at("array7.pem")); err != nil {
			t.Error(err)
		}
		openssl(t, "x509", "-in", at("array7.pem"), "-noout")
		openssl(t, "pkey", "-in", at("array7.pem"), "-noout", "-check")
		if text, _ := os.ReadFile(at("array7.pem")); !strings.HasPrefix(string(text), "-----BEGIN CERTIFICATE-----") {
			t.Error("the certificate is not first")
		}
	case FormPKCS12:
		data, err := os.ReadFile(at("array7.p12"))
		if err != nil {
			t.Fatal(err)
		}
		password, err := os.ReadFile(at("array7-password.txt"))
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := pkcs12.Decode(data, strings.TrimSpace(string(password))); err != nil {
			t.Error(err)
		}
		if _, _, err := pkcs12.Decode(data, "wrong"); err == nil {
			t.Error("another password opens it")
		}
		openssl(t, "pkcs12", "-in", at("array7.p12"), "-passin", "file:"+at("array7-password.txt"), "-noout")
	}
}

// openssl demands that openssl can read a file. Without openssl, Go alone has read it.
func openssl(t *testing.T, args ...string) {
	t.Helper()
	path, err := exec.LookPath("openssl")
	if err != nil {
		return
	}
	if out, err := exec.Command(path, args...).CombinedOutput(); err != nil {
		t.Errorf("openssl %v: %v\n%s", args, err, out)
	}
}

// A folder that exists is left alone. What is removed is what was made.
func TestNothingIsOverwritten(t *testing.T) {
	folder := t.TempDir()
	mine := filepath.Join(folder, "array7.pem")
	if err := os.WriteFile(mine, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if b, err := New(folder, "array7", products[0], Choice{}, false); err == nil || b != nil || !strings.Contains(err.Error(), "--out") {
		t.Errorf("a folder that exists: %v, %v", b, err)
	}
	if text, _ := os.ReadFile(mine); string(text) != "mine" {
		t.Errorf("the file has %q", text)
	}
	b, err := New(filepath.Join(folder, "new"), "array7", products[0], Choice{}, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Finish([]byte("no certificate"), nil); err == nil {
		t.Error("an answer without a certificate was taken")
	}
	if err := b.Remove(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(folder, "new")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the folder is still there: %v", err)
	}
	if b, err = New(filepath.Join(folder, "stuck"), "array7", products[0], Choice{}, false); err != nil {
		t.Fatal(err)
	}
	certificate, key := filepath.Join(folder, "stuck", "array7.pem"), filepath.Join(folder, "stuck", "array7-key.pem")
	if err := errors.Join(os.Remove(certificate), os.MkdirAll(filepath.Join(certificate, "deep"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(); err == nil {
		t.Error("a file that cannot be removed is not reported")
	}
	if _, err := os.Stat(key); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the key is still there: %v", err)
	}
	b, err = New(filepath.Join(folder, "new"), "array7", products[0], Choice{}, false)
	if err != nil {
		t.Fatal(err)
	}
	other := filepath.Join(folder, "new", "other")
	if err := os.WriteFile(other, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := b.Remove(); err == nil {
		t.Error("a folder with a foreign file was removed")
	}
	if _, err := os.Stat(other); err != nil {
		t.Error(err)
	}
}

// A certificate that is for another key than the bundle's is refused.
func TestAnotherCertificate(t *testing.T) {
	a, ca := authority(t)
	first, err := New(filepath.Join(t.TempDir(), "a"), "array7", products[0], Choice{}, false)
	if err != nil {
		t.Fatal(err)
	}
	second, err := New(filepath.Join(t.TempDir(), "b"), "array7", products[0], Choice{}, false)
	if err != nil {
		t.Fatal(err)
	}
	request, err := second.Request()
	if err != nil {
		t.Fatal(err)
	}
	issued, err := a.Sign(request, "default", "array7", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Finish(certs.PEM(issued), []*x509.Certificate{ca}); err == nil {
		t.Error("it was taken")
	}
}

// The names of products are words, in order but for the general ones, and each can be found.
func TestProducts(t *testing.T) {
	last, seen := "", map[string]bool{}
	for _, p := range Products() {
		if got, ok := ByName(p.Name); !ok || got.Title != p.Title || seen[p.Name] {
			t.Errorf("%s is not found, or is there twice", p.Name)
		}
		seen[p.Name] = true
		if general := strings.HasPrefix(p.Name, "generic"); !general && p.Name < last {
			t.Errorf("%s comes after %s", p.Name, last)
		}
		last = p.Name
	}
}

// The tables of docs/clients.md are these rows.
func TestDocumentedProducts(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	table := "| `--for` | product | KMIP | files | key | user and password |\n|---|---|---|---|---|---|\n"
	var notes strings.Builder
	for _, p := range Products() {
		user := map[PasswordUse]string{PasswordNone: "", PasswordOptional: "can be sent", PasswordSent: "are sent"}[p.Password]
		table += strings.Join([]string{"| `" + p.Name + "`", p.Title, p.Versions, string(p.Form), string(p.Key), user + " |\n"}, " | ")
		for _, note := range p.notes() {
			if !strings.HasPrefix(note, "It speaks KMIP") && !strings.HasPrefix(note, "It can send a user name and a password, and needs none") {
				notes.WriteString("- `" + p.Name + "`: " + note + "\n")
			}
		}
		if p.OwnRequest {
			notes.WriteString("- `" + p.Name + "`: It can make its own key and a certificate request for `--csr`.\n")
		}
	}
	documented := strings.NewReplacer("{pkcs12}", "NAME.p12", "{ca}", Authority).Replace(notes.String())
	for what, want := range map[string]string{"table": table, "notes": documented} {
		if !strings.Contains(string(text), want) {
			t.Errorf("docs/clients.md must have these %s:\n%s", what, want)
		}
	}
}
