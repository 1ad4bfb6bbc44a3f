package door

import (
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Validated is a body with rules that its schema cannot say.
type Validated interface{ Validate() error }

// DecodeFor reads a body for an action, and checks it by the specification and by its own
// rules, if it has some. A body that is refused leaves a record.
func (d *Door) DecodeFor(c *core.Caller, r *http.Request, action core.Action, in Specified) error {
	err := Decode(r.Body, in)
	if own, ok := in.(Validated); ok && err == nil {
		err = own.Validate()
	}
	if err != nil {
		return d.Engine.RecordRefused(r.Context(), c, action, err)
	}
	return nil
}

// OrEmpty returns [] for nil, because JSON would have null.
func OrEmpty(names []string) []string {
	if names == nil {
		return []string{}
	}
	return names
}

// OptionalTime returns a time in Unix seconds as text, "" for 0.
func OptionalTime(unix int64) string {
	if unix == 0 {
		return ""
	}
	return TimeText(unix)
}

// TimeText returns a time in Unix seconds as RFC 3339 in UTC.
func TimeText(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// ReadTime reads a time of RFC 3339; 0 for "".
func ReadTime(member, text string) (int64, error) {
	if text == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil || t.Unix() <= 0 {
		return 0, core.Errorf(core.InvalidField, "%q must be a time such as 2026-01-31T12:00:00Z", member)
	}
	return t.Unix(), nil
}
