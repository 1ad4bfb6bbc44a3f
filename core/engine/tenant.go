package engine

import (
	"context"
	"crypto/rand"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keyreeve/keyreeve/core"
)

// tenants remembers which tenants' keys the token has shown.
type tenants struct {
	mu      sync.Mutex     // held while sets are made or loaded
	ready   sync.Map       // tenant -> int, the newest epoch that is loaded
	started map[int64]bool // sets that this process began and may finish
}

// Bounds of waiting for another node that is making a tenant's keys.
const (
	keysPause = 50 * time.Millisecond
	keysTries = 100 // pauses after which a set that is still pending is a crash's
)

// EnsureTenant loads the keys of a tenant, and makes a set of keys for a tenant
// that has none. The set has its row before the token is asked, so that a crash
// leaves a row to finish and never a key that nobody knows of. No key of a set is
// ever destroyed here.
func (e *Engine) EnsureTenant(ctx context.Context, tenant string) error {
	return e.ensureEpoch(ctx, tenant, 0)
}

// LoadTenants loads the keys of every tenant that has any, in one go.
func (e *Engine) LoadTenants(ctx context.Context) error {
	e.tenants.mu.Lock()
	defer e.tenants.mu.Unlock()
	sets, err := e.Store.KeySets(ctx, "")
	if err != nil {
		return err
	}
	return e.load(ctx, slices.DeleteFunc(sets, func(s core.KeySet) bool { return s.State != core.KeySetActive }))
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
	sets, err := e.activeSets(ctx, tenant)
	if err != nil {
		return err
	}
	return e.load(ctx, sets)
}

func (e *Engine) load(ctx context.Context, sets []core.KeySet) error {
	if len(sets) == 0 {
		return nil
	}
	if err := e.HSM.LoadKeySets(ctx, sets); err != nil {
		return err
	}
	newest := map[string]int{}
	for _, s := range sets {
		newest[s.Tenant] = max(newest[s.Tenant], s.Epoch)
	}
	for tenant, epoch := range newest {
		e.tenants.ready.Store(tenant, epoch)
	}
	return nil
}

// activeSets reads a tenant's active sets, and makes one if there is none,
// unless another node is at it: two nodes that made sets of their own could not
// open each other's objects.
func (e *Engine) activeSets(ctx context.Context, tenant string) ([]core.KeySet, error) {
	for try := 1; ; try++ {
		sets, err := e.Store.KeySets(ctx, tenant)
		if err != nil {
			return nil, err
		}
		if active := inKeyState(sets, core.KeySetActive); len(active) > 0 {
			return active, nil
		}
		err = e.advance(ctx, tenant, sets, try)
		if core.CodeOf(err) == core.Conflict && try < keysTries { // another node was faster
			err = nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// advance goes one step on towards a set for a tenant that has no active one.
func (e *Engine) advance(ctx context.Context, tenant string, sets []core.KeySet, try int) error {
	pending := inKeyState(sets, core.KeySetPending)
	if len(pending) == 0 {
		return e.beginSet(ctx, tenant, sets)
	}
	s := pending[0]
	switch {
	case !e.Store.Shared() || e.tenants.started[s.Number]:
		return e.finishSet(ctx, s)
	case try < keysTries:
		return pause(ctx, keysPause)
	}
	// The node that began it is gone, or stands still and may go on at any moment.
	// Two nodes that finished one set could make a key twice, so it is given up.
	return e.retireSet(ctx, s)
}

func inKeyState(sets []core.KeySet, state string) (out []core.KeySet) {
	for _, s := range sets {
		if s.State == state {
			out = append(out, s)
		}
	}
	return out
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return core.Wrap(core.StoreUnavailable, ctx.Err(), "another node is making the tenant's keys, and the request ended before it had")
	case <-time.After(d):
		return nil
	}
}

// defaultMaxTenants bounds the tenants where Options say nothing.
const defaultMaxTenants = 1000

// beginSet writes the row of a new set. Its number is one that no row names and
// that the token has no key of: a restored database may lack rows of sets that
// tenants' objects are sealed under, and no set ever serves a second tenant.
func (e *Engine) beginSet(ctx context.Context, tenant string, own []core.KeySet) error {
	all, err := e.Store.KeySets(ctx, "")
	if err != nil {
		return err
	}
	if len(all) >= e.maxTenants() {
		return core.Errorf(core.PermissionDenied, "tenant %q has no keys yet, and the token holds %d sets of keys, as many as hsm.max_tenants allows; raise it if the HSM has room for 7 keys more for each tenant", tenant, len(all))
	}
	s := core.KeySet{Number: 1, Tenant: tenant, Epoch: 1, State: core.KeySetPending}
	for _, o := range all {
		s.Number = max(s.Number, o.Number+1)
	}
	for _, o := range own {
		s.Epoch = max(s.Epoch, o.Epoch+1)
	}
	for ; ; s.Number++ {
		exists, err := e.HSM.KeySetExists(ctx, s.Number)
		if err != nil {
			return err
		}
		if !exists {
			break
		}
	}
	if err := e.Store.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: s})); err != nil {
		return err
	}
	if e.tenants.started == nil {
		e.tenants.started = map[int64]bool{}
	}
	e.tenants.started[s.Number] = true
	return nil
}

func (e *Engine) maxTenants() int {
	if e.MaxTenants > 0 {
		return e.MaxTenants
	}
	return defaultMaxTenants
}

// finishSet makes the keys that a pending set lacks. A set that cannot be
// finished, since a crash left a key in it that is not whole, is given up.
func (e *Engine) finishSet(ctx context.Context, s core.KeySet) error {
	checks, err := e.HSM.MakeKeySet(ctx, s)
	if core.CodeOf(err) == core.ObjectAlreadyExists {
		e.Log.Warn("a set of keys cannot be finished", "set", s.Number, "tenant", s.Tenant, "error", err)
		return e.retireSet(ctx, s)
	}
	if err != nil {
		return err
	}
	s.State, s.Checks = core.KeySetActive, checks
	return e.changeSet(ctx, s, core.ActionCreateTenantKeys)
}

// retireSet gives up a pending set. Nothing is sealed under it; its keys stay in
// the token, and its number is not used again.
func (e *Engine) retireSet(ctx context.Context, s core.KeySet) error {
	s.State = core.KeySetRetired
	return e.changeSet(ctx, s, core.ActionRetireTenantKeys)
}

func (e *Engine) changeSet(ctx context.Context, s core.KeySet, action core.Action) error {
	r := core.Record{Time: e.Clock.NowMicro(), Tenant: s.Tenant, Principal: "keyreeve", Door: core.DoorClock, Action: action,
		Outcome: core.Allowed, Where: "token", Detail: fmt.Sprintf("set %d, epoch %d", s.Number, s.Epoch)}
	return e.Store.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: s}, e.recordOf(&r)))
}

// newToken makes a CKA_ID: 16 random bytes.
func newToken() []byte {
	b := make([]byte, 16)
	rand.Read(b) // never fails since Go 1.24
	return b
}

// newID makes a Unique Identifier: random, so that nobody guesses one.
func newID() string { return uuid.NewString() }
