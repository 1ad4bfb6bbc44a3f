package hsm

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// tenant is what the token holds for one tenant: handles of its keys by purpose
// and epoch, and the keys of its MACs, which are derived in the token. The tenant
// "" has the system set.
type tenant struct {
	keys    map[string]map[int]p11.ObjectHandle // purpose -> epoch -> handle
	newest  map[string]int
	rowKeys map[int]rowKeys // by epoch of R
}

// systemSet is the set that is found by its label alone.
func systemSet(checks []byte) core.KeySet {
	return core.KeySet{Number: 0, Epoch: 1, State: core.KeySetActive, Checks: checks}
}

// MakeSystemSet makes the system set of a new installation in the token and
// returns its check values. It refuses an installation that the token has a key
// of already. OpenInstallation must follow.
func (t *Token) MakeSystemSet(ctx context.Context, installation string) (checks []byte, err error) {
	if !installationID.MatchString(installation) {
		return nil, core.Errorf(core.InvalidField, "the id of an installation is 32 hex digits, not %q", installation)
	}
	exists, err := t.setExists(ctx, installation, 0)
	if err == nil && exists {
		err = core.Errorf(core.ObjectAlreadyExists, "token %q has keys of the installation %s already", t.cfg.Label, installation)
	}
	if err != nil {
		return nil, err
	}
	return t.makeSet(ctx, installation, systemSet(nil))
}

// OpenInstallation names the installation that this process serves and loads its
// system set, which is found by its label alone. Until ConfirmInstallation the
// check values of the set are not compared.
func (t *Token) OpenInstallation(ctx context.Context, id string) error {
	if !installationID.MatchString(id) {
		return core.Errorf(core.TokenUnavailable, "the database says that its installation is %q, which is no id; see store.url", id)
	}
	if exists, err := t.setExists(ctx, id, 0); err != nil || !exists {
		if err == nil {
			err = t.noInstallation(ctx, id)
		}
		return err
	}
	t.installation = id
	return t.load(ctx, []core.KeySet{systemSet(nil)})
}

// noInstallation names the installation of the database and those of the token.
func (t *Token) noInstallation(ctx context.Context, id string) error {
	there, err := t.Installations(ctx)
	if err != nil {
		return err
	}
	return core.Errorf(core.TokenUnavailable, "the database belongs to installation %s, and token %q with serial %s has %s; database and token do not belong together: see store.url, hsm.token and hsm.serial",
		id, t.cfg.Label, t.info.SerialNumber, SayInstallations(there))
}

// ConfirmInstallation compares the keys of the system set with the check values
// of the database's row, once the row's seal is verified.
func (t *Token) ConfirmInstallation(ctx context.Context, i core.Installation) error {
	if i.ID != t.installation {
		return core.Errorf(core.TokenUnavailable, "the database belongs to installation %q, and the keys of %q are loaded; see store.url", i.ID, t.installation)
	}
	if len(i.Checks) == 0 {
		return core.Errorf(core.TokenUnavailable, "the database has no check values of installation %s; restore it from a backup", i.ID)
	}
	return t.load(ctx, []core.KeySet{systemSet(i.Checks)})
}

// Installations lists the installations whose system set the token has.
func (t *Token) Installations(ctx context.Context) (ids []string, err error) {
	err = t.do(ctx, "list the installations of the token", func(s p11.SessionHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		index, err := t.indexWhole(s)
		if err != nil {
			return err
		}
		ids = nil
		for label := range index.byLabel {
			if id, ok := systemSetOf(label); ok && !slices.Contains(ids, id) {
				ids = append(ids, id)
			}
		}
		slices.Sort(ids)
		return nil
	})
	return ids, err
}

// MakeKeySet makes the keys of a tenant's set that the token lacks, so a set
// that a crash left half made is finished by it.
func (t *Token) MakeKeySet(ctx context.Context, set core.KeySet) ([]byte, error) {
	if err := t.serves(); err != nil {
		return nil, err
	}
	if err := checkNumbers(set); err != nil {
		return nil, err
	}
	return t.makeSet(ctx, t.installation, set)
}

// KeySetExists reports whether the token has a key of a set of this installation.
func (t *Token) KeySetExists(ctx context.Context, number int64) (bool, error) {
	if err := t.serves(); err != nil {
		return false, err
	}
	return t.setExists(ctx, t.installation, number)
}

