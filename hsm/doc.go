// Package hsm keeps and uses keys on a PKCS#11 token.
//
// A [Token] is one logged-in member: a pool of sessions, the tenants' keys, a
// cache of handles to unwrapped keys and, for class C keys alone, a locked copy
// in memory with an end. Key bytes leave the token only wrapped by another key
// of it, or through [Token.Clear] for class C. Calls that carry key bytes are
// made by our own C glue with buffers that we own and zero, since the binding
// leaves copies in the C heap.
//
// It relies on github.com/miekg/pkcs11 and knows no database, policy or wire.
// Sessions are not safe for concurrent use, the Token is. Start at [Open].
package hsm
