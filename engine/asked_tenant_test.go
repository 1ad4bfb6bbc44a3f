package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
)

// The administrator of the server can read about every tenant that has or had keys, that has a
// row, or that the configuration names, and about no other one.
func TestTenantsThatExist(t *testing.T) {
	w := newWorld(t)
	w.store.sets = append(w.store.sets, core.KeySet{Number: 3, Tenant: "unfinished", State: core.KeySetPending}, core.KeySet{Number: 4, Tenant: "gone", State: core.KeySetDestroyed})
	w.Settings.NamedTenants = []string{"named", "*", ""}
	v, _ := administered(t, w, 0)
	for tenant, exists := range map[string]bool{"default": true, "other": true, "unfinished": true, "gone": true, "named": true, "typo": false, "*": false, "system": false} {
		_, err := v.ListUsers(ctx, socket, tenant, "", 10)
		if got := err == nil; got != exists || !exists && core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("users of %s: %v; want that it exists: %v", tenant, err, exists)
		}
	}
	w.lay(&core.Tenant{State: core.TenantDeleted})
	v, _ = administered(t, w, 0)
	if _, err := v.ListUsers(ctx, socket, "default", "", 10); err != nil {
		t.Errorf("users of a tenant that was deleted: %v", err)
	}
	if _, err := v.SaveUser(ctx, socket, admin.SaveUserInput{Tenant: "default", Name: "u"}); core.CodeOf(err) != core.IllegalOperation {
		t.Errorf("a new user of a tenant that was deleted: %v", err)
	}
	if _, err := v.SaveUser(ctx, socket, admin.SaveUserInput{Tenant: "typo", Name: "u"}); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("a user of a tenant that does not exist: %v", err)
	}
}
