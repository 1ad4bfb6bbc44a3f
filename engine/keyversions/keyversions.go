// Package keyversions finds the version of a key family that a request of the REST door means:
// by the identifier of version 1 or an alias, and a number. KMIP names objects and never comes
// here. Start at [Finder.Find].
package keyversions

import (
	"sync"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// Finder remembers what references have named. The objects themselves, which the engine keeps
// for a short time, tell whether that is still so. Safe for concurrent use.
type Finder struct {
	mu       sync.Mutex
	aliases  map[name]string   // the object that had the alias
	versions map[name][]string // by version 1, the versions by number; "": there is none
}

// name is an alias or a Unique Identifier of a tenant.
type name struct{ tenant, text string }

// Bounds of a Finder: families, and aliases of all tenants.
const (
	maxFamilies = 1000
	maxAliases  = 50_000
)

// remember stores a value in a map, which is emptied if it is full.
func remember[V any](m *map[name]V, most int, key name, v V) {
	if *m == nil || len(*m) >= most {
		*m = map[name]V{}
	}
	(*m)[key] = v
}

// Find returns the version that a reference to a key family of a tenant names. Without a number it
// is the newest, or, to protect data, the newest that may protect now. A later version that is
// named by its own identifier is that object alone. The policy is not asked.
func (f *Finder) Find(k *engine.Call, tenant string, id core.Identifier, protects bool) (*core.ManagedObject, error) {
	named, err := f.loadNamed(k, tenant, id)
	if err != nil {
		return nil, err
	}
	if id.Alias == "" && named.Family() != named.ID {
		return namedVersion(named, id.Version)
	}
	head, err := engine.LoadObjectOf(k, tenant, named.Family())
	if err != nil {
		return nil, err
	}
	newest, err := engine.LoadObjectOf(k, tenant, head.NewestVersion())
	if err != nil {
		return nil, err
	}
	if id.Version == newest.FamilyVersion() || id.Version == 0 && (!protects || k.UseCheck(true)(newest, k.Now) == nil) {
		return newest, nil
	}
	versions, err := f.versionsOf(k, head)
	if err != nil {
		return nil, err
	}
	if id.Version != 0 {
		if id.Version < 0 || id.Version >= int64(len(versions)) {
			return nil, core.Errorf(core.ItemNotFound, "there is no version %d", id.Version)
		}
		return engine.LoadObjectOf(k, tenant, versions[id.Version])
	}
	for n := len(versions) - 1; n > 0; n-- {
		if versions[n] == "" {
			continue
		}
		if o, err := engine.LoadObjectOf(k, tenant, versions[n]); err != nil || k.UseCheck(true)(o, k.Now) == nil {
			return o, err
		}
	}
	return newest, nil // its state says what is wrong
}

func namedVersion(o *core.ManagedObject, n int64) (*core.ManagedObject, error) {
	if n != 0 && n != o.FamilyVersion() {
		return nil, core.Errorf(core.ItemNotFound, "object %s is version %d", o.ID, o.FamilyVersion())
	}
	return o, nil
}

// loadNamed loads the object that has the identifier or the alias of a reference.
func (f *Finder) loadNamed(k *engine.Call, tenant string, id core.Identifier) (*core.ManagedObject, error) {
	if id.Alias != "" {
		return f.findAlias(k, tenant, id.Alias)
	}
	return engine.LoadObjectOf(k, tenant, id.Text)
}

// findAlias loads the object that has an alias.
func (f *Finder) findAlias(k *engine.Call, tenant, alias string) (*core.ManagedObject, error) {
	key := name{tenant, alias}
	wanted := core.Filter{WholeTenant: true, Attributes: core.Attributes{core.AliasAttribute.With(core.Text(alias))}}
	f.mu.Lock()
	id := f.aliases[key]
	f.mu.Unlock()
	if id != "" {
		if o, err := engine.LoadObjectOf(k, tenant, id); err == nil && wanted.Matches(o) {
			return o, nil
		}
	}
	found, err := k.Ports.Store.Candidates(k.Ctx, key.tenant, wanted, 0, core.CandidatePage)
	if err != nil {
		return nil, err
	}
	for _, o := range found {
		if wanted.Matches(o) {
			f.mu.Lock()
			remember(&f.aliases, maxAliases, key, o.ID)
			f.mu.Unlock()
			return engine.LoadObjectOf(k, tenant, o.ID)
		}
	}
	return nil, core.Errorf(core.ItemNotFound, "there is no alias %s", core.ClientText(alias))
}

// versionsOf lists the versions of a family by their numbers. A list that is remembered is
// right if it ends with the newest version.
func (f *Finder) versionsOf(k *engine.Call, head *core.ManagedObject) ([]string, error) {
	key := name{head.Tenant, head.ID}
	f.mu.Lock()
	versions := f.versions[key]
	f.mu.Unlock()
	if n := len(versions); n > 0 && versions[n-1] == head.NewestVersion() {
		return versions, nil
	}
	versions = []string{"", head.ID}
	members := core.Filter{WholeTenant: true, OldestFirst: true, Attributes: core.Attributes{core.FamilyAttribute.With(core.Text(head.ID))}}
	for beyond, more := int64(0), true; more; {
		page, err := k.Ports.Store.Candidates(k.Ctx, head.Tenant, members, beyond, core.CandidatePage)
		if err != nil {
			return nil, err
		}
		for _, o := range page {
			if beyond = o.Seq; members.Matches(o) {
				for int64(len(versions)) <= o.FamilyVersion() {
					versions = append(versions, "")
				}
				versions[o.FamilyVersion()] = o.ID
			}
		}
		more = len(page) == core.CandidatePage
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	remember(&f.versions, maxFamilies, key, versions)
	return versions, nil
}
