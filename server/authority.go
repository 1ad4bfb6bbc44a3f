package server

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/directory"
	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/server/adminsocket"
)

// keyInHSM begins an enrollment.key that is a key in the HSM and not a file. Its ID follows.
const keyInHSM = "hsm:"

// listLife is how long a revocation list says that it can be used.
const listLife = 24 * time.Hour

// authorityKey signs with the key of an authority in the HSM. It implements [crypto.Signer].
// Safe for concurrent use.
type authorityKey struct {
	token  *custody.Custody
	id     string
	public *ecdsa.PublicKey
	limit  time.Duration // of one signature
}

func (k *authorityKey) Public() crypto.PublicKey { return k.public }

// Sign signs a SHA-256.
func (k *authorityKey) Sign(_ io.Reader, digest []byte, o crypto.SignerOpts) ([]byte, error) {
	if o.HashFunc() != crypto.SHA256 {
		return nil, core.Errorf(core.BadCryptographicParameters, "the authority signs SHA-256 alone, not %v", o.HashFunc())
	}
	ctx, cancel := context.WithTimeout(context.Background(), k.limit)
	defer cancel()
	return k.token.SignByAuthority(ctx, k.id, digest)
}

// openAuthority opens the authority for enrolled clients. It must sign something before it is
// used, so a key that is missing shows at the start.
func (c *Config) openAuthority(token *custody.Custody) (*certs.Authority, error) {
	id, inHSM := strings.CutPrefix(c.Enrollment.Key, keyInHSM)
	if !inHSM {
		return certs.OpenAuthority(c.Enrollment.Certificate, c.Enrollment.Key)
	}
	return certs.OpenAuthorityWith(c.Enrollment.Certificate, func(public *ecdsa.PublicKey) crypto.Signer {
		return &authorityKey{token, id, public, c.Limits.Operation}
	})
}

// clientSettings opens the authority for enrolled clients, if there is one.
func (c *Config) clientSettings(token *custody.Custody) (admin.ClientSettings, error) {
	out := admin.ClientSettings{InvitationLifetime: c.Enrollment.Invitation, RenewalWindow: c.Enrollment.Renewal}
	out.MakeAuthority = func(ctx context.Context) (admin.NewAuthority, error) {
		return makeAuthority(ctx, token, c.Limits.Operation)
	}
	if c.Enrollment.Certificate == "" {
		return out, nil
	}
	authority, err := c.openAuthority(token)
	if err != nil {
		return out, fmt.Errorf("the authority for clients cannot be used; see enrollment.certificate and enrollment.key: %w", err)
	}
	out.Sign = func(request []byte, tenant, name string) (admin.SignedCertificate, error) {
		leaf, err := authority.Sign(request, tenant, name, c.Enrollment.Lifetime)
		if err != nil {
			return admin.SignedCertificate{}, unsigned(err)
		}
		return admin.SignedCertificate{PEM: certs.PEM(leaf), Serial: leaf.SerialNumber.Text(16), Fingerprint: fingerprintOf(leaf), Expires: leaf.NotAfter.Unix()}, nil
	}
	out.SignList = func(revoked []directory.ClientCertificate) ([]byte, error) {
		serials := make([]certs.RevokedSerial, len(revoked))
		for i, one := range revoked {
			serials[i] = certs.RevokedSerial{Serial: one.Serial, At: one.Revoked}
		}
		return authority.SignList(serials, time.Now(), listLife)
	}
	return out, nil
}

// unsigned returns the error to answer if no certificate was issued. Only an error about the
// request is shown with its text. One of the HSM has a code and a sentence of its own.
func unsigned(err error) error {
	switch {
	case errors.Is(err, certs.ErrRequest):
		return core.Errorf(core.InvalidField, "%v", err)
	case errors.Is(err, certs.ErrAuthorityExpired):
		return core.Wrap(core.OperationNotSupported, err, "%v; see enrollment.certificate", err)
	}
	return err
}

func fingerprintOf(c *x509.Certificate) string {
	sum := sha256.Sum256(c.Raw)
	return hex.EncodeToString(sum[:])
}

// makeAuthority makes a key in the HSM and a certificate for it.
func makeAuthority(ctx context.Context, token *custody.Custody, limit time.Duration) (admin.NewAuthority, error) {
	id, spki, err := token.MakeAuthorityKey(ctx)
	if err != nil {
		return admin.NewAuthority{}, err
	}
	public, err := x509.ParsePKIXPublicKey(spki)
	if err != nil {
		return admin.NewAuthority{}, err
	}
	cert, err := certs.NewAuthorityCertificate(&authorityKey{token, id, public.(*ecdsa.PublicKey), limit})
	if err != nil {
		return admin.NewAuthority{}, err
	}
	return admin.NewAuthority{Key: keyInHSM + id, Certificate: certs.PEM(cert), Fingerprint: fingerprintOf(cert)}, nil
}

// NewAuthority is an authority for enrolled clients whose key is in the HSM, as commands see
// it.
type NewAuthority struct {
	Key         string `json:"key"`         // for enrollment.key
	Certificate string `json:"certificate"` // PEM
}

func createAuthority(d *adminDoor, ctx context.Context, c *core.Caller, _ *adminsocket.Question) (any, error) {
	made, err := d.clients.CreateAuthority(ctx, c)
	return NewAuthority{made.Key, string(made.Certificate)}, err
}

// RevocationList is a revocation list as commands see it.
type RevocationList struct {
	CRL []byte `json:"crl"` // DER
}

func readRevocations(d *adminDoor, ctx context.Context, c *core.Caller, _ *adminsocket.Question) (any, error) {
	der, err := d.clients.Revocations(ctx, c)
	return RevocationList{der}, err
}
