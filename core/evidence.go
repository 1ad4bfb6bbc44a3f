package core

import "crypto/x509"

// Evidence is what a connection or a message proves, or claims, about who asks. Who
// that is decides an [Authenticator]; a door only collects.
type Evidence struct {
	Certificates []*x509.Certificate // of the client, its own first; TLS has proved that it holds the key
	Credentials  []Credential        // of the header of a KMIP message
	BearerToken  string              // of an HTTP request; "" if none
}

// Credential is one of the Authentication's (KMIP 1.4 §2.1.2). Username and Password
// is read; of the others the fields stay in Value. Password belongs to the message.
type Credential struct {
	Type     CredentialType
	Username string
	Password []byte
	Value    []Field
}

// Authenticator turns evidence into principals. Safe for concurrent use.
type Authenticator interface {
	// Identify returns a function that tells whom the evidence proves now: the
	// answer changes when a certificate is revoked or expires, or a setting changes.
	// A door asks it for each message, and calls Identify again if a message brings
	// other evidence than its connection. The principal stays the same pointer while
	// nothing about it changes. Errors have code AuthenticationNotSuccessful. The
	// function may be called by several goroutines at once.
	Identify(e Evidence) func() (*Principal, error)
}

// Strength orders the ways in which a principal can have proved itself. A greater
// one is harder to steal.
type Strength uint8

// The strengths of proofs.
const (
	StrengthNone        Strength = iota // nothing was proved
	StrengthPassword                    // a secret that was sent
	StrengthToken                       // a token that ends soon, signed by somebody who is trusted
	StrengthCertificate                 // the key of a certificate, held by the client and never sent
	StrengthSystem                      // the kernel of the server's own machine says so
)
