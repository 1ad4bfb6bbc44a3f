package engine

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keyreeve/keyreeve/core"
)

// purposes are the five keys of a tenant (docs/DESIGN.md, Custody).
var purposes = []string{"N", "X", "C", "D", "R"}

// tenants remembers which tenants' keys the token has shown.
type tenants struct {
	mu    sync.Mutex // held while keys are made or loaded
	ready sync.Map   // tenant -> int, the newest epoch that is loaded
}

// Bounds of waiting for another node that is making a tenant's keys.
const (
	keysPause = 50 * time.Millisecond
	keysTries = 100 // pauses after which a key that is still pending is a crash's
)

// EnsureTenant makes the keys that a tenant lacks and loads them all. Each key
// has its row before the token is asked, so that a crash leaves a row to
// clean up by and never a key that nobody knows of.
func (e *Engine) EnsureTenant(ctx context.Context, tenant string) error {
	return e.ensureEpoch(ctx, tenant, 0)
}

// keysOf makes sure that the keys are loaded which an object was sealed under:
// another node may have made them since.
func (k *call) keysOf(o *core.ManagedObject) error {
	return k.ensureEpoch(k.ctx, o.Tenant, o.Material.Epoch)
}

func (e *Engine) ensureEpoch(ctx context.Context, tenant string, epoch int) error {
	if newest, ok := e.tenants.ready.Load(tenant); ok && newest.(int) >= epoch {
		return nil
	}
	e.tenants.mu.Lock()
	defer e.tenants.mu.Unlock()
	keys, err := e.activeKeys(ctx, tenant)
	if err != nil {
		return err
	}
	if err := e.HSM.LoadTenantKeys(ctx, keys); err != nil {
		return err
	}
	newest := 0
	for _, k := range keys {
		newest = max(newest, k.Epoch)
	}
	e.tenants.ready.Store(tenant, newest)
	return nil
}

// activeKeys reads a tenant's active keys, and makes what lacks unless another
// node is at it: two nodes that made keys of their own could not open each
// other's objects.
func (e *Engine) activeKeys(ctx context.Context, tenant string) (active []core.TenantKey, err error) {
	for try := 1; ; try++ {
		keys, err := e.Store.TenantKeys(ctx, tenant)
		if err != nil {
			return nil, err
		}
		if err := e.retirePending(ctx, keys); err != nil {
			return nil, err
		}
		active, pending := sortKeys(keys)
		switch lack := lacking(active); {
		case len(lack) == 0:
			return active, nil
		case e.Store.Shared() && pending[lack[0]] && try < keysTries:
			err = pause(ctx, keysPause)
		default:
			_, err = e.makeKey(ctx, core.TenantKey{Tenant: tenant, Purpose: lack[0], Epoch: newestOf(keys, lack[0]) + 1})
			if core.CodeOf(err) == core.Conflict && try < keysTries { // another node was faster
				err = nil
			}
		}
		if err != nil {
			return nil, err
		}
	}
}

// sortKeys returns the active keys, and the purposes that have a pending one.
func sortKeys(keys []core.TenantKey) (active []core.TenantKey, pending map[string]bool) {
	pending = map[string]bool{}
	for _, k := range keys {
		switch k.State {
		case "active":
			active = append(active, k)
		case "pending":
			pending[k.Purpose] = true
		}
	}
	return active, pending
}

func lacking(active []core.TenantKey) (out []string) {
	for _, p := range purposes {
		if !slices.ContainsFunc(active, func(k core.TenantKey) bool { return k.Purpose == p }) {
			out = append(out, p)
		}
	}
	return out
}

func newestOf(keys []core.TenantKey, purpose string) (epoch int) {
	for _, k := range keys {
		if k.Purpose == purpose {
			epoch = max(epoch, k.Epoch)
		}
	}
	return epoch
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return core.Wrap(core.StoreUnavailable, ctx.Err(), "another node is making the tenant's keys, and the request ended before it had")
	case <-time.After(d):
		return nil
	}
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
