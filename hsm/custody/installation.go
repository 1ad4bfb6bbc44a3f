package custody

import (
	"sync"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// Installation has the sets of keys of one installation of keyreeve in the HSM.
// It implements [core.Sealer]. Safe for concurrent use.
type Installation struct {
	member hsm.Member
	id     string // set once, by OpenInstallation, before anything is served

	mu      sync.RWMutex
	tenants map[string]*tenantKeys
	sets    map[string][]core.KeySet // the loaded ones, by tenant
}

var _ core.Sealer = (*Installation)(nil)

// keysOf returns the tenant's keys. It fails with TokenUnavailable if they are not
// loaded.
func (i *Installation) keysOf(tenant string) (*tenantKeys, error) {
	i.mu.RLock()
	defer i.mu.RUnlock()
	if n := i.tenants[tenant]; n != nil {
		return n, nil
	}
	return nil, core.Errorf(core.TokenUnavailable, "the keys of tenant %q are not loaded from the HSM", tenant)
}

// newestKEKOf returns the label of the KEK that new keys of a tenant and class are wrapped
// under.
func (i *Installation) newestKEKOf(tenant string, class core.Class) (label string, err error) {
	n, err := i.keysOf(tenant)
	if err == nil {
		label, _, err = n.newestKEK(class)
	}
	return label, err
}

// checkRow returns the keys of the row's tenant. It fails unless the material MAC of the
// row is right.
func (i *Installation) checkRow(k core.Key) (*tenantKeys, error) {
	n, err := i.keysOf(k.Tenant)
	if err == nil {
		err = n.verifyMaterial(k)
	}
	return n, err
}

// checkOpen fails until an installation is open.
func (i *Installation) checkOpen() error {
	if i.id == "" {
		return core.Errorf(core.TokenUnavailable, "no installation is open; see keyreeve init")
	}
	return nil
}

// ObjectLabel implements [core.HSM].
func (i *Installation) ObjectLabel(tenant, id string) string { return objectLabel(i.id, tenant, id) }
