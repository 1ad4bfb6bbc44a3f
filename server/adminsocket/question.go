package adminsocket

import (
	"bytes"
	"encoding/json"
	"net/url"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Question is what a command asks. Passwords and documents are in the body: records
// tell the parameters.
type Question struct {
	url.Values
	Body []byte // zeroed after the answer
}

// DefaultTenant is the tenant of a command that names none.
const DefaultTenant = "default"

// Tenant returns the tenant that a command names.
func (q *Question) Tenant() string {
	if t := q.Get("tenant"); t != "" {
		return t
	}
	return DefaultTenant
}

// Number returns a parameter that is a number, 0 if it is missing.
func (q *Question) Number(name string) (int64, error) {
	if q.Get(name) == "" {
		return 0, nil
	}
	n, err := strconv.ParseInt(q.Get(name), 10, 64)
	if err != nil || n < 0 {
		return 0, core.Errorf(core.InvalidField, "%s must be a number, not %q", name, core.ClientText(q.Get(name)))
	}
	return n, nil
}

// Time returns a parameter that is a time, in Unix seconds; 0 if it is missing.
func (q *Question) Time(name string) (int64, error) {
	if q.Get(name) == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, q.Get(name))
	if err != nil || t.Unix() <= 0 {
		return 0, core.Errorf(core.InvalidField, "--%s must be a time such as 2026-01-31T12:00:00Z", name)
	}
	return t.Unix(), nil
}

// Decode reads the body, which is JSON, and refuses unknown members.
func (q *Question) Decode(into any) error {
	dec := json.NewDecoder(bytes.NewReader(q.Body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return core.Errorf(core.InvalidField, "the body is not the JSON that is expected")
	}
	return nil
}
