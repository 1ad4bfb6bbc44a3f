package bundle

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"software.sslmate.com/src/go-pkcs12"

	"github.com/keyreeve/keyreeve/certs/pemfile"
)

// Bundle is a folder whose files are being made: [New], [Bundle.Request], [Bundle.Finish]. If
// one of these fails, call [Bundle.Remove]. It is not safe for concurrent use.
type Bundle struct {
	product Product
	name    string // of the client
	folder  string // an absolute path
	key     crypto.Signer
	files   []file
	serial  string // of the certificate, in hex
}

// file is a file of the bundle. It is made empty, so that a file that cannot be made is noticed
// before the server issues a certificate.
type file struct {
	Name    string
	What    string // for people
	place   string // in Settings and Notes
	content func(b *Bundle, certificate *x509.Certificate, authority []*x509.Certificate) ([]byte, error)
	made    *os.File
}

// Authority is the file of the server's authority in each bundle.
const Authority = "server-ca.pem"

// Choice is how a bundle differs from what its product has. Zero fields do not differ.
type Choice struct {
	Form Form
	Key  KeyType
}

// New makes the folder of a bundle, which must not exist, its empty files and its key. If
// ownRequest is true the product has made the key.
func New(folder, name string, p Product, c Choice, ownRequest bool) (*Bundle, error) {
	if c.Form != "" {
		p.Form = c.Form
	}
	if c.Key != "" {
		p.Key = c.Key
	}
	if ownRequest {
		p.Form = FormRequest
	}
	folder, err := filepath.Abs(folder)
	if err != nil {
		return nil, err
	}
	b := &Bundle{product: p, name: name, folder: folder, files: filesOf(p.Form, name)}
	if p.Form != FormRequest {
		if b.key, err = makeKey(p.Key); err != nil {
			return nil, err
		}
	}
	if err := os.Mkdir(folder, 0o700); errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s exists already, and nothing is overwritten; name a new folder with --out", folder)
	} else if err != nil {
		return nil, err
	}
	for i := range b.files {
		f := &b.files[i]
		if f.made, err = os.OpenFile(filepath.Join(folder, f.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return nil, errors.Join(err, b.Remove())
		}
	}
	return b, nil
}

// filesOf returns the files of a form, for a client of a name.
func filesOf(form Form, name string) []file {
	authority := file{Name: Authority, What: "the authority of the server (PEM)", place: "ca", content: (*Bundle).authorityText}
	certificate := file{Name: name + ".pem", What: "the certificate (PEM)", place: "certificate", content: (*Bundle).certificateText}
	key := file{Name: name + "-key.pem", What: "its private key (PEM), a secret", place: "key", content: (*Bundle).keyText}
	switch form {
	case FormRequest:
		return []file{certificate, authority}
	case FormCombined:
		both := file{Name: name + ".pem", What: "the certificate and its private key (PEM), a secret", place: "certificate", content: func(b *Bundle, c *x509.Certificate, a []*x509.Certificate) ([]byte, error) {
			text, err := b.certificateText(c, a)
			if err != nil {
				return nil, err
			}
			secret, err := b.keyText(c, a)
			defer clear(secret)
			return append(text, secret...), err
		}}
		return []file{both, authority}
	case FormPKCS12:
		password := rand.Text()
		return []file{
			{Name: name + ".p12", What: "the certificate and its private key (PKCS #12), a secret", place: "pkcs12", content: func(b *Bundle, c *x509.Certificate, _ []*x509.Certificate) ([]byte, error) {
				return pkcs12.Modern.Encode(b.key, c, nil, password)
			}},
			{Name: name + "-password.txt", What: "the password of the PKCS #12 file, a secret", place: "password", content: func(*Bundle, *x509.Certificate, []*x509.Certificate) ([]byte, error) {
				return []byte(password + "\n"), nil
			}},
			authority,
		}
	}
	return []file{certificate, key, authority}
}

func makeKey(t KeyType) (crypto.Signer, error) {
	switch t {
	case KeyP256:
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case KeyP384:
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case KeyRSA2048:
		return rsa.GenerateKey(rand.Reader, 2048)
	case KeyRSA4096:
		return rsa.GenerateKey(rand.Reader, 4096)
	}
	return nil, fmt.Errorf("%q is no type of key", t)
}

// Request returns a certificate request (PEM) for the key of the bundle.
func (b *Bundle) Request() ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: b.name}}, b.key)
	if err != nil {
		return nil, err
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// Finish writes the files: certificate is the client's (PEM), authority what the client trusts.
func (b *Bundle) Finish(certificate []byte, authority []*x509.Certificate) error {
	blocks, err := pemfile.Parse(certificate, "CERTIFICATE")
	if err != nil || len(blocks) != 1 {
		return errors.New("the server's answer is not one certificate")
	}
	issued, err := x509.ParseCertificate(blocks[0].Bytes)
	if err != nil {
		return err
	}
	if public, ok := issued.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); b.key != nil && (!ok || !public.Equal(b.key.Public())) {
		return errors.New("the server's answer is a certificate for another key")
	}
	b.serial = issued.SerialNumber.Text(16)
	for i := range b.files {
		f := &b.files[i]
		text, err := f.content(b, issued, authority)
		if err == nil {
			_, err = f.made.Write(text)
		}
		clear(text)
		if err := errors.Join(err, f.made.Sync(), f.made.Close()); err != nil {
			return fmt.Errorf("%s was not written: %w", f.Name, err)
		}
		f.made = nil
	}
	return nil
}

// Remove removes the folder with the files that were made in it. It removes no other file. A file
// that cannot be removed keeps no other one.
func (b *Bundle) Remove() error {
	var failed error
	for i := range b.files {
		f := &b.files[i]
		if f.made != nil {
			f.made.Close()
		}
		if err := os.Remove(filepath.Join(b.folder, f.Name)); err != nil && !errors.Is(err, os.ErrNotExist) {
			failed = errors.Join(failed, err)
		}
	}
	return errors.Join(failed, os.Remove(b.folder))
}

func (b *Bundle) certificateText(c *x509.Certificate, _ []*x509.Certificate) ([]byte, error) {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}), nil
}

func (b *Bundle) authorityText(_ *x509.Certificate, authority []*x509.Certificate) (text []byte, err error) {
	for _, c := range authority {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	return text, nil
}

func (b *Bundle) keyText(*x509.Certificate, []*x509.Certificate) ([]byte, error) {
	block := pem.Block{Type: "PRIVATE KEY"}
	var err error
	switch key := b.key.(type) {
	case *rsa.PrivateKey:
		if b.product.Form == FormTraditional {
			block = pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}
			break
		}
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
	case *ecdsa.PrivateKey:
		if b.product.Form == FormTraditional {
			block.Type = "EC PRIVATE KEY"
			block.Bytes, err = x509.MarshalECPrivateKey(key)
			break
		}
		block.Bytes, err = x509.MarshalPKCS8PrivateKey(key)
	}
	defer clear(block.Bytes)
	return pem.EncodeToMemory(&block), err
}
