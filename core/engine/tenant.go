package engine

import (
	"context"
	"crypto/rand"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/keyreeve/keyreeve/core"
)

// tenants remembers which tenants are declared, and whose keys are loaded. A
// tenant is declared if the store has an active set of keys for it: a row that the
// system set seals.
type tenants struct {
	declared sync.Map // tenant -> nil; nothing takes a declaration back
	loaded   sync.Map // tenant -> int, the newest epoch that is loaded
	turns    sync.Map // tenant -> chan struct{}, taken while its keys are loaded
	checks   sync.Map // tenant -> keyCheck, the last time that its keys were loaded

	making  sync.Mutex     // held while sets are made
	started map[int64]bool // sets that this process began and may finish
}

// Bounds of waiting for another node that is making a tenant's keys.
const (
	keysPause = 50 * time.Millisecond
	keysTries = 100 // pauses after which a set that is still pending is a crash's
)

// loadWait bounds the loading of one tenant's keys, the wait for its turn included.
const loadWait = 10 * time.Second

// OpenTenants reads which tenants are declared. It loads none of their keys: that
// is done at a tenant's first use. An error of code Tampered says that rows about
// tenants were changed behind the server.
func (e *Engine) OpenTenants(ctx context.Context) error {
	_, err := e.declaredSets(ctx)
	return err
}

// declaredSets returns the active sets of all tenants, in order, and remembers the
// tenants as declared.
func (e *Engine) declaredSets(ctx context.Context) ([]core.KeySet, error) {
	sets, err := e.ports.Store.KeySets(ctx, "")
	if err != nil {
		return nil, err
	}
	active := inKeyState(sets, core.KeySetActive)
	for _, s := range active {
		e.tenants.declared.Store(s.Tenant, nil)
	}
	return active, nil
}

// RequireDeclared returns an error of code AuthenticationNotSuccessful if a tenant is not
// declared. It makes and loads no key. The row is read once; another node may have
// written it since the start.
func (e *Engine) RequireDeclared(ctx context.Context, tenant string) error {
	if _, ok := e.tenants.declared.Load(tenant); ok {
		return nil
	}
	sets, err := e.ports.Store.KeySets(ctx, tenant)
	if err != nil {
		e.noteTampered(err)
		return err
	}
	if len(inKeyState(sets, core.KeySetActive)) == 0 {
		return notDeclared(tenant)
	}
	e.tenants.declared.Store(tenant, nil)
	return nil
}

func notDeclared(tenant string) error {
	return core.Errorf(core.AuthenticationNotSuccessful, "tenant %q is not declared; an administrator of the server declares it with keyreeve tenant create %s", printable(tenant), printable(tenant))
}

// DeclareTenant makes a set of keys for a tenant that has none, and reports whether
// it did. The set has its row before the token is asked, so that a crash leaves a
// row to finish and never a key that nobody knows of. No key of a set is ever
// destroyed here.
func (e *Engine) DeclareTenant(ctx context.Context, tenant string) (made bool, err error) {
	err = e.RequireDeclared(ctx, tenant)
	if err == nil || core.CodeOf(err) != core.AuthenticationNotSuccessful {
		return false, err
	}
	e.tenants.making.Lock()
	defer e.tenants.making.Unlock()
	if _, ok := e.tenants.declared.Load(tenant); ok {
		return false, nil
	}
	if err := e.makeActiveSet(ctx, tenant); err != nil {
		return false, err
	}
	e.tenants.declared.Store(tenant, nil)
	return true, nil
}

// keysOf makes sure that the keys are loaded which an object was sealed under:
// another node may have made them since.
func (k *call) keysOf(o *core.ManagedObject) error {
	return k.engine.loadEpoch(k.ctx, o.Tenant, o.Material.Epoch)
}

// LoadTenant loads the keys of a declared tenant if they are not loaded. Callers of
// one tenant wait for each other and not for those of others.
func (e *Engine) LoadTenant(ctx context.Context, tenant string) error {
	return e.loadEpoch(ctx, tenant, 0)
}

func (e *Engine) loadEpoch(ctx context.Context, tenant string, epoch int) error {
	return e.loadUnless(ctx, tenant, func() bool {
		newest, ok := e.tenants.loaded.Load(tenant)
		return ok && newest.(int) >= epoch
	})
}

// loadUnless loads the keys of a tenant unless loaded returns true, which it asks
// again when it is the caller's turn.
func (e *Engine) loadUnless(ctx context.Context, tenant string, loaded func() bool) error {
	if loaded() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadWait)
	defer cancel()
	first, _ := e.tenants.turns.LoadOrStore(tenant, make(chan struct{}, 1))
	turn := first.(chan struct{})
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return core.Wrap(core.TokenUnavailable, ctx.Err(), "the keys of tenant %q are still being loaded from the token; try again", printable(tenant))
	}
	if loaded() {
		return nil
	}
	return e.loadKeys(ctx, tenant)
}

