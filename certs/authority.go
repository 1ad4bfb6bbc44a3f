package certs

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
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
	key  crypto.Signer
}

// The files of the authority for enrolled clients, in a folder.
const (
	EnrollmentCertificate = "clients-ca.pem"
	EnrollmentKey         = "clients-ca-key.pem"
)

// authorityName is the common name of authorities for enrolled clients.
const authorityName = "keyreeve enrolled clients"

// MakeAuthority creates an authority for enrolled clients in a folder: a certificate, which
// is valid for ten years, and its key.
func MakeAuthority(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return initCA(dir, "clients-ca", authorityName)
}

// NewAuthorityCertificate returns the certificate of an authority for enrolled clients, whose
// ECDSA key is kept elsewhere. It is valid for ten years.
func NewAuthorityCertificate(key crypto.Signer) (*x509.Certificate, error) {
	ca := authorityTemplate(authorityName)
	der, err := x509.CreateCertificate(rand.Reader, ca, ca, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(der)
}

// WriteAuthorityCertificate writes the certificate of an authority into a folder, as
// [MakeAuthority] does.
func WriteAuthorityCertificate(dir string, certificate []byte) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	block, err := pemfile.Parse(certificate, "CERTIFICATE")
	if err != nil || len(block) != 1 {
		return errors.New("the certificate of the authority is not one PEM block")
	}
	return writePEM(filepath.Join(dir, EnrollmentCertificate), "CERTIFICATE", block[0].Bytes, 0o644)
}

// OpenAuthority reads an authority: one certificate that may sign certificates, and its ECDSA
// key (PKCS #8).
func OpenAuthority(certificate, key string) (*Authority, error) {
	private, err := readECKey(key)
	if err != nil {
		return nil, err
	}
	return OpenAuthorityWith(certificate, func(*ecdsa.PublicKey) crypto.Signer { return private })
}

// OpenAuthorityWith is [OpenAuthority] for a key that is kept elsewhere. signerOf returns the
// key that belongs to a public key. It must make a signature before it is used.
func OpenAuthorityWith(certificate string, signerOf func(*ecdsa.PublicKey) crypto.Signer) (*Authority, error) {
	cert, err := readCertificate(certificate)
	if err != nil {
		return nil, err
	}
	public, ok := cert.PublicKey.(*ecdsa.PublicKey)
	if !ok || !cert.IsCA || (cert.KeyUsage != 0 && cert.KeyUsage&x509.KeyUsageCertSign == 0) {
		return nil, fmt.Errorf("%s is not a certificate of an ECDSA key that may sign others", certificate)
	}
	a := &Authority{cert, signerOf(public)}
	digest := sha256.Sum256([]byte("keyreeve: a trial of the key of an authority"))
	signature, err := a.key.Sign(rand.Reader, digest[:], crypto.SHA256)
	if err == nil && !ecdsa.VerifyASN1(public, digest[:], signature) {
		err = errors.New("the key is that of another certificate")
	}
	if err != nil {
		return nil, fmt.Errorf("the key of %s cannot be used: %w", certificate, err)
	}
	return a, nil
}

// RevokedSerial is a line of a revocation list.
type RevokedSerial struct {
	Serial string // hex
	At     int64  // Unix seconds
}

// SignList returns a revocation list (RFC 5280 §5, DER) that is made at a time and has to be
// fetched again after a while. Its number is the time, in milliseconds.
func (a *Authority) SignList(revoked []RevokedSerial, now time.Time, life time.Duration) ([]byte, error) {
	if a.cert.KeyUsage&x509.KeyUsageCRLSign == 0 {
		return nil, errors.New("the certificate of the authority may not sign revocation lists; make one with keyreeve client authority")
	}
	list := &x509.RevocationList{Number: big.NewInt(now.UnixMilli()), ThisUpdate: now, NextUpdate: now.Add(life)}
	for _, one := range revoked {
		serial, ok := new(big.Int).SetString(one.Serial, 16)
		if !ok {
			return nil, fmt.Errorf("%q is no serial number", one.Serial)
		}
		list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: serial, RevocationTime: time.Unix(one.At, 0)})
	}
	return x509.CreateRevocationList(rand.Reader, list, a.cert, a.key)
}

// ErrAuthorityExpired means that the certificate of the authority has ended.
var ErrAuthorityExpired = errors.New("the authority for enrolled clients has expired")

// Sign returns a client certificate for the key of a request (PKCS #10, one PEM block of at
// most 16 KiB). It names a tenant and a name. What the request says about names and
// extensions is ignored. The request must be signed by its key, which proves its possession,
// and the key must be RSA of 2,048 to 8,192 bits, ECDSA on P-256, P-384 or P-521, or Ed25519.
// Otherwise the error is one of [ErrRequest]. The certificate does not last longer than the
// authority. An error of the authority's key is returned as it is.
func (a *Authority) Sign(request []byte, tenant, name string, life time.Duration) (*x509.Certificate, error) {
	asked, err := readRequest(request)
	if err != nil {
		return nil, badRequest(err)
	}
	if key, ok := a.cert.PublicKey.(*ecdsa.PublicKey); ok && key.Equal(asked.PublicKey) {
		return nil, badRequest(errors.New("the certificate request has the key of the authority"))
	}
	leaf := certificateTemplate(name, life)
	if leaf.NotAfter.After(a.cert.NotAfter) {
		leaf.NotAfter = a.cert.NotAfter
	}
	if time.Now().After(leaf.NotAfter) {
		return nil, ErrAuthorityExpired
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
