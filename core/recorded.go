package core

import (
	"slices"
	"strings"
)

// recordedEvents are the operations of records that are not operations of
// [EveryOperation]: what the server did itself.
var recordedEvents = []string{"Create Installation", "Create Tenant Keys", "Date Reached", "Distrust Certificate", "Load Certificates", "Load Client Authorities",
	"Load PIN", "Load Policy", "Load Revocation List", "Message", "Reconcile", "Retire Tenant Keys", "Start", "Trust Certificate", "Undo"}

// IsRecorded reports whether records can have this operation, in any case of its
// letters. An operation that no version of KMIP has is recorded by its number, 0x...
func IsRecorded(operation string) bool {
	return strings.HasPrefix(operation, "0x") || slices.ContainsFunc(recordedEvents, func(name string) bool { return strings.EqualFold(name, operation) }) ||
		slices.ContainsFunc(EveryOperation(), func(v EnumValue) bool { return strings.EqualFold(v.Name, operation) })
}