// loadKeys loads all active sets of a tenant and remembers how that ended. It makes
// none: a row that is read must not call keys into being.
func (e *Engine) loadKeys(ctx context.Context, tenant string) error {
	sets, err := e.ports.Store.KeySets(ctx, tenant)
	if err != nil {
		return err
	}
	sets = inKeyState(sets, core.KeySetActive)
	if len(sets) == 0 {
		return notDeclared(tenant)
	}
	if err = e.ports.HSM.LoadKeySets(ctx, sets); ctx.Err() == nil {
		e.tenants.checks.Store(tenant, keyCheck{at: e.ports.Clock.Now(), err: err})
	}
	if err != nil {
		return err
	}
	newest := 0
	for _, s := range sets {
		newest = max(newest, s.Epoch)
	}
	e.tenants.loaded.Store(tenant, newest)
	return nil
}

// makeActiveSet makes the active set of a tenant that has none, unless another node
// is making it: two nodes that made sets of their own could not open each other's
// objects.
func (e *Engine) makeActiveSet(ctx context.Context, tenant string) error {
	for try := 1; ; try++ {
		sets, err := e.ports.Store.KeySets(ctx, tenant)
		if err != nil {
			return err
		}
		if len(inKeyState(sets, core.KeySetActive)) > 0 {
			return nil
		}
		err = e.makeProgress(ctx, tenant, sets, try)
		if core.CodeOf(err) == core.Conflict && try < keysTries { // another node was faster
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

// makeProgress takes the next step towards a set for a tenant that has no active one.
func (e *Engine) makeProgress(ctx context.Context, tenant string, sets []core.KeySet, try int) error {
	pending := inKeyState(sets, core.KeySetPending)
	if len(pending) == 0 {
		return e.beginSet(ctx, tenant, sets)
	}
	s := pending[0]
	switch {
	case !e.ports.Store.Shared() || e.tenants.started[s.Number]:
		return e.finishSet(ctx, s)
	case try < keysTries:
		return pause(ctx, keysPause)
	}
	// The node that began it is gone, or stands still and may go on at any moment.
	// Two nodes that finished one set could make a key twice, so it is given up.
	return e.retireSet(ctx, s)
}

func inKeyState(sets []core.KeySet, state core.KeySetState) (out []core.KeySet) {
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
		return core.Wrap(core.StoreUnavailable, ctx.Err(), "another node is making the tenant's keys, and the request ended before they were made")
	case <-time.After(d):
		return nil
	}
}

// defaultMaxTenants bounds the tenants where the settings say nothing.
const defaultMaxTenants = 1000

// beginSet writes the row of a new set. Its number is one that no row names and
// that the token has no key of: a restored database may lack rows of sets that
// tenants' objects are sealed under, and no set ever serves a second tenant.
func (e *Engine) beginSet(ctx context.Context, tenant string, own []core.KeySet) error {
	all, err := e.ports.Store.KeySets(ctx, "")
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
		exists, err := e.ports.HSM.KeySetExists(ctx, s.Number)
		if err != nil {
			return err
		}
		if !exists {
			break
		}
	}
	if err := e.ports.Store.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: s})); err != nil {
		return err
	}
	if e.tenants.started == nil {
		e.tenants.started = map[int64]bool{}
	}
	e.tenants.started[s.Number] = true
	return nil
}

func (e *Engine) maxTenants() int {
	if e.settings.MaxTenants > 0 {
		return e.settings.MaxTenants
	}
	return defaultMaxTenants
}

// finishSet makes the keys that a pending set lacks. A set that cannot be
// finished, since a crash left a key in it that is not whole, is given up.
func (e *Engine) finishSet(ctx context.Context, s core.KeySet) error {
	checks, err := e.ports.HSM.MakeKeySet(ctx, s)
	if core.CodeOf(err) == core.ObjectAlreadyExists {
		e.ports.Log.Warn("a set of keys cannot be finished", "set", s.Number, "tenant", s.Tenant, "error", err)
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
	r := core.Record{Time: e.ports.Clock.NowMicro(), Tenant: s.Tenant, Principal: "keyreeve", Door: core.DoorClock, Action: action,
		Outcome: core.Allowed, Where: "token", Detail: fmt.Sprintf("set %d, epoch %d", s.Number, s.Epoch)}
	return e.ports.Store.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: s}, e.recordOf(&r)))
}

// newToken makes a CKA_ID: 16 random bytes.
func newToken() []byte {
	b := make([]byte, 16)
	rand.Read(b) // never fails since Go 1.24
	return b
}

// newID makes a Unique Identifier: random, so that nobody guesses one.
func newID() string { return uuid.NewString() }
