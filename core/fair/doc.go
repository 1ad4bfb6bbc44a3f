// Package fair shares what is scarce among tenants, and within a tenant among
// its principals: sessions of an HSM, connections of a database, searches.
//
// [Slots] lends a number of places for as long as a call takes. The caller who has used
// least time gets the next place, so that a call of four seconds counts for what
// it costs. [Queue] orders items that cost about the same. Neither decides who
// may do something; both only decide who comes first. Start at [Slots.Acquire].
package fair