// serves refuses what needs the installation's name before there is one.
func (t *Token) serves() error {
	if t.installation == "" {
		return core.Errorf(core.TokenUnavailable, "no installation is open on token %q; see keyreeve init", t.cfg.Label)
	}
	return nil
}

func checkNumbers(s core.KeySet) error {
	if s.Tenant == "" || s.Number < 1 || s.Epoch < 1 || s.Epoch > core.MaxKeyEpoch {
		return core.Errorf(core.Internal, "set %d of tenant %q and epoch %d cannot be: numbers and epochs begin at 1, and epochs end at %d", s.Number, s.Tenant, s.Epoch, core.MaxKeyEpoch)
	}
	return nil
}

func (t *Token) setExists(ctx context.Context, installation string, number int64) (exists bool, err error) {
	err = t.do(ctx, "look for a set of keys", func(s p11.SessionHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		index, err := t.indexWhole(s)
		if err != nil {
			return err
		}
		exists = false
		for _, p := range core.KeyPurposes {
			exists = exists || len(index.byLabel[setLabel(installation, number, p)]) > 0
		}
		return nil
	})
	return exists, err
}

func (t *Token) makeSet(ctx context.Context, installation string, set core.KeySet) (checks []byte, err error) {
	err = t.do(ctx, "make a set of keys", func(s p11.SessionHandle) error {
		if err := t.admin.takeFor(ctx); err != nil {
			return err
		}
		defer t.admin.give()
		c, err := t.newChecker(s, core.ObjectAlreadyExists)
		if err != nil {
			return err
		}
		defer c.close()
		index, err := t.indexWhole(s)
		if err != nil {
			return err
		}
		values := map[string][]byte{}
		for _, p := range core.KeyPurposes {
			label := setLabel(installation, set.Number, p)
			h, err := t.makeKey(s, label, p, index)
			if err != nil {
				return err
			}
			if values[p], err = c.check(h, label, p, nil); err != nil {
				return err
			}
		}
		checks = encodeChecks(values)
		return nil
	})
	return checks, err
}

// makeKey returns the key of a label, and makes it if the index lacks it.
func (t *Token) makeKey(s p11.SessionHandle, label, purpose string, index *labelIndex) (p11.ObjectHandle, error) {
	found := index.byLabel[label]
	if len(found) == 0 {
		if err := t.generateKey(s, label, purpose); err != nil {
			return 0, err
		}
		var err error
		if found, err = t.findLabel(s, label, nil); err != nil {
			return 0, err
		}
	}
	if len(found) != 1 {
		return 0, core.Errorf(core.ObjectAlreadyExists, "token %q has %d objects with the label %s, not one", t.cfg.Label, len(found), label)
	}
	return found[0], nil
}

// generateKey makes a key in a session and copies it into the token: one write,
// so that a crash leaves no half-made key. SoftHSM2 makes a key directly in the
// token by two writes; a kill between them leaves one without a value (1 of 955
// in 40 kills, and 1 of 894 by C_UnwrapKey). No copy can have COPYABLE=0, which
// SoftHSM2 does not need: it copies what is MODIFIABLE=0 without a change or not
// at all. A token that the self-test found to copy such a key with changes gets
// it made in place, with COPYABLE=0; checkKey then finds what a crash left.
func (t *Token) generateKey(s p11.SessionHandle, label, purpose string) error {
	mech, tmpl, err := setAttributes(purpose)
	if err != nil {
		return err
	}
	id := make([]byte, 16)
	rand.Read(id)
	tmpl = append(tmpl, p11.NewAttribute(p11.CKA_ID, id), p11.NewAttribute(p11.CKA_LABEL, label))
	if t.inPlace {
		_, err := t.generateSealed(s, mech, tmpl, true)
		return err
	}
	h, err := t.lib.GenerateKey(s, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, tmpl)
	if err != nil {
		return err
	}
	defer t.lib.DestroyObject(s, h)
	return t.stay(s, h)
}

