// Package core holds keyreeve's nouns: what a Managed Object, an attribute, a
// state, a principal, a decision and an audit record ARE, and the small ports
// behind which the outside world stands.
//
// The vocabulary is the standard's own. Tags, enumerations and the rules of
// attributes are generated from the tables in tables/ (KMIP 1.0 to 2.1), so
// that the codec, the engine and REST cannot disagree about a name. Nothing
// here knows bytes on a wire, a JSON field, a clock or a database: values come
// in, values go out. It relies on the standard library alone.
//
// Start at [ManagedObject], then [Attributes], [State.Next] and [Store].
package core

//go:generate go run tables/generate.go
