// Package fair shares scarce things among tenants, and within a tenant among its
// principals: sessions of an HSM, connections to a database, searches, processors.
//
// [Slots] lends places, each for as long as a call takes. The caller that has used the
// least time gets the next place, so a call of four seconds counts for four seconds.
// [Queue] orders items that cost about the same. [Processors] bounds the requests of one
// tenant that compute at once. The package decides who is first, not who may do
// something. Start at [Slots.Acquire].
package fair
