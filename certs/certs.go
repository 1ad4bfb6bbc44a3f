// Package certs creates a simple certificate authority, and certificates of servers and
// clients, for development, tests and small installations. An [Authority] signs the
// certificates of clients that enroll at a server.
//
// A client certificate names its principal in a URI: see package identity. Keys are
// ECDSA P-256. Only the owner can read key files. Existing files are never overwritten.
// Start at [Init] and [Issue].
package certs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/certs/pemfile"
)

// Lifetimes.
const (
	caLife   = 10 * 365 * 24 * time.Hour
	leafLife = 365 * 24 * time.Hour
	backdate = time.Hour // for clocks that are behind
)

// Request asks for a client certificate.
type Request struct {
	Name   string
	Tenant string
	Groups []string
	Roles  []string
	TTL    time.Duration // 0: a year
}

// Init creates dir/certs with an authority, one for enrolled clients, and a server
// certificate for the loopback addresses, unless they exist.
func Init(dir string) error {
	certs := filepath.Join(dir, "certs")
	if err := os.MkdirAll(certs, 0o700); err != nil {
		return err
	}
	if err := makeIfAbsent(filepath.Join(certs, "ca.pem"), func() error { return initCA(certs, "ca", "keyreeve development CA") }); err != nil {
		return err
	}
	if err := makeIfAbsent(filepath.Join(certs, EnrollmentCertificate), func() error { return MakeAuthority(certs) }); err != nil {
		return err
	}
	return makeIfAbsent(filepath.Join(certs, "server.pem"), func() error { return initServer(certs) })
}

func makeIfAbsent(path string, f func() error) error {
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return f()
}

func initCA(certs, file, name string) error {
	key, err := newKey(certs, file)
	if err != nil {
		return err
	}
	ca := authorityTemplate(name)
	return writeCertificate(certs, file, ca, ca, key, key)
}

// authorityTemplate is certificateTemplate for an authority.
func authorityTemplate(name string) *x509.Certificate {
	ca := certificateTemplate(name, caLife)
	ca.IsCA, ca.KeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign
	return ca
}

func initServer(certs string) error {
	server := certificateTemplate("localhost", leafLife)
	server.DNSNames = []string{"localhost"}
	server.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}
	server.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
	return issueCertificate(certs, "server", server)
}

// Issue creates dir/certs/NAME.pem and NAME-key.pem.
func Issue(dir string, r Request) error {
	for _, s := range append(append([]string{r.Name, r.Tenant}, r.Groups...), r.Roles...) {
		if !identity.ValidName(s) {
			return fmt.Errorf("%q cannot be a name, tenant, group or role: use letters, digits, '.', '_' and '-', at most 64", s)
		}
	}
	if r.Name == "ca" || r.Name == "server" || r.Name == "crl" || r.Name == "clients-ca" || strings.HasSuffix(r.Name, "-key") {
		return fmt.Errorf("the name %s cannot be used: its files would have the names of other files", r.Name)
	}
	if r.Tenant == "system" { // core.SystemTenant; the server refuses such a certificate
		return fmt.Errorf("tenant %q is reserved for the server; choose another", r.Tenant)
	}
	if r.TTL == 0 {
		r.TTL = leafLife
	}
	leaf := certificateTemplate(r.Name, r.TTL)
	leaf.URIs = []*url.URL{identity.Principal{Tenant: r.Tenant, Name: r.Name, Groups: r.Groups, Roles: r.Roles}.URI()}
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	return issueCertificate(filepath.Join(dir, "certs"), r.Name, leaf)
}

func certificateTemplate(cn string, life time.Duration) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		panic(err) // the system has no randomness
	}
	now := time.Now()
	return &x509.Certificate{SerialNumber: serial, Subject: pkix.Name{CommonName: cn}, NotBefore: now.Add(-backdate), NotAfter: now.Add(life),
		KeyUsage: x509.KeyUsageDigitalSignature, BasicConstraintsValid: true}
}

// issueCertificate makes a key and a certificate of the authority in a folder.
func issueCertificate(certs, name string, leaf *x509.Certificate) error {
	ca, caKey, err := authority(certs)
	if err != nil {
		return err
	}
	key, err := newKey(certs, name)
	if err != nil {
		return err
	}
	return writeCertificate(certs, name, leaf, ca, key, caKey)
}

// Fingerprint returns the SHA-256 of the authority's certificate in dir/certs, in hex: of
// the certificate in ca.pem that ca-key.pem belongs to. Certificates of other
// authorities may have been added to the file.
func Fingerprint(dir string) (string, error) {
	ca, _, err := authority(filepath.Join(dir, "certs"))
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(ca.Raw)
	return hex.EncodeToString(sum[:]), nil
}

func authority(certs string) (*x509.Certificate, *ecdsa.PrivateKey, error) {
	all, err := pemfile.Certificates(filepath.Join(certs, "ca.pem"))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, fmt.Errorf("there is no certificate authority here (%w); start `keyreeve serve --dev` once in this folder", err)
	}
	if err != nil {
		return nil, nil, err
	}
	ec, err := readECKey(filepath.Join(certs, "ca-key.pem"))
	if err != nil {
		return nil, nil, err
	}
	for _, c := range all {
		if ec.PublicKey.Equal(c.PublicKey) {
			return c, ec, nil
		}
	}
	return nil, nil, errors.New("ca-key.pem is not the key of a certificate in ca.pem")
}

