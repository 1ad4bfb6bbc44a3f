package core

import "crypto/x509"

// Evidence holds what a connection or a message proves or claims about its sender. A
// door only collects it. An [Authenticator] decides who the sender is.
type Evidence struct {
	Certificates []*x509.Certificate // of the client, its own first; TLS has proved that it holds the key
	Credentials  []Credential        // of the header of a KMIP message
	BearerToken  string              // of an HTTP request; "" if none
}

// Credential is one Credential in the Authentication of a message (KMIP 1.4 §2.1.2).
// The type Username and Password is decoded. Other types keep their fields in Value.
// Password aliases the message.
type Credential struct {
	Type     CredentialType
	Username string
	Password []byte
	Value    []Field
}

// Authenticator turns evidence into principals. Safe for concurrent use.
type Authenticator interface {
	// Identify returns a function. Each call of it returns the principal that the
	// evidence proves at that time: the answer changes when a certificate is revoked
	// or expires, or a setting changes. A door calls it for each message. It calls
	// Identify again if a message has other evidence than its connection. The
	// principal stays the same pointer while nothing about it changes. Errors have
	// code AuthenticationNotSuccessful. The function is safe for concurrent use.
	Identify(e Evidence) func() (*Principal, error)
}

// Strength orders the ways to prove an identity. Greater means harder to steal.
type Strength uint8

// The strengths of proofs.
const (
	StrengthNone        Strength = iota // nothing was proved
	StrengthPassword                    // a secret that was sent
	StrengthToken                       // a short-lived token, signed by a trusted issuer
	StrengthCertificate                 // the key of a certificate, held by the client and never sent
	StrengthSystem                      // the kernel of the server's own machine confirms it
)
