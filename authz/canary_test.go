package authz

import (
	"errors"
	"fmt"
	"testing"

	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/keyreeve/keyreeve/core"
)

// A canary that is late is asked again; one that is never in time, and one that
// is answered wrongly, is not forgiven.
func TestCanariesArePatient(t *testing.T) {
	late := core.Wrap(core.PolicyUnavailable, &topdown.Error{Code: topdown.CancelErr, Message: "caller cancelled query execution"}, "late")
	wrong := errors.New("wrong")
	for what, c := range map[string]struct {
		answers []error
		want    error
		asked   int
	}{
		"late once":     {[]error{fmt.Errorf("canary: %w", late), nil}, nil, 2},
		"always late":   {[]error{late, late, late, late, nil}, late, canaryTries},
		"wrong":         {[]error{wrong, nil}, wrong, 1},
		"late, wrong":   {[]error{late, wrong, nil}, wrong, 2},
		"right at once": {[]error{nil}, nil, 1},
	} {
		n := 0
		err := patiently(func() error { n++; return c.answers[n-1] })
		if err != c.want || n != c.asked {
			t.Errorf("%s: %v after %d; want %v after %d", what, err, n, c.want, c.asked)
		}
	}
}
