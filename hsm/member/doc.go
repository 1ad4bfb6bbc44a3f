// Package member is one PKCS#11 module in this process, logged in to one token.
//
// A [Module] shares its sessions among callers, distinguishes faults of the token from
// faults of the data, restores a lost connection, and keeps the handles of unwrapped keys.
// It implements [hsm.Member]: no caller sees a session or a handle. Calls that carry key
// bytes are made by our own C code with buffers that we own and zero, since the binding
// leaves copies in the C heap.
//
// It relies on github.com/miekg/pkcs11 and knows no class, row or policy. Sessions
// are not safe for concurrent use, the Module is. Start at [Open].
package member
