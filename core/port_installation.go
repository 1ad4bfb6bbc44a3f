package core

import "context"

// InstallationTable reads the row of the installation.
type InstallationTable interface {
	// InstallationID returns the ID in the database. Nothing proves it: the key that
	// could prove it is found by this ID. ItemNotFound if keyreeve init has not been run on the
	// database.
	InstallationID(ctx context.Context) (string, error)

	// Installation returns the row, whose seal the system set made.
	Installation(ctx context.Context) (Installation, error)
}

// InsertInstallation stores the row of the installation. Conflict if the database
// has one.
type InsertInstallation struct{ Installation Installation }

// ForTenant implements [Write].
func (InsertInstallation) ForTenant() string { return OwnWork }
