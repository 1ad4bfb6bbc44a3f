// Package format reads and writes key material in KMIP's Key Format Types: PKCS#1,
// PKCS#8, SEC 1, SubjectPublicKeyInfo, raw bytes and transparent structures.
//
// A private key of class N or X is read where it lies in the message and written
// once. Its RSA numbers are checked and completed by arithmetic on buffers that are
// zeroed, since crypto/x509, crypto/rsa and math/big leave copies. The package
// relies on core alone. Start at [Formats].
package format
