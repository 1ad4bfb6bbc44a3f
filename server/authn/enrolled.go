package authn

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math"
	"time"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/core"
)

// NamedByEnrollment is the Principal.NamedBy of enrolled clients.
const NamedByEnrollment = "enrollment"

// EnrolledClients is where the clients are looked up whose certificates this server has
// issued. It answers from memory. Safe for concurrent use.
type EnrolledClients interface {
	// Revision returns a number that changes with each change of a client. It fails with
	// StoreUnavailable if changes may have been missed.
	Revision() (uint64, error)
	// Admit returns the groups, the roles and the group for new keys of a client whose
	// certificate has a SHA-256 (hex). It fails if there is no such client, or the certificate
	// is not one of it or was revoked.
	Admit(tenant, name, fingerprint string) (groups, roles []string, keyGroup string, err error)
}

// nobodyEnrolled has no clients.
type nobodyEnrolled struct{}

func (nobodyEnrolled) Revision() (uint64, error) { return 0, nil }
func (nobodyEnrolled) Admit(string, string, string) (groups, roles []string, keyGroup string, err error) {
	return nil, nil, "", core.Errorf(core.ItemNotFound, "nobody is enrolled here")
}

// loadEnrollment reads the certificate of the authority for enrolled clients; nil if there is
// none.
func loadEnrollment(file string) (*x509.Certificate, error) {
	if file == "" {
		return nil, nil
	}
	all, err := pemfile.Certificates(file)
	if err == nil && (len(all) != 1 || !all[0].IsCA || all[0].CheckSignatureFrom(all[0]) != nil) {
		err = fmt.Errorf("%s must have one certificate of an authority, signed by itself", file)
	}
	if err != nil {
		return nil, fmt.Errorf("enrollment.certificate cannot be used: %w", err)
	}
	return all[0], nil
}

// mayBeEnrolled reports whether a chain claims to be of the authority for enrolled clients. The
// verdict about it then depends on the directory.
func (t *trust) mayBeEnrolled(peer []*x509.Certificate) bool {
	return t.enrollment != nil && len(peer) > 0 && bytes.Equal(peer[0].RawIssuer, t.enrollment.RawSubject)
}

// enrolledChain returns the chain that ends at the authority for enrolled clients, or nil.
func (t *trust) enrolledChain(chains [][]*x509.Certificate) []*x509.Certificate {
	for _, chain := range chains {
		if t.enrollment != nil && authorityKey(chain[len(chain)-1]) == authorityKey(t.enrollment) {
			return chain
		}
	}
	return nil
}

// findEnrolled returns the principal of an enrolled client. The directory decides: it must list
// the certificate, and it has the groups and roles. Grants and mappings do not count.
func (t *trust) findEnrolled(chain []*x509.Certificate) (*principalNames, error) {
	named, ok := identity.Of(chain[0])
	if !ok || len(chain) != 2 || named.Tenant == core.SystemTenant {
		return nil, refuse("the client certificate is not one that this server has issued")
	}
	sum := sha256.Sum256(chain[0].Raw)
	groups, roles, keyGroup, err := t.enrolled.Admit(named.Tenant, named.Name, hex.EncodeToString(sum[:]))
	if err != nil {
		return nil, core.Wrap(core.AuthenticationNotSuccessful, err, "the client %s/%s with the certificate %s is not enrolled, or that cannot be found out now: %v", named.Tenant, named.Name, chain[0].SerialNumber.Text(16), err)
	}
	return &principalNames{tenant: named.Tenant, name: named.Name, groups: groups, roles: roles, keyGroup: keyGroup, namedBy: NamedByEnrollment}, nil
}

// noRevision is the revision of a verdict that is judged again for each message.
const noRevision = math.MaxUint64

// enrolledRevision returns the revision of the enrolled clients. If changes may have been
// missed, it is noRevision.
func (t *trust) enrolledRevision() uint64 {
	revision, err := t.enrolled.Revision()
	if err != nil {
		return noRevision
	}
	return revision
}

// isOutdated reports whether a verdict must be made again.
func (v *verdict) isOutdated(t *trust, now time.Time) bool {
	if v.trust != t || (!v.validUntil.IsZero() && now.After(v.validUntil)) {
		return true
	}
	return v.ofEnrolled && (v.revision == noRevision || v.revision != t.enrolledRevision())
}
