package upkeep

import (
	"context"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
)

// DamagedCertificate is a certificate whose stored attributes do not agree.
type DamagedCertificate struct {
	Tenant, ID string
	Attribute  string // the attribute that is wrong
	Why        string
	Changed    int64 // the Last Change Date, Unix seconds
}

// String returns a text that says what is wrong and what to do.
func (d DamagedCertificate) String() string {
	return fmt.Sprintf("the %s of certificate %s (tenant %s) is damaged: %s. It may hold parts of other requests, keys among them. "+
		"Get the certificate and register it again, destroy this object, and replace keys that clients sent before %s.",
		d.Attribute, d.ID, d.Tenant, d.Why, time.Unix(d.Changed, 0).UTC().Format(time.RFC3339))
}

// maxDamaged bounds a list of damaged certificates.
const maxDamaged = 100

// DamagedCertificates lists X.509 certificates of all tenants whose names are
// damaged, maxDamaged at most. Early builds kept these names in memory that later
// requests overwrote, and could store the result. Neither the token nor the
// certificate is needed: each name is stored in two forms, which are compared.
func DamagedCertificates(ctx context.Context, s core.Store) (out []DamagedCertificate, err error) {
	sets, err := s.KeySets(ctx, "")
	if err != nil {
		return nil, err
	}
	tenants := map[string]bool{}
	for _, k := range sets {
		if k.State == core.KeySetActive { // no key of a deleted tenant can check a seal
			tenants[k.Tenant] = true
		}
	}
	f := core.Filter{WholeTenant: true, Attributes: core.Attributes{{Tag: core.TagObjectType, Value: core.Enum(core.ObjectTypeCertificate)}}}
	for tenant := range tenants {
		for beyond := int64(0); len(out) < maxDamaged; {
			page, err := s.Candidates(ctx, tenant, f, beyond, core.CandidatePage)
			if err != nil {
				return nil, err
			}
			for _, o := range page {
				if attribute, why := rules.CertificateDamage(o); why != "" && len(out) < maxDamaged {
					out = append(out, DamagedCertificate{o.Tenant, o.ID, attribute, why, o.Attributes.Num(core.TagLastChangeDate)})
				}
			}
			if len(page) < core.CandidatePage {
				break
			}
			beyond = page[len(page)-1].Seq
		}
	}
	return out, nil
}
