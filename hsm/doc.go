// Package hsm is the seam between the keys that keyreeve keeps and the HSM that
// holds them.
//
// Package custody decides about classes, templates, sets of keys, wrap formats and row
// MACs. A [Member] executes its requests: package member is one PKCS#11 module in this
// process. A request is a whole operation, and names a key by a label or by a wrapped
// blob, never by a handle. So a member can also be another process, or a group of HSMs.
// The words are those of PKCS#11. Start at [Member].
package hsm
