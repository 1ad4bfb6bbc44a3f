package engine_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
)

// A change of an administrator that changes nothing is answered as one that does. It stores no
// version, so it makes nobody the author of one and drops no old version, and leaves its record.
func TestNoVersionIsStoredIfNothingChanges(t *testing.T) {
	w := newWorld(t)
	w.Ports.Facts, w.Ports.Policy = plainFacts{}, refusing{}
	v, _ := administeredBy(t, w, plainPolicies{})
	tenants := admin.NewTenantVerbs(v, admin.TenantSettings{})
	clients := admin.NewClientVerbs(v, admin.ClientSettings{Sign: func([]byte, string, string) (admin.SignedCertificate, error) {
		return admin.SignedCertificate{Serial: "1", Fingerprint: strings.Repeat("a", 64), Expires: w.clock.Now() + certificateSeconds}, nil
	}})
	if _, err := clients.Save(ctx, w.alice, admin.SaveClientInput{Name: "c1", Request: []byte("csr")}); err != nil {
		t.Fatal(err)
	}
	if _, err := v.SavePolicy(ctx, w.alice, admin.SavePolicyInput{Name: "p"}); err != nil {
		t.Fatal(err)
	}
	yes, no := new(true), new(false)
	saveUser := func(in admin.SaveUserInput) func() (any, error) {
		in.Name = "u"
		return func() (any, error) { return v.SaveUser(ctx, w.alice, in) }
	}
	saveRole := func(actions ...string) func() (any, error) {
		return func() (any, error) {
			return v.SaveRole(ctx, w.alice, admin.SaveRoleInput{Name: "r", Actions: &actions})
		}
	}
	saveTenant := func(in admin.SaveTenantInput) func() (any, error) {
		in.Name = "default"
		return func() (any, error) { return tenants.SaveTenant(ctx, socket, in) }
	}
	attach := func(change func(admin.AttachInput) ([]string, error)) func() (any, error) {
		return func() (any, error) { return change(admin.AttachInput{Policy: "p", Holder: "role:r"}) }
	}
	for _, step := range []struct {
		what string
		do   func() (any, error)
	}{
		{"make a user", saveUser(admin.SaveUserInput{Groups: &[]string{"g"}})},
		{"disable a user", saveUser(admin.SaveUserInput{Disabled: yes})},
		{"enable a user", saveUser(admin.SaveUserInput{Disabled: no})},
		{"let a user expire", saveUser(admin.SaveUserInput{Expires: new(w.clock.now + 9)})},
		{"make a role", saveRole("Get", "Locate")},
		{"change a role", saveRole("Get")},
		{"disable a tenant", saveTenant(admin.SaveTenantInput{Disabled: yes})},
		{"enable a tenant", saveTenant(admin.SaveTenantInput{Disabled: no})},
		{"set a setting of a tenant", saveTenant(admin.SaveTenantInput{Settings: []byte(`{"keyGroup":"g"}`)})},
		{"make a client", func() (any, error) {
			return clients.Save(ctx, w.alice, admin.SaveClientInput{Name: "c2", Groups: &[]string{"g"}})
		}},
		{"revoke a client", func() (any, error) {
			return clients.Revoke(ctx, w.alice, admin.RevokeClientInput{Name: "c1"})
		}},
		{"revoke a certificate that was revoked", func() (any, error) {
			return clients.Revoke(ctx, w.alice, admin.RevokeClientInput{Name: "c1", Serial: "1"})
		}},
		{"make a canary", func() (any, error) {
			w.Ports.Policy = canaryPolicy{canary: decides(false)}
			defer func() { w.Ports.Policy = refusing{} }()
			return nil, admin.SaveCanary(ctx, v, w.alice, admin.SaveCanaryInput{Name: "c", Canary: admin.Canary{Principal: "mallory", Action: "encrypt", Door: core.DoorREST}})
		}},
		{"attach a policy", attach(func(in admin.AttachInput) ([]string, error) { return v.AttachPolicy(ctx, w.alice, in) })},
		{"detach a policy", attach(func(in admin.AttachInput) ([]string, error) { return v.DetachPolicy(ctx, w.alice, in) })},
	} {
		first, err := step.do()
		if err != nil {
			t.Errorf("%s: %v", step.what, err)
			continue
		}
		w.clock.now++
		versions, records := len(w.store.directory.versions), len(w.store.entries)
		again, err := step.do()
		if err != nil || !reflect.DeepEqual(again, first) {
			t.Errorf("%s once more: %+v, %v; want the first answer: %+v", step.what, again, err, first)
		}
		if n := len(w.store.directory.versions) - versions; n != 0 {
			t.Errorf("%s once more stores %d versions; want none", step.what, n)
		}
		if n := len(w.store.entries) - records; n != 1 || !strings.Contains(string(w.store.entries[records].Body), " allowed") {
			t.Errorf("%s once more leaves %d records; want one, that it was allowed", step.what, n)
		}
	}
}

// A node that has not read the newest version does not answer that nothing changes: another node
// may have changed it. The administrator gets Conflict, as for each other change.
func TestChangeOfAnotherNodeIsNoUnchangedEntry(t *testing.T) {
	w := newWorld(t)
	one, _ := administered(t, w, 0)
	disable := func(v *admin.Verbs, disabled bool) error {
		_, err := v.SaveUser(ctx, w.alice, admin.SaveUserInput{Name: "u", Disabled: &disabled})
		return err
	}
	if err := disable(one, true); err != nil {
		t.Fatal(err)
	}
	two, d := administered(t, w, 0)
	if err := disable(one, false); err != nil {
		t.Fatal(err)
	}
	if v, err := d.Version(core.EntryUser, "default", "u"); v != 1 || err != nil {
		t.Fatalf("the other node knows version %d, %v; the test needs one that does not follow", v, err)
	}
	if err := disable(two, true); core.CodeOf(err) != core.Conflict {
		t.Errorf("a node that believes the user to be disabled already: %v; want Conflict", err)
	}
	if u, err := one.ReadUser(ctx, w.alice, "", "u"); err != nil || u.Disabled {
		t.Errorf("the user is disabled: %v, %v", u.Disabled, err)
	}
}
