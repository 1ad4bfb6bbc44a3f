package fence

import (
	"context"
	"slices"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
)

// No builtin looks outside of the input.
func TestCapabilities(t *testing.T) {
	c := Capabilities()
	for _, name := range []string{"http.send", "time.now_ns", "opa.runtime", "net.lookup_ip_addr", "rand.intn", "uuid.rfc4122", "crypto.x509.parse_and_verify_certificates"} {
		if slices.ContainsFunc(c.Builtins, func(b *ast.Builtin) bool { return b.Name == name }) {
			t.Errorf("a policy can call %s", name)
		}
	}
	if !slices.ContainsFunc(c.Builtins, func(b *ast.Builtin) bool { return b.Name == "time.clock" }) || c.AllowNet == nil || len(c.AllowNet) > 0 {
		t.Errorf("time.clock is missing, or the network is allowed: %v", c.AllowNet)
	}
}

func TestParseModule(t *testing.T) {
	if _, err := ParseModule("m", "package m\n\nimport rego.v2\n\nallow if true\n"); err != nil {
		t.Error(err)
	}
	for what, text := range map[string]string{"nothing": "", "no import": "package m\n\nallow if true\n", "an older import": "package m\n\nimport rego.v1\n\nallow if true\n", "old syntax": "package m\n\nimport rego.v2\n\nallow { true }\n"} {
		if _, err := ParseModule("m", text); err == nil {
			t.Errorf("a module with %s is accepted", what)
		}
	}
}

// A budget ends with its steps, its time, its request, or a call of Cancel.
func TestBudget(t *testing.T) {
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	for what, c := range map[string]struct {
		b       *Budget
		allowed int // steps
		steps   bool
	}{
		"ten steps":        {NewBudget(t.Context(), 11, time.Hour), 10, true},
		"no steps":         {NewBudget(t.Context(), -5, time.Hour), 0, true},
		"no time":          {NewBudget(nil, 10*stepsPerLook, -time.Second), stepsPerLook - 1, false},
		"an ended request": {NewBudget(ended, 10*stepsPerLook, time.Hour), stepsPerLook - 1, false},
	} {
		n := 0
		for !c.b.Cancelled() {
			n++
		}
		if n != c.allowed || c.b.OutOfSteps() != c.steps {
			t.Errorf("%s: %d steps were allowed, out of steps: %v; want %d, %v", what, n, c.b.OutOfSteps(), c.allowed, c.steps)
		}
	}
	stopped := NewBudget(t.Context(), 100, time.Hour)
	if stopped.Cancel(); !stopped.Cancelled() || stopped.OutOfSteps() {
		t.Error("Cancel does not stop the evaluation")
	}
}
