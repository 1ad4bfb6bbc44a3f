// Package custody keeps and uses the keys of clients in an HSM, each as its class
// promises.
//
// Class N never leaves the HSM, class X leaves it wrapped alone, class C may leave in
// clear. A [Custody] has a set of keys in the HSM for each tenant: KEKs for the
// classes, and keys for data, for seals and for MACs. A key of a client is a blob
// under the KEK of its class, or an object of the HSM. A MAC binds what its row says
// to its blob, and is checked before each use. For class C alone there is a locked
// copy in memory that ends after a time; key bytes come out through [Custody.Clear]
// and no other way.
//
// It implements [core.HSM] and [core.Sealer], relies on an [hsm.Member], and knows no
// session, handle, database, policy or wire. Start at [Open].
package custody
