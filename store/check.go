package store

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/document"
)

// Bounds of one Commit. The doors refuse larger requests before, so a change that is
// over a bound here shows a fault in the server.
const (
	maxNameBytes  = 512      // tenant, Unique Identifier, owner, group, id of an intent
	maxBlobBytes  = 64 << 20 // each blob of the sealed material of one object
	maxTokenBytes = 255      // a CKA_ID
	maxEntryBytes = 1 << 20  // body of one audit entry

	maxChecksBytes = 4096 // check values of a set of keys
)

func checkName(what, s string, emptyAllowed bool) error {
	switch {
	case s == "" && !emptyAllowed:
		return core.Errorf(core.InvalidField, "the %s is empty", what)
	case len(s) > maxNameBytes:
		return core.Errorf(core.InvalidField, "the %s has %d bytes; at most %d are allowed", what, len(s), maxNameBytes)
	case !document.IsStorable(s):
		return core.Errorf(core.InvalidField, "the %s is not UTF-8 text without NUL", what)
	}
	return nil
}