// generateSealed makes a key that can neither be copied nor changed, in the
// token or, for the self-test, in the session.
func (t *Token) generateSealed(s p11.SessionHandle, mech uint, tmpl []*p11.Attribute, inToken bool) (p11.ObjectHandle, error) {
	tmpl = slices.DeleteFunc(slices.Clone(tmpl), func(a *p11.Attribute) bool { return a.Type == p11.CKA_TOKEN })
	tmpl = append(tmpl, p11.NewAttribute(p11.CKA_TOKEN, inToken), p11.NewAttribute(p11.CKA_COPYABLE, false), unmodifiable())
	return t.lib.GenerateKey(s, []*p11.Mechanism{p11.NewMechanism(mech, nil)}, tmpl)
}

// labelIndex is all token objects by their label. A search for each key of many
// tenants would compare each label with all of them.
type labelIndex struct {
	start   uint64 // of the library that the handles are numbers of
	byLabel map[string][]p11.ObjectHandle
}

func (t *Token) indexLabels(s p11.SessionHandle) (*labelIndex, error) {
	index := &labelIndex{start: t.starts.Load(), byLabel: map[string][]p11.ObjectHandle{}}
	all, err := t.search(s, []*p11.Attribute{p11.NewAttribute(p11.CKA_TOKEN, true)}, maxListed)
	if err != nil {
		return nil, err
	}
	for _, h := range all {
		as, err := t.lib.GetAttributeValue(s, h, []*p11.Attribute{p11.NewAttribute(p11.CKA_LABEL, nil)})
		if err != nil {
			continue // half-made objects have none
		}
		index.byLabel[string(as[0].Value)] = append(index.byLabel[string(as[0].Value)], h)
	}
	return index, nil
}

// indexWhole is indexLabels for callers that act on what is missing. It fails if
// the token does not work before and after: its files may be away, and what is
// missing is there.
func (t *Token) indexWhole(s p11.SessionHandle) (*labelIndex, error) {
	if err := t.works(s); err != nil {
		return nil, err
	}
	index, err := t.indexLabels(s)
	if err == nil {
		err = t.works(s)
	}
	return index, err
}

// findLabel lists the token objects with a label, from the index if it has any.
func (t *Token) findLabel(s p11.SessionHandle, label string, index *labelIndex) ([]p11.ObjectHandle, error) {
	if index != nil && index.start == t.starts.Load() && len(index.byLabel[label]) > 0 {
		return index.byLabel[label], nil
	}
	return t.find(s, p11.NewAttribute(p11.CKA_LABEL, label))
}

