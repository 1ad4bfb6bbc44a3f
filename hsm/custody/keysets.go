package custody

import (
	"context"
	"crypto/cipher"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// MakeKeySet makes the keys of a tenant's set that the HSM lacks. So it also completes a
// set that a crash left incomplete.
func (i *Installation) MakeKeySet(ctx context.Context, set core.KeySet) ([]byte, error) {
	if err := i.checkOpen(); err != nil {
		return nil, err
	}
	if err := checkNumbers(set); err != nil {
		return nil, err
	}
	return i.makeSet(ctx, i.id, set)
}

// KeySetExists reports whether the HSM has a key of a set of this installation.
func (i *Installation) KeySetExists(ctx context.Context, number int64) (bool, error) {
	if err := i.checkOpen(); err != nil {
		return false, err
	}
	return i.setExists(ctx, i.id, number)
}

func checkNumbers(s core.KeySet) error {
	if s.Tenant == "" || s.Number < 1 || s.Epoch < 1 || s.Epoch > core.MaxKeyEpoch {
		return core.Errorf(core.Internal, "set %d of tenant %q with epoch %d is invalid: numbers and epochs start at 1, and the last epoch is %d", s.Number, s.Tenant, s.Epoch, core.MaxKeyEpoch)
	}
	return nil
}

func (i *Installation) setExists(ctx context.Context, installation string, number int64) (bool, error) {
	all, err := i.member.Objects(ctx, setLabel(installation, number, ""))
	for _, o := range all {
		if _, _, _, ok := parseSetLabel(o.Label); ok {
			return true, err
		}
	}
	return false, err
}

func (i *Installation) makeSet(ctx context.Context, installation string, set core.KeySet) ([]byte, error) {
	checks, err := i.member.MakeKeys(ctx, setKeys(installation, set.Number, nil))
	if err != nil {
		return nil, err
	}
	return encodeChecks(checks), nil
}

// setKeys returns the keys of a set, in the order of core.KeyPurposes.
func setKeys(installation string, number int64, checks map[string][]byte) (keys []hsm.SetKey) {
	for _, p := range core.KeyPurposes {
		keys = append(keys, hsm.SetKey{Label: setLabel(installation, number, p), Template: SetTemplate(p), Check: checks[p], Probe: number == 0 && p == purposeProbe})
	}
	return keys
}

// LoadKeySets finds the active sets of tenants in the HSM and derives the keys of their
// MACs. It needs all sets of a tenant, since it replaces those that were loaded before.
func (i *Installation) LoadKeySets(ctx context.Context, sets []core.KeySet) error {
	if err := i.checkOpen(); err != nil {
		return err
	}
	for _, s := range sets {
		if err := checkNumbers(s); err != nil {
			return err
		}
		if s.State != core.KeySetActive || len(s.Checks) == 0 {
			return core.Errorf(core.TokenUnavailable, "set %d of tenant %q cannot be loaded: it is %s and has %d bytes of check values; it must be active and have some", s.Number, s.Tenant, s.State, len(s.Checks))
		}
	}
	return i.loadSets(ctx, sets)
}

// loadSets loads the sets of several tenants. If one fails, those before it are loaded.
func (i *Installation) loadSets(ctx context.Context, sets []core.KeySet) error {
	tenants, err := i.groupByTenant(sets)
	if err != nil {
		return err
	}
	groups := make([]hsm.SetKeys, len(tenants))
	for n, sets := range tenants {
		groups[n].Name = sets[0].Tenant
		for _, set := range sets {
			checks, err := decodeChecks(set.Checks)
			if err != nil {
				return core.Wrap(core.TokenUnavailable, err, "the check values of set %d of tenant %q cannot be read; restore the database from a backup", set.Number, set.Tenant)
			}
			groups[n].Keys = append(groups[n].Keys, setKeys(i.id, set.Number, checks)...)
		}
	}
	loaded, err := i.member.LoadKeys(ctx, groups)
	for _, sets := range tenants[:loaded] {
		if err := i.addTenant(ctx, sets); err != nil {
			return err
		}
	}
	return err
}

// addTenant replaces the keys of a tenant by those of its sets, which the HSM has loaded.
func (i *Installation) addTenant(ctx context.Context, sets []core.KeySet) (err error) {
	n := &tenantKeys{labels: map[string]map[int]string{}, newest: map[string]int{}, rowKeys: map[int]rowKeys{}, bodyKeys: map[int]cipher.AEAD{}}
	for _, p := range core.KeyPurposes {
		n.labels[p] = map[int]string{}
		for _, set := range sets {
			n.labels[p][set.Epoch] = setLabel(i.id, set.Number, p)
			n.newest[p] = max(n.newest[p], set.Epoch)
		}
	}
	for epoch, label := range n.labels[purposeSeal] {
		if n.rowKeys[epoch], err = deriveRowKeys(ctx, i.member, label); err != nil {
			return err
		}
		if sets[0].Tenant == "" {
			if n.bodyKeys[epoch], err = deriveBodyKey(ctx, i.member, n.labels[purposeDerive][epoch]); err != nil {
				return err
			}
		}
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tenants[sets[0].Tenant], i.sets[sets[0].Tenant] = n, sets
	return nil
}

// numberOwners returns the tenant of each loaded set by its number.
func (i *Installation) numberOwners() map[int64]string {
	i.mu.RLock()
	defer i.mu.RUnlock()
	owners := map[int64]string{}
	for tenant, sets := range i.sets {
		for _, s := range sets {
			owners[s.Number] = tenant
		}
	}
	return owners
}

// groupByTenant groups sets by tenant. It refuses a number or an epoch that occurs twice,
// also among the loaded sets: a set always belongs to the same tenant.
func (i *Installation) groupByTenant(sets []core.KeySet) (out [][]core.KeySet, err error) {
	owners, given, at := i.numberOwners(), map[int64]bool{}, map[string]int{}
	for _, s := range sets {
		if owner, ok := owners[s.Number]; given[s.Number] || ok && owner != s.Tenant {
			return nil, core.Errorf(core.TokenUnavailable, "the database names set %d for tenant %q and again; restore the table tenant_key from a backup and find out who can write the database", s.Number, s.Tenant)
		}
		given[s.Number] = true
		n, ok := at[s.Tenant]
		if !ok {
			n = len(out)
			at[s.Tenant], out = n, append(out, nil)
		}
		if slices.ContainsFunc(out[n], func(o core.KeySet) bool { return o.Epoch == s.Epoch }) {
			return nil, core.Errorf(core.TokenUnavailable, "the database names two sets for epoch %d of tenant %q; restore the table tenant_key from a backup and find out who can write the database", s.Epoch, s.Tenant)
		}
		out[n] = append(out[n], s)
	}
	return out, nil
}

// KeySets lists the sets of keys in the HSM by the labels of their keys.
func (i *Installation) KeySets(ctx context.Context) (out []core.TokenKeySet, err error) {
	if err := i.checkOpen(); err != nil {
		return nil, err
	}
	all, err := i.member.Objects(ctx, labelPrefix)
	if err != nil {
		return nil, err
	}
	at := map[string]int{}
	for _, o := range all {
		installation, number, purpose, ok := parseSetLabel(o.Label)
		if !ok {
			continue
		}
		label := strings.TrimSuffix(o.Label, "/"+purpose)
		if _, ok := at[label]; !ok {
			at[label] = len(out)
			out = append(out, core.TokenKeySet{Label: label, Own: installation == i.id, Number: number, Objects: map[string]int{}})
		}
		out[at[label]].Objects[purpose]++
	}
	return out, nil
}

// DestroyKeySet implements [core.HSM]. The label alone says which keys belong to the set. The
// system set has no row and no tenant, so no argument reaches it.
func (i *Installation) DestroyKeySet(ctx context.Context, set core.KeySet) error {
	if err := i.checkOpen(); err != nil {
		return err
	}
	if err := checkNumbers(set); err != nil {
		return err
	}
	all, err := i.member.Objects(ctx, setLabel(i.id, set.Number, ""))
	if err != nil {
		return err
	}
	i.forgetTenant(set.Tenant)
	for _, o := range all {
		if installation, number, _, ok := parseSetLabel(o.Label); !ok || installation != i.id || number != set.Number {
			continue
		}
		if err := i.member.Destroy(ctx, o); err != nil {
			return err
		}
	}
	return nil
}

// forgetTenant drops the keys of a tenant, so that nothing is sealed under them any more.
func (i *Installation) forgetTenant(tenant string) {
	i.mu.Lock()
	defer i.mu.Unlock()
	delete(i.tenants, tenant)
	delete(i.sets, tenant)
}

// Objects lists the resident objects of this installation.
func (i *Installation) Objects(ctx context.Context) (out []core.TokenObject, err error) {
	if err := i.checkOpen(); err != nil {
		return nil, err
	}
	all, err := i.member.Objects(ctx, objectLabels(i.id))
	for _, a := range all {
		if o, ok := parseObjectLabel(i.id, a.Label); ok {
			o.CKAID = a.CKAID
			out = append(out, o)
		}
	}
	return out, err
}

// DestroyObject implements [core.HSM].
func (i *Installation) DestroyObject(ctx context.Context, o core.TokenObject) error {
	if err := i.checkOpen(); err != nil {
		return err
	}
	return i.member.Destroy(ctx, hsm.Object{Label: i.ObjectLabel(o.Tenant, o.ID), CKAID: o.CKAID})
}