// newKey writes a new key to NAME-key.pem. A key without a certificate is left by a process that was
// killed between the two: it is returned, so that its certificate is made now. It fails if NAME.pem
// is there.
func newKey(certs, name string) (*ecdsa.PrivateKey, error) {
	if path := filepath.Join(certs, name+".pem"); exists(path) {
		return nil, existsAlready(path)
	}
	keyFile := filepath.Join(certs, name+"-key.pem")
	if exists(keyFile) {
		return readECKey(keyFile)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, err
	}
	defer clear(der)
	return key, writePEM(keyFile, "PRIVATE KEY", der, 0o600)
}

// writeCertificate makes and writes the certificate of a key.
func writeCertificate(certs, name string, leaf, parent *x509.Certificate, key, parentKey *ecdsa.PrivateKey) error {
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, &key.PublicKey, parentKey)
	if err != nil {
		return err
	}
	return writePEM(filepath.Join(certs, name+".pem"), "CERTIFICATE", der, 0o644)
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, os.ErrNotExist)
}

func existsAlready(path string) error {
	return fmt.Errorf("%s exists already; remove it, or choose another name", path)
}

// writePEM writes a new file. It never overwrites one, because it may be in use. The file has its
// name only when it is whole, even if the process is killed.
func writePEM(path, typ string, der []byte, mode os.FileMode) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*.pem")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := errors.Join(f.Chmod(mode), pem.Encode(f, &pem.Block{Type: typ, Bytes: der}), f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); !errors.Is(err, os.ErrExist) {
		return err
	}
	return existsAlready(path)
}

// readCertificate reads a file with one certificate.
func readCertificate(path string) (*x509.Certificate, error) {
	block, err := pemfile.One(path, "CERTIFICATE")
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(block.Bytes)
}

// Revoke adds the certificate dir/certs/NAME.pem to the revocation list of the
// authority, dir/certs/crl.pem. The server reads the file again when it changes.
func Revoke(dir, name string) error {
	certs := filepath.Join(dir, "certs")
	if !identity.ValidName(name) {
		return fmt.Errorf("%q cannot be the name of a certificate", name)
	}
	leaf, err := readCertificate(filepath.Join(certs, name+".pem"))
	if err != nil {
		return fmt.Errorf("the certificate %q cannot be read, so it was not revoked: %w", name, err)
	}
	ca, key, err := authority(certs)
	if err != nil {
		return err
	}
	unlock, err := lockFolder(certs)
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(certs, "crl.pem")
	list, err := nextList(path, ca)
	if err != nil {
		return err
	}
	list.RevokedCertificateEntries = append(list.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: leaf.SerialNumber, RevocationTime: time.Now()})
	crl, err := x509.CreateRevocationList(rand.Reader, list, ca, key)
	if err != nil {
		return err
	}
	// A new file is renamed, so that the server never reads half a list.
	tmp := path + ".new"
	os.Remove(tmp) // left by a killed process
	if err := writePEM(tmp, "X509 CRL", crl, 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

// nextList returns a list with the entries of the list at path, which servers accept as
// newer even if the clock went back. An existing list must be whole and signed by the
// authority: a new one in its place would let all revoked clients in again.
func nextList(path string, ca *x509.Certificate) (*x509.RevocationList, error) {
	now := time.Now()
	next := &x509.RevocationList{Number: big.NewInt(now.UnixNano()), ThisUpdate: now.Add(-backdate), NextUpdate: now.Add(caLife)}
	block, err := pemfile.One(path, "X509 CRL")
	if errors.Is(err, os.ErrNotExist) {
		return next, nil
	}
	if err != nil {
		return nil, fmt.Errorf("the revocation list is damaged (%w); replace it by a copy of the last good one", err)
	}
	old, err := x509.ParseRevocationList(block.Bytes)
	if err == nil {
		err = old.CheckSignatureFrom(ca)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is not a revocation list of this authority (%w); replace it by a copy of the last good one", path, err)
	}
	if old.Number != nil && old.Number.Cmp(next.Number) >= 0 {
		next.Number = new(big.Int).Add(old.Number, big.NewInt(1))
	}
	if old.ThisUpdate.After(next.ThisUpdate) {
		next.ThisUpdate = old.ThisUpdate
	}
	next.RevokedCertificateEntries = old.RevokedCertificateEntries
	return next, nil
}

// lockFolder locks the folder until unlock or the end of the process, so that no entry is
// lost if two processes revoke at once.
func lockFolder(certs string) (unlock func() error, err error) {
	d, err := os.Open(certs)
	if err != nil {
		return nil, err
	}
	if err := unix.Flock(int(d.Fd()), unix.LOCK_EX); err != nil {
		d.Close()
		return nil, err
	}
	return d.Close, nil
}
