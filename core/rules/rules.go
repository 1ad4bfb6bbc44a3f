// Package rules holds the rules about objects that need no port: which attributes and
// parameters clients may give, which of them must match, and which follow from others.
//
// Its functions depend on their arguments alone. They never touch a store, a token,
// the policy or the clock. Start at [CheckNewAttributes], or at [Scheme] for the
// parameters of a cryptographic operation.
package rules
