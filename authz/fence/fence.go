// Package fence bounds what a Rego policy can call and how long it may work.
//
// Each evaluation in the server uses it: those of policies.rego and those of key
// policies. It relies on OPA alone. Start at [Capabilities] and [NewBudget].
package fence

import (
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// Capabilities lacks each builtin whose answer depends on something outside of the
// input: network, clock, randomness, environment. It goes by OPA's own mark, and by
// names in case an upgrade forgets a mark.
func Capabilities() *ast.Capabilities {
	c := ast.CapabilitiesForThisVersion(ast.CapabilitiesRegoVersion(ast.RegoV2))
	c.Builtins = slices.DeleteFunc(c.Builtins, func(b *ast.Builtin) bool {
		return b.IsNondeterministic() || b.Name == "time.now_ns" || b.Name == "opa.runtime" || strings.HasPrefix(b.Name, "crypto.x509.parse_and_verify") || // uses the clock
			strings.HasPrefix(b.Name, "http.") || strings.HasPrefix(b.Name, "net.lookup") || strings.HasPrefix(b.Name, "rand.")
	})
	c.AllowNet = []string{}
	return c
}

// ParseModule accepts only Rego v2, whose "not" and strictness close holes of older
// versions that fail open. The module must also import rego.v2, so that other programs
// read it the same way.
func ParseModule(name, src string) (*ast.Module, error) {
	m, err := ast.ParseModuleWithOpts(name, src, ast.ParserOptions{Capabilities: Capabilities(), RegoVersion: ast.RegoV2})
	if err != nil {
		return nil, err
	}
	if m == nil {
		return nil, fmt.Errorf("%s is empty", name)
	}
	if !slices.ContainsFunc(m.Imports, func(i *ast.Import) bool { return ast.RegoV2CompatibleRef.Equal(i.Path.Value) }) {
		return nil, fmt.Errorf("%s: it lacks the line \"import rego.v2\", without which some denials do not apply", name)
	}
	return m, nil
}
