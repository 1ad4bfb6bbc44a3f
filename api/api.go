// Package api is the specification of the REST door: openapi.yaml, and what is made from it.
//
// The Go types and the table of operations are generated. [Check] compares a body with what
// the specification says of it. [Documents] answers the specification itself, as it is and as
// a page. Start at openapi.yaml.
package api

//go:generate go run ./generate
