// Package core defines keyreeve's nouns: Managed Objects, attributes, states,
// principals, decisions and audit records. It also declares the ports, small
// interfaces to the HSM, the store, the policy and the journal.
//
// The vocabulary is the standard's own. Tags, enumerations and the rules of
// attributes are generated from the tables in tables/ (KMIP 1.0 to 2.1), so
// that the codec, the engine and REST cannot disagree about a name. Nothing
// here depends on a wire format, on JSON, on a clock or on a database. It
// imports the standard library only.
//
// Start at [ManagedObject], then [Attributes], [State.Next] and [Store].
package core

//go:generate go run tables/generate.go
