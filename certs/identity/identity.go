// Package identity writes and reads the URI in a client certificate that names its
// principal: keyreeve://TENANT/NAME, with groups and roles as its query.
//
// It decides nothing: the server decides which tenants and roles an authority may name.
// Start at [Of].
package identity

import (
	"crypto/x509"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

// Principal is the principal that a URI names.
type Principal struct {
	Tenant string
	Name   string
	Groups []string
	Roles  []string
}

// scheme is the scheme of the URIs.
const scheme = "keyreeve"

// maxNamed bounds the groups of a principal, and its roles.
const maxNamed = 64

// nameForm is the form of names, tenants, groups and roles. They have no special meaning
// in a path, a URI or a log.
var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

// ValidName reports whether s may be a name, tenant, group or role.
func ValidName(s string) bool { return nameForm.MatchString(s) }

// URI returns the URI that names p.
func (p Principal) URI() *url.URL {
	q := url.Values{}
	if len(p.Groups) > 0 {
		q["group"] = p.Groups
	}
	if len(p.Roles) > 0 {
		q["role"] = p.Roles
	}
	return &url.URL{Scheme: scheme, Host: p.Tenant, Path: "/" + p.Name, RawQuery: q.Encode()}
}

// Of returns the principal that the URI of a certificate names. It returns false
// if there is no such URI, more than one, or one that [Principal.URI] does not make.
func Of(c *x509.Certificate) (p Principal, ok bool) {
	var found *url.URL
	for _, u := range c.URIs {
		if strings.EqualFold(u.Scheme, scheme) {
			if found != nil {
				return p, false
			}
			found = u
		}
	}
	if found == nil || found.User != nil || found.Fragment != "" {
		return p, false
	}
	q, err := url.ParseQuery(found.RawQuery)
	p = Principal{Tenant: found.Host, Name: strings.TrimPrefix(found.Path, "/"), Groups: q["group"], Roles: q["role"]}
	for key := range q {
		if key != "group" && key != "role" {
			return p, false
		}
	}
	return p, err == nil && p.wellFormed() && len(p.Groups) <= maxNamed && len(p.Roles) <= maxNamed
}

// wellFormed reports whether all names of a principal are valid.
func (p Principal) wellFormed() bool {
	return !slices.ContainsFunc(slices.Concat([]string{p.Tenant, p.Name}, p.Groups, p.Roles), func(s string) bool { return !ValidName(s) })
}
