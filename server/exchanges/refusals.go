package exchanges

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/core"
)

// Bounds of the refused handshakes that are kept. Anyone can send certificates that claim
// anything, so one address has few of them.
const (
	maxRefusals = 512
	perAddress  = 16
	maxWhy      = 400 // bytes
	maxName     = 200 // bytes
)

// Refusal is a connection that was refused before its first request. What it says of the
// certificate is what the certificate says. Unless an authority has verified it, anyone can have
// made it.
type Refusal struct {
	At          time.Time
	Address     string
	Why         string
	Verified    bool // an authority of tls.client_ca has signed the certificate
	Subject     string
	Serial      string // hex
	Issuer      string
	Fingerprint string // SHA-256, hex
	NotAfter    time.Time

	claimed    identity.Principal // zero: the certificate has no keyreeve URI
	commonName string
}

// KeepRefused keeps a connection that was refused, unless it came without a certificate.
func (k *Keeper) KeepRefused(at time.Time, address string, sent []*x509.Certificate, verified bool, why string) {
	if len(sent) == 0 {
		return
	}
	leaf := sent[0]
	sum := sha256.Sum256(leaf.Raw)
	claimed, ok := identity.Of(leaf)
	if !ok {
		claimed = identity.Principal{}
	}
	r := Refusal{At: at, Address: address, Why: core.Printable(why, maxWhy), Verified: verified, Subject: core.Printable(identity.NameText(leaf.RawSubject), maxName), Serial: core.Printable(leaf.SerialNumber.Text(16), maxName),
		Issuer: core.Printable(identity.NameText(leaf.RawIssuer), maxName), Fingerprint: hex.EncodeToString(sum[:]), NotAfter: leaf.NotAfter,
		claimed: identity.Principal{Tenant: claimed.Tenant, Name: claimed.Name}, commonName: core.Printable(leaf.Subject.CommonName, maxName)}
	k.mu.Lock()
	defer k.mu.Unlock()
	ofAddress := func(kept Refusal) bool { return kept.Address == address }
	sameAddress := 0
	for _, kept := range k.refused {
		if ofAddress(kept) {
			sameAddress++
		}
	}
	switch {
	case sameAddress >= perAddress:
		oldest := slices.IndexFunc(k.refused, ofAddress)
		k.refused = slices.Delete(k.refused, oldest, oldest+1)
	case len(k.refused) >= maxRefusals:
		k.refused = slices.Delete(k.refused, 0, 1)
	}
	k.refused = append(k.refused, r)
}

// Refused returns the refused connections whose certificate claims to be of a principal, newest
// first. A certificate without a keyreeve URI claims no tenant: it is returned by its common
// name, and only if byCommonName.
func (k *Keeper) Refused(tenant, principal string, byCommonName bool) (out []Refusal) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, r := range slices.Backward(k.refused) {
		named := r.claimed.Name == principal && r.claimed.Tenant == tenant
		if r.claimed.Name == "" {
			named = byCommonName && r.commonName == principal
		}
		if named && len(out) < perClient {
			out = append(out, r)
		}
	}
	return out
}
