package custody

import (
	"context"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// MakeKeySet makes the keys of a tenant's set that the token lacks, so a set
// that a crash left half made is finished by it.
func (i *Installation) MakeKeySet(ctx context.Context, set core.KeySet) ([]byte, error) {
	if err := i.checkOpen(); err != nil {
		return nil, err
	}
	if err := checkNumbers(set); err != nil {
		return nil, err
	}
	return i.makeSet(ctx, i.id, set)
}

// KeySetExists reports whether the token has a key of a set of this installation.
func (i *Installation) KeySetExists(ctx context.Context, number int64) (bool, error) {
	if err := i.checkOpen(); err != nil {
		return false, err
	}
	return i.setExists(ctx, i.id, number)
}

func checkNumbers(s core.KeySet) error {
	if s.Tenant == "" || s.Number < 1 || s.Epoch < 1 || s.Epoch > core.MaxKeyEpoch {
		return core.Errorf(core.Internal, "set %d of tenant %q and epoch %d cannot be: numbers and epochs begin at 1, and epochs end at %d", s.Number, s.Tenant, s.Epoch, core.MaxKeyEpoch)
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

// setKeys names the keys of a set, in the order of core.KeyPurposes.
func setKeys(installation string, number int64, checks map[string][]byte) (keys []hsm.SetKey) {
	for _, p := range core.KeyPurposes {
		keys = append(keys, hsm.SetKey{Label: setLabel(installation, number, p), Template: SetTemplate(p), Check: checks[p], Probe: number == 0 && p == purposeProbe})
	}
	return keys
}

// LoadKeySets finds the active sets of tenants and derives the keys of their
// MACs. All sets of a tenant must be given: those loaded before are replaced.
func (i *Installation) LoadKeySets(ctx context.Context, sets []core.KeySet) error {
	if err := i.checkOpen(); err != nil {
		return err
	}
	for _, s := range sets {
		if err := checkNumbers(s); err != nil {
			return err
		}
		if s.State != core.KeySetActive || len(s.Checks) == 0 {
			return core.Errorf(core.TokenUnavailable, "set %d of tenant %q is %s with %d bytes of check values; only active sets are loaded", s.Number, s.Tenant, s.State, len(s.Checks))
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

// addTenant replaces what is known of a tenant by its sets, which the HSM has loaded.
func (i *Installation) addTenant(ctx context.Context, sets []core.KeySet) (err error) {
	n := &tenantKeys{labels: map[string]map[int]string{}, newest: map[string]int{}, rowKeys: map[int]rowKeys{}}
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
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	i.tenants[sets[0].Tenant], i.sets[sets[0].Tenant] = n, sets
	return nil
}

// groupByTenant groups sets by tenant, and refuses a number or an epoch that occurs
// twice, also among the sets that are loaded: a set belongs to one tenant for good.
func (i *Installation) groupByTenant(sets []core.KeySet) ([][]core.KeySet, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	at := map[string]int{}
	var out [][]core.KeySet
	owner := map[int64]string{}
	for tenant, known := range i.sets {
		for _, k := range known {
			owner[k.Number] = tenant
		}
	}
	given := map[int64]bool{}
	for _, s := range sets {
		if other, ok := owner[s.Number]; given[s.Number] || ok && other != s.Tenant {
			return nil, core.Errorf(core.TokenUnavailable, "set %d is named for tenant %q and for another one; restore the table tenant_key from a backup and find out who can write the database", s.Number, s.Tenant)
		}
		given[s.Number] = true
		n, ok := at[s.Tenant]
		if !ok {
			n = len(out)
			at[s.Tenant], out = n, append(out, nil)
		}
		if slices.ContainsFunc(out[n], func(o core.KeySet) bool { return o.Epoch == s.Epoch }) {
			return nil, core.Errorf(core.TokenUnavailable, "two sets are named for epoch %d of tenant %q; restore the table tenant_key from a backup and find out who can write the database", s.Epoch, s.Tenant)
		}
		out[n] = append(out[n], s)
	}
	return out, nil
}

// KeySets lists the sets of keys in the token by the labels of their keys.
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
