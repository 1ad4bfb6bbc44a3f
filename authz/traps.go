package authz

import (
	"context"
	"fmt"
	"strings"

	"github.com/keyreeve/keyreeve/authz/fence"
	"github.com/keyreeve/keyreeve/core"
)

// trap is a small policy of a form that has failed open in some evaluator. It must deny
// the insider. Only if fails is true may the evaluator return an error: a trap that no
// longer compiles proves nothing.
type trap struct {
	name, rules string
	fails       bool
}

var traps = []trap{
	{"a malformed CIDR in a denial", `deny if net.cidr_contains("10.0.0.300/8", input.address)`, true},
	{"a conversion that cannot be done", `deny if to_number(input.address) > 1`, true},
	{"not, over a call with a missing field", `deny if not net.cidr_contains("10.0.0.0/8", input.missing)`, false},
	{"not, over a comparison with a missing field", `deny if not input.missing == "x"`, false},
	{"a set with a field of the input in it", `deny if input.operation in {"x", input.operation}`, false},
	{"a set of constants", `deny if input.operation in {"x", "Get"}`, false},
	{"an empty name", `deny if not input.principal.groups[""]`, false},
	{"a group of the principal", `deny if input.principal.groups.canary`, false},
	{"a denial beside a permit", "deny if input.operation == \"Get\"\n\nallow if input.operation == \"Get\"", false},
	{"some over an empty list", `deny if count([x | some x in []]) == 0`, false},
	{"a search that does not end", `deny if {
	some x in numbers.range(1, 5000)
	some y in numbers.range(1, 5000)
	x * y == -1
}`, true},
}

// forbiddenCalls are calls of builtins with which a policy must not compile.
var forbiddenCalls = []string{`http.send({"method": "get", "url": "http://127.0.0.1/"})`, `time.now_ns()`, `opa.runtime()`, `rand.intn("x", 2)`,
	`net.lookup_ip_addr("localhost")`, `uuid.rfc4122("x")`,
	`crypto.x509.parse_and_verify_certificates("x")`, `io.jwt.decode_verify("x", {})`}

const trapHead = `package keyreeve.authz

import rego.v2

default deny := false

default allow := true

decision := {"allow": allow, "reasons": {"permit"}, "scope": "own"} if not deny

else := {"allow": false, "reasons": {"deny"}, "scope": "own"}

`

// checkEvaluator decides each trap. A policy without a trap must allow, or else the
// traps would prove nothing.
func checkEvaluator(ctx context.Context) error {
	if d, err := decideTrap(ctx, trap{name: "no trap"}); err != nil || !d.Allow {
		return fmt.Errorf("a policy that allows does not: %v", err)
	}
	for _, t := range traps {
		if d, err := decideTrap(ctx, t); d.Allow || (err != nil) != t.fails {
			return fmt.Errorf("%s: allow %v, error %v", t.name, d.Allow, err)
		}
	}
	for _, call := range forbiddenCalls {
		if _, err := decideTrap(ctx, trap{name: call, rules: "deny if " + call}); err == nil || !strings.Contains(err.Error(), "undefined function") {
			return fmt.Errorf("a policy can call %s: %v", call, err)
		}
	}
	return nil
}

func decideTrap(ctx context.Context, t trap) (core.Decision, error) {
	m, err := fence.ParseModule(t.name, trapHead+t.rules+"\n")
	if err != nil {
		return core.Decision{}, err
	}
	p, err := compileModule(ctx, m)
	if err != nil {
		return core.Decision{}, err
	}
	return p.evaluate(ctx, question{principal: insider, action: core.ActionGet, door: core.DoorKMIP, present: true, tenant: insider.Tenant,
		object: "canary", owner: insider.ID, group: "canary", kind: core.ObjectTypeSymmetricKey, state: core.Active}, canaryTime, canaryAddress)
}
