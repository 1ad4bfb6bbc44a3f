package certs

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/keyreeve/keyreeve/certs/pemfile"
)

// maxRequestBytes bounds a certificate request in PEM form.
const maxRequestBytes = 16 << 10

// ErrRequest is in the chain of the errors for which a certificate request is to blame.
var ErrRequest = errors.New("no certificate was issued")

func badRequest(why error) error { return fmt.Errorf("%w: %w", ErrRequest, why) }

func readRequest(text []byte) (*x509.CertificateRequest, error) {
	if len(text) > maxRequestBytes {
		return nil, fmt.Errorf("the certificate request has %d bytes and may have %d", len(text), maxRequestBytes)
	}
	blocks, err := pemfile.Parse(text, "CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST")
	if err != nil || len(blocks) != 1 {
		return nil, errors.New("the certificate request is not one PEM block CERTIFICATE REQUEST; openssl req -new makes one")
	}
	asked, err := x509.ParseCertificateRequest(blocks[0].Bytes)
	if err != nil {
		return nil, errors.New("the certificate request cannot be read; openssl req -new makes one")
	}
	if err := checkRequestKey(asked); err != nil {
		return nil, err
	}
	if !slices.Contains(requestSignatures, asked.SignatureAlgorithm) {
		return nil, fmt.Errorf("the certificate request is signed with %v; use SHA-256, SHA-384 or SHA-512, or Ed25519", asked.SignatureAlgorithm)
	}
	if asked.CheckSignature() != nil {
		return nil, errors.New("the certificate request is not signed by its own key")
	}
	return asked, nil
}

var requestSignatures = []x509.SignatureAlgorithm{
	x509.SHA256WithRSA, x509.SHA384WithRSA, x509.SHA512WithRSA, x509.SHA256WithRSAPSS, x509.SHA384WithRSAPSS, x509.SHA512WithRSAPSS,
	x509.ECDSAWithSHA256, x509.ECDSAWithSHA384, x509.ECDSAWithSHA512, x509.PureEd25519,
}

// Bounds of an RSA key. Longer ones make each handshake slow.
const (
	minRequestRSA = 2048
	maxRequestRSA = 8192
	minExponent   = 65537
)

func checkRequestKey(asked *x509.CertificateRequest) error {
	switch key := asked.PublicKey.(type) {
	case *rsa.PublicKey:
		if bits := key.N.BitLen(); bits < minRequestRSA || bits > maxRequestRSA || key.E < minExponent {
			return fmt.Errorf("the RSA key of the certificate request has %d bits and the exponent %d; use %d to %d bits and %d", bits, key.E, minRequestRSA, maxRequestRSA, minExponent)
		}
		return nil
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return errors.New("the key of the certificate request is on another curve than P-256, P-384 and P-521")
		}
		return nil
	case ed25519.PublicKey:
		return nil
	}
	return errors.New("the key of the certificate request must be RSA, ECDSA or Ed25519")
}
