package certs

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/certs/pemfile"
)

// Authority signs certificates for clients that made their own keys. Safe for concurrent
// use.
type Authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// The files of the authority for enrolled clients, in a folder.
const (
	EnrollmentCertificate = "clients-ca.pem"
	EnrollmentKey         = "clients-ca-key.pem"
)

// MakeAuthority creates an authority for enrolled clients in a folder: a certificate, which
// is valid for ten years, and its key.
func MakeAuthority(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return initCA(dir, "clients-ca", "keyreeve enrolled clients")
}

// OpenAuthority reads an authority: one certificate that may sign certificates, and its ECDSA
// key (PKCS #8).
func OpenAuthority(certificate, key string) (*Authority, error) {
	cert, err := readCertificate(certificate)
	private, keyErr := readECKey(key)
	switch {
	case err != nil || keyErr != nil:
		return nil, errors.Join(err, keyErr)
	case !cert.IsCA || (cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0):
		return nil, fmt.Errorf("%s is not a certificate that may sign others", certificate)
	case !private.PublicKey.Equal(cert.PublicKey):
		return nil, fmt.Errorf("%s is not the key of %s", key, certificate)
	}
	return &Authority{cert, private}, nil
}

// Sign returns a client certificate for the key of a request (PKCS #10, one PEM block of at
// most 16 KiB). It names a tenant and a name. What the request says about names and
// extensions is ignored. The request must be signed by its key, which proves its possession,
// and the key must be RSA of 2,048 to 8,192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519.
// The certificate does not last longer than the authority.
func (a *Authority) Sign(request []byte, tenant, name string, life time.Duration) (*x509.Certificate, error) {
	asked, err := readRequest(request)
	if err != nil {
		return nil, err
	}
	if key, ok := asked.PublicKey.(*ecdsa.PublicKey); ok && a.key.PublicKey.Equal(key) {
		return nil, errors.New("the certificate request has the key of the authority")
	}
	leaf := certificateTemplate(name, life)
	if leaf.NotAfter.After(a.cert.NotAfter) {
		leaf.NotAfter = a.cert.NotAfter
	}
	if time.Now().After(leaf.NotAfter) {
		return nil, errors.New("the authority for enrolled clients has expired")
	}
	leaf.URIs = []*url.URL{identity.Principal{Tenant: tenant, Name: name}.URI()}
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	der, err := x509.CreateCertificate(rand.Reader, leaf, a.cert, asked.PublicKey, a.key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// PEM returns a certificate in PEM form.
func PEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// readECKey reads a file with one ECDSA key in PKCS #8.
func readECKey(path string) (*ecdsa.PrivateKey, error) {
	block, err := pemfile.One(path, "PRIVATE KEY")
	if err != nil {
		return nil, err
	}
	defer clear(block.Bytes)
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	ec, ok := key.(*ecdsa.PrivateKey)
	if err != nil || !ok {
		return nil, fmt.Errorf("%s is not an ECDSA key", filepath.Base(path))
	}
	return ec, nil
}
