package core

import "context"

// KeySetTable reads the sets of keys.
type KeySetTable interface {
	// KeySets lists the sets of a tenant, or of every tenant if it is "". If rows were
	// tampered with, it returns the others, and an error of code Tampered that names
	// them; such a list must not decide anything.
	KeySets(ctx context.Context, tenant string) ([]KeySet, error)
}

// SaveKeySet stores a set of keys, or ends its state pending. Conflict if another set
// has its number or epoch.
type SaveKeySet struct{ KeySet KeySet }

// ForTenant implements [Write].
func (SaveKeySet) ForTenant() string { return OwnWork }
