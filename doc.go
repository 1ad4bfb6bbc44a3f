// Package keyreeve is a KMIP server on an HSM: it keeps keys in a PKCS#11 token
// and serves them over KMIP and REST; a Rego policy decides every operation and
// every operation leaves an audit record.
//
// This package holds what stands at the root of the tree and must be compiled
// in: the default policy and its tests. The program is cmd/keyreeve; the tour of
// the tree is docs/DESIGN.md.
package keyreeve

import _ "embed"

// Policy is the default policy, policies.rego.
//
//go:embed policies.rego
var Policy string

// PolicyTests are the default policy's tests, policies_test.rego.
//
//go:embed policies_test.rego
var PolicyTests string
