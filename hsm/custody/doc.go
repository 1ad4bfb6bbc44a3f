// Package custody keeps and uses the keys of clients in an HSM, each as its class
// promises.
//
// A key of class N never leaves the HSM, one of class X leaves it only wrapped, and one
// of class C may leave in clear. A [Custody] has a set of keys in the HSM for each
// tenant: KEKs for the classes, and keys for data, for seals and for MACs. A client's
// key is a blob under the KEK of its class, or an object of the HSM. A MAC binds the
// fields of its row to its blob, and is checked before each use. Only class C keys have
// a copy in memory, which is locked and ends after a time. Key bytes come out only
// through [Custody.Clear].
//
// The package implements [core.HSM] and [core.Sealer] and relies on an [hsm.Member]. It
// knows no session, handle, database, policy or wire. Start at [Open].
package custody
