package custody

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// systemSet returns the system set, which is found only by its label.
func systemSet(checks []byte) core.KeySet {
	return core.KeySet{Number: 0, Epoch: 1, State: core.KeySetActive, Checks: checks}
}

// MakeSystemSet makes the system set of a new installation in the HSM and returns its
// check values. It fails if the HSM already has a key of the installation. The caller then
// calls OpenInstallation.
func (i *Installation) MakeSystemSet(ctx context.Context, installation string) (checks []byte, err error) {
	if !installationID.MatchString(installation) {
		return nil, core.Errorf(core.InvalidField, "the id of an installation is 32 hex digits, not %q", installation)
	}
	exists, err := i.setExists(ctx, installation, 0)
	if err == nil && exists {
		err = core.Errorf(core.ObjectAlreadyExists, "token %q already has keys of the installation %s", i.member.Health(ctx).Label, installation)
	}
	if err != nil {
		return nil, err
	}
	return i.makeSet(ctx, installation, systemSet(nil))
}

// OpenInstallation sets the installation that this process serves, and loads its system
// set. The check values of the set are not compared until ConfirmInstallation.
func (i *Installation) OpenInstallation(ctx context.Context, id string) error {
	if !installationID.MatchString(id) {
		return core.Errorf(core.TokenUnavailable, "the database says that its installation is %q, but an id is 32 hex digits; see store.url", id)
	}
	if exists, err := i.setExists(ctx, id, 0); err != nil || !exists {
		if err == nil {
			err = i.errOtherInstallation(ctx, id)
		}
		return err
	}
	i.id = id
	return i.loadSets(ctx, []core.KeySet{systemSet(nil)})
}

// errOtherInstallation names the installation of the database and those in the HSM.
func (i *Installation) errOtherInstallation(ctx context.Context, id string) error {
	found, err := i.Installations(ctx)
	if err != nil {
		return err
	}
	h := i.member.Health(ctx)
	return core.Errorf(core.TokenUnavailable, "the database belongs to installation %s, and token %q with serial %s has %s; database and token do not belong together: see store.url, hsm.token and hsm.serial",
		id, h.Label, h.Serial, DescribeInstallations(found))
}

// ConfirmInstallation compares the keys of the system set with the check values in the
// row of the database. The caller has verified the seal of the row.
func (i *Installation) ConfirmInstallation(ctx context.Context, row core.Installation) error {
	if row.ID != i.id {
		return core.Errorf(core.TokenUnavailable, "the database belongs to installation %q, but the keys of %q are loaded; see store.url", row.ID, i.id)
	}
	if len(row.Checks) == 0 {
		return core.Errorf(core.TokenUnavailable, "the database has no check values of installation %s; restore it from a backup", row.ID)
	}
	return i.loadSets(ctx, []core.KeySet{systemSet(row.Checks)})
}

// Installations lists the installations whose system set is in the HSM.
func (i *Installation) Installations(ctx context.Context) (ids []string, err error) {
	all, err := i.member.Objects(ctx, labelPrefix)
	for _, o := range all {
		if id, ok := parseSystemSetLabel(o.Label); ok && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids, err
}