// LoadKeySets finds the active sets of tenants and derives the keys of their
// MACs. All sets of a tenant must be given: those loaded before are replaced.
func (t *Token) LoadKeySets(ctx context.Context, sets []core.KeySet) error {
	if err := t.serves(); err != nil {
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
	return t.load(ctx, sets)
}

// load loads the sets of one tenant after the other, so that others get their
// turn between.
func (t *Token) load(ctx context.Context, sets []core.KeySet) error {
	tenants, err := t.assign(sets)
	if err != nil {
		return err
	}
	var index *labelIndex
	for _, sets := range tenants {
		err := t.do(ctx, "load a tenant's keys", func(s p11.SessionHandle) error {
			if err := t.admin.takeFor(ctx); err != nil {
				return err
			}
			defer t.admin.give()
			if index == nil && len(tenants) > 1 {
				if index, err = t.indexLabels(s); err != nil {
					return err
				}
			}
			return t.loadTenant(s, sets, index)
		})
		if err != nil {
			return err
		}
		t.tenantsMu.Lock()
		t.known[sets[0].Tenant] = sets
		t.tenantsMu.Unlock()
	}
	return nil
}

// assign groups sets by tenant, and refuses a number or an epoch that occurs
// twice, also among the sets that are loaded: a set belongs to one tenant for good.
func (t *Token) assign(sets []core.KeySet) ([][]core.KeySet, error) {
	t.tenantsMu.RLock()
	defer t.tenantsMu.RUnlock()
	at := map[string]int{}
	var out [][]core.KeySet
	owner := map[int64]string{}
	for tenant, known := range t.known {
		for _, k := range known {
			owner[k.Number] = tenant
		}
	}
	given := map[int64]bool{}
	for _, s := range sets {
		if was, ok := owner[s.Number]; given[s.Number] || ok && was != s.Tenant {
			return nil, core.Errorf(core.TokenUnavailable, "set %d is named for tenant %q and for another one; restore the table tenant_key from a backup and find out who can write the database", s.Number, s.Tenant)
		}
		given[s.Number] = true
		i, ok := at[s.Tenant]
		if !ok {
			i = len(out)
			at[s.Tenant], out = i, append(out, nil)
		}
		if slices.ContainsFunc(out[i], func(o core.KeySet) bool { return o.Epoch == s.Epoch }) {
			return nil, core.Errorf(core.TokenUnavailable, "two sets are named for epoch %d of tenant %q; restore the table tenant_key from a backup and find out who can write the database", s.Epoch, s.Tenant)
		}
		out[i] = append(out[i], s)
	}
	return out, nil
}

// reloadTenants loads all again after the handles were lost.
func (t *Token) reloadTenants() error {
	t.tenantsMu.RLock()
	known := make([][]core.KeySet, 0, len(t.known))
	for _, sets := range t.known {
		known = append(known, sets)
	}
	t.tenantsMu.RUnlock()
	if len(known) == 0 {
		return nil
	}
	if err := t.admin.take(t.cfg.Wait); err != nil {
		return err
	}
	defer t.admin.give()
	index, err := t.indexLabels(t.keeper)
	if err != nil {
		return coded(err, "load the keys of tenants")
	}
	for _, sets := range known {
		if err := t.loadTenant(t.keeper, sets, index); err != nil {
			return coded(err, "load a tenant's keys")
		}
	}
	return nil
}

// loadTenant replaces what is loaded of a tenant, if every key of every set is
// as it was made. Whoever calls has the token's turn.
func (t *Token) loadTenant(s p11.SessionHandle, sets []core.KeySet, index *labelIndex) error {
	n := &tenant{keys: map[string]map[int]p11.ObjectHandle{}, newest: map[string]int{}, rowKeys: map[int]rowKeys{}}
	c, err := t.newChecker(s, core.TokenUnavailable)
	if err != nil {
		return err
	}
	defer c.close()
	for _, p := range core.KeyPurposes {
		n.keys[p] = map[int]p11.ObjectHandle{}
	}
	for _, set := range sets {
		if err := t.loadSet(s, n, c, set, index); err != nil {
			return err
		}
	}
	t.tenantsMu.Lock()
	defer t.tenantsMu.Unlock()
	t.tenants[sets[0].Tenant] = n
	return nil
}

func (t *Token) loadSet(s p11.SessionHandle, n *tenant, c *checker, set core.KeySet, index *labelIndex) error {
	checks, err := decodeChecks(set.Checks)
	if err != nil {
		return core.Wrap(core.TokenUnavailable, err, "the check values of set %d of tenant %q cannot be read; restore the database from a backup", set.Number, set.Tenant)
	}
	for _, p := range core.KeyPurposes {
		label := setLabel(t.installation, set.Number, p)
		found, err := t.findLabel(s, label, index)
		if err != nil {
			return err
		}
		if len(found) != 1 {
			return core.Errorf(core.TokenUnavailable, "token %q has %d objects with the label %s, not one; is this the token that belongs to the database? See hsm.token and store.url", t.cfg.Label, len(found), label)
		}
		if _, err := c.check(found[0], label, p, checks[p]); err != nil {
			return err
		}
		n.keys[p][set.Epoch] = found[0]
		n.newest[p] = max(n.newest[p], set.Epoch)
	}
	if n.rowKeys[set.Epoch], err = t.deriveRowKeys(s, n.keys["R"][set.Epoch]); err != nil {
		return err
	}
	if set.Number == 0 {
		t.root.Store(uint64(n.keys["S"][set.Epoch])) // what works signs a text with
	}
	return nil
}

// of returns the tenant's keys, or TokenUnavailable when they are not loaded.
func (t *Token) of(name string) (*tenant, error) {
	t.tenantsMu.RLock()
	defer t.tenantsMu.RUnlock()
	if n := t.tenants[name]; n != nil {
		return n, nil
	}
	return nil, core.Errorf(core.TokenUnavailable, "the keys of tenant %q are not loaded from the token", name)
}

func (n *tenant) key(purpose string, epoch int) (p11.ObjectHandle, error) {
	if h, ok := n.keys[purpose][epoch]; ok {
		return h, nil
	}
	return 0, core.Errorf(core.TokenUnavailable, "the token has no key %s of epoch %d for this tenant", purpose, epoch)
}

// errNotAsMade is why a key of a set is refused.
var errNotAsMade = errors.New("not as it was made")
