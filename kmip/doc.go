// Package kmip turns KMIP messages of versions 1.0 to 2.1 into core's nouns and
// back: TTLV items, the message envelope and one payload per operation.
//
// Bytes from the network are validated in one linear pass with bounds on size,
// depth and number of items before they are decoded. Decoding then aliases the
// message and uses no reflection. Each payload is described once,
// in the order of the standard's tables. That description both reads and writes,
// so that server and client cannot disagree. Only this package knows how the
// versions differ: everything behind it has one model of attributes.
//
// Start at [Request.Parse], then [Operation] and create.go.
package kmip
