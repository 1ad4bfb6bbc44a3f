package identity

import (
	"crypto/x509/pkix"
	"encoding/asn1"
)

// NameText returns the text of a DER name (RFC 4514), in the order of the certificate.
// An operator can copy it into tls.principals.
func NameText(raw []byte) string {
	var seq pkix.RDNSequence
	if rest, err := asn1.Unmarshal(raw, &seq); err != nil || len(rest) > 0 {
		return "a name that cannot be read"
	}
	return seq.String()
}
