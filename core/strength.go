package core

import "slices"

// Strength orders the ways to prove an identity. Greater means harder to steal.
type Strength uint8

// The strengths of proofs.
const (
	StrengthNone        Strength = iota // nothing was proved
	StrengthPassword                    // a secret that was sent
	StrengthToken                       // a short-lived token, signed by a trusted issuer
	StrengthCode                        // a secret that was sent, and a code that is good once
	StrengthCertificate                 // the key of a certificate, held by the client and never sent
	StrengthSystem                      // the kernel of the server's own machine confirms it
)

var strengthNames = [...]string{StrengthNone: "none", StrengthPassword: "password", StrengthToken: "token", StrengthCode: "code", StrengthCertificate: "certificate", StrengthSystem: "system"}

// Strengths lists the strengths, weakest first.
func Strengths() []Strength {
	return []Strength{StrengthNone, StrengthPassword, StrengthToken, StrengthCode, StrengthCertificate, StrengthSystem}
}

// StrengthNamed returns the strength with a name; StrengthNone if there is none.
func StrengthNamed(name string) Strength {
	return Strength(max(0, slices.Index(strengthNames[:], name)))
}

// String returns the name of s that policies use. A number without a name is "none".
func (s Strength) String() string {
	if int(s) >= len(strengthNames) {
		s = StrengthNone
	}
	return strengthNames[s]
}
