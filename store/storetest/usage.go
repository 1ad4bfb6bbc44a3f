package storetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// The usage of a tenant is the sum over its stored changes. It has nothing of refused
// changes or of other tenants, and if many callers write at once, none is lost.
func usageAddsUp(t *testing.T, s core.Store) {
	born := func(tenant, id string) *core.Change {
		o := Object(tenant, id)
		return core.ChangeOf(core.InsertObject{Object: o}, core.AddUsage{Tenant: o.Tenant, Usage: core.Usage{Objects: 1, ResidentKeys: 1, Bytes: 100}})
	}
	has := func(tenant string, want core.Usage) {
		t.Helper()
		if got, err := s.Usage(ctx, tenant); err != nil || got != want {
			t.Errorf("tenant %s has %+v, %v; want %+v", tenant, got, err, want)
		}
	}
	has("usage", core.Usage{})
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			if err := s.Commit(ctx, born("usage", fmt.Sprint("u", i))); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	mustSucceed(t, s.Commit(ctx, born("usage too", "u0")))
	wantCode(t, "an id that exists", s.Commit(ctx, born("usage", "u0")), core.ObjectAlreadyExists)
	has("usage", core.Usage{Objects: 50, ResidentKeys: 50, Bytes: 5000})
	has("usage too", core.Usage{Objects: 1, ResidentKeys: 1, Bytes: 100})
	o, err := s.Object(ctx, "usage", "u1")
	mustSucceed(t, err)
	next := *o
	next.Version++
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next}, core.AddUsage{Tenant: next.Tenant, Usage: core.Usage{ResidentKeys: -1, Bytes: -40}})))
	wantCode(t, "an old version", s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next}, core.AddUsage{Tenant: next.Tenant, Usage: core.Usage{Bytes: -40}})), core.Conflict)
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.DeleteObject{Object: &next}, core.AddUsage{Tenant: next.Tenant, Usage: core.Usage{Objects: -1, Bytes: -60}})))
	has("usage", core.Usage{Objects: 49, ResidentKeys: 49, Bytes: 4900})
}
