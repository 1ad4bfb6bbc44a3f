package door

import (
	"net/http"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
)

// Version is the number of the newest version of what can be changed. It is its ETag.
type Version int64

// SetHeaders sets the ETag.
func (v Version) SetHeaders(h http.Header) {
	h.Set("ETag", strconv.Quote(strconv.FormatInt(int64(v), 10)))
}

// SavedVersion is the part of an answer about a user, a role or a policy that sets its headers.
type SavedVersion struct {
	Version  Version `json:"version"`
	Location string  `json:"-"` // path of what the request created; empty if it created nothing
}

// SetHeaders sets ETag and Location.
func (v SavedVersion) SetHeaders(h http.Header) {
	v.Version.SetHeaders(h)
	if v.Location != "" {
		h.Set("Location", v.Location)
	}
}

// checkIfMatch refuses an If-Match that the route does not honour, or that is not one
// version.
func (to *Route) checkIfMatch(r *http.Request) error {
	given := r.Header.Values("If-Match")
	switch {
	case len(given) == 0:
		return nil
	case !to.changes:
		return core.Errorf(core.InvalidField, "%s takes no If-Match; leave it out", to.Pattern())
	case len(given) != 1 || ExpectedVersion(r) == nil:
		return core.Errorf(core.InvalidField, "If-Match must be one ETag as it was answered, such as \"3\"")
	}
	return nil
}

// ExpectedVersion returns the version that If-Match names, nil if there is none. An
// If-Match that cannot be read was refused by checkIfMatch.
func ExpectedVersion(r *http.Request) *int64 {
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
