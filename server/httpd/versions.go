package httpd

import (
	"net/http"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
)

// version is the number of the newest version of what can be changed. It is its ETag.
type version int64

func (v version) setHeaders(h http.Header) {
	h.Set("ETag", strconv.Quote(strconv.FormatInt(int64(v), 10)))
}

// savedVersion is the part of an answer about a user, a role or a policy that sets its headers.
type savedVersion struct {
	Version  version `json:"version"`
	location string  // path of what the request created; empty if it created nothing
}

func (v savedVersion) setHeaders(h http.Header) {
	v.Version.setHeaders(h)
	if v.location != "" {
		h.Set("Location", v.location)
	}
}

// changesVersions lists the routes that replace a version and honour If-Match.
var changesVersions = map[string]bool{
	"PUT /v1/policies/{policyId}": true, "DELETE /v1/policies/{policyId}": true, "POST /v1/policies/{policyId}/rollback": true, "POST /v1/policies/{policyId}/withdraw": true,
	"PATCH /v1/users/{name}": true, "DELETE /v1/users/{name}": true, "PATCH /v1/roles/{name}": true, "DELETE /v1/roles/{name}": true,
	"PATCH /v1/clients/{name}": true, "DELETE /v1/clients/{name}": true,
	"PATCH /v1/tenants/{tenantId}": true, "DELETE /v1/tenants/{tenantId}": true,
}

// checkIfMatch refuses an If-Match that the route does not honour, or that is not one
// version.
func (to *route) checkIfMatch(r *http.Request) error {
	given := r.Header.Values("If-Match")
	switch {
	case len(given) == 0:
		return nil
	case !changesVersions[to.pattern()]:
		return core.Errorf(core.InvalidField, "%s takes no If-Match; leave it out", to.pattern())
	case len(given) != 1 || expectedVersion(r) == nil:
		return core.Errorf(core.InvalidField, "If-Match must be one ETag as it was answered, such as \"3\"")
	}
	return nil
}

// expectedVersion returns the version that If-Match names, nil if there is none. An
// If-Match that cannot be read was refused by checkIfMatch.
func expectedVersion(r *http.Request) *int64 {
	text := r.Header.Get("If-Match")
	if len(text) < 3 || text[0] != '"' || text[len(text)-1] != '"' {
		return nil
	}
	n, err := strconv.ParseInt(text[1:len(text)-1], 10, 64)
	if err != nil || n < 1 || strconv.Quote(strconv.FormatInt(n, 10)) != text {
		return nil
	}
	return &n
}
