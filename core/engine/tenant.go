package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"

	"github.com/google/uuid"

	"github.com/keyreeve/keyreeve/core"
)

// purposes are the five keys of a tenant (docs/DESIGN.md, Custody).
var purposes = []string{"N", "X", "C", "D", "R"}

// tenants remembers which tenants' keys the token has shown.
type tenants struct {
	mu    sync.Mutex // held while keys are made or loaded
	ready sync.Map   // tenant -> struct{}
}

// EnsureTenant makes the keys that a tenant lacks and loads them all. Each key
// has its row before the token is asked, so that a crash leaves a row to
// clean up by and never a key that nobody knows of.
func (e *Engine) EnsureTenant(ctx context.Context, tenant string) error {
	if _, ok := e.tenants.ready.Load(tenant); ok {
		return nil
	}
	e.tenants.mu.Lock()
	defer e.tenants.mu.Unlock()
	keys, err := e.Store.TenantKeys(ctx, tenant)
	if err != nil {
		return err
	}
	if keys, err = e.completeKeys(ctx, tenant, keys); err != nil {
		return err
	}
	if err := e.HSM.LoadTenantKeys(ctx, keys); err != nil {
		return err
	}
	e.tenants.ready.Store(tenant, struct{}{})
	return nil
}

// completeKeys makes what is missing among the active keys.
func (e *Engine) completeKeys(ctx context.Context, tenant string, keys []core.TenantKey) ([]core.TenantKey, error) {
	var active []core.TenantKey
	epoch, have := map[string]int{}, map[string]bool{}
	for _, k := range keys {
		epoch[k.Purpose] = max(epoch[k.Purpose], k.Epoch)
		if k.State == "active" {
			active, have[k.Purpose] = append(active, k), true
		}
	}
	if err := e.retirePending(ctx, keys); err != nil {
		return nil, err
	}
	for _, p := range purposes {
		if have[p] {
			continue
		}
		k, err := e.makeKey(ctx, core.TenantKey{Tenant: tenant, Purpose: p, Epoch: epoch[p] + 1})
		if err != nil {
			return nil, err
		}
		active = append(active, k)
	}
	return active, nil
}

// retirePending removes what a crash left half made. A pending key has sealed
// nothing yet. On a shared store another node may be making it just now, so it
// is left alone there.
func (e *Engine) retirePending(ctx context.Context, keys []core.TenantKey) error {
	for _, k := range keys {
		if k.State != "pending" || e.Store.Shared() {
			continue
		}
		if err := e.HSM.DestroyObject(ctx, k.Token); err != nil {
			return err
		}
		k.State = "retired"
		if err := e.Store.Commit(ctx, &core.Change{TenantKeys: []core.TenantKey{k}}); err != nil {
			return err
		}
	}
	return nil
}

func (e *Engine) makeKey(ctx context.Context, k core.TenantKey) (core.TenantKey, error) {
	k.Token, k.State = newToken(), "pending"
	if err := e.Store.Commit(ctx, &core.Change{TenantKeys: []core.TenantKey{k}}); err != nil {
		return k, err
	}
	if err := e.HSM.MakeTenantKey(ctx, k); err != nil {
		return k, err
	}
	k.State = "active"
	r := core.Record{Time: e.Clock.NowMicro(), Tenant: k.Tenant, Principal: "keyreeve", Door: core.DoorClock, Operation: "Create Tenant Key",
		Object: k.Purpose, Outcome: core.Allowed, Where: "token", Detail: "CKA_ID " + hex.EncodeToString(k.Token)}
	return k, e.Store.Commit(ctx, &core.Change{TenantKeys: []core.TenantKey{k}, Entries: []core.Entry{e.Journal.Seal(&r)}})
}

// newToken makes a CKA_ID: 16 random bytes.
func newToken() []byte {
	b := make([]byte, 16)
	rand.Read(b) // never fails since Go 1.24
	return b
}

// newID makes a Unique Identifier: random, so that nobody guesses one.
func newID() string { return uuid.NewString() }
