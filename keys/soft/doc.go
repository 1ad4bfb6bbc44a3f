// Package soft does cryptography in Go, over bytes that its caller holds: for
// public keys, for class C keys in memory, and for the parts of a mechanism
// that a token leaves to its user (padding, hashing, encodings).
//
// It relies on Go's crypto packages, keeps no key bytes and knows no token.
// The rules for parameters are in one place and apply to tokens too: see
// [CheckCipher], [ResolveSignature] and [ResolveEncryption].
package soft
