// Package hsm is the seam between the keys that keyreeve keeps and the HSM that
// holds them.
//
// Package custody decides: classes, templates, sets of keys, wrap formats, row MACs.
// It asks a [Member], which does: package member is one PKCS#11 module in this
// process. A request names a key by a label or by a wrapped blob, never by a handle,
// and is a whole operation, so that a member can be another process, or stand for
// several HSMs. The words are those of PKCS#11. Start at [Member].
package hsm
