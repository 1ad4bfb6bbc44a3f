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

// Tenants remembers which tenants are declared, and whose keys are loaded. A
// tenant is declared if the store has an active set of keys for it: a row that the
// system set seals.
//
// It is safe for concurrent use.
type Tenants struct {
	ports    *Ports
	maxSets  int // sets of keys that the token may hold
	tampered *tamperedRows

	declared sync.Map // tenant -> nil; only the deletion of the tenant on this node takes it back
	loaded   sync.Map // tenant -> int, the newest epoch that is loaded
	turns    sync.Map // tenant -> chan struct{}, taken while its keys are loaded
	checks   sync.Map // tenant -> keyCheck, the last time that its keys were loaded

	making  sync.Mutex     // held while sets are made
	started map[int64]bool // sets that this process began and may finish
}

func newTenants(p *Ports, most int, tampered *tamperedRows) *Tenants {
	if most <= 0 {
		most = defaultMaxTenants
	}
	return &Tenants{ports: p, maxSets: most, tampered: tampered}
}

// Bounds of waiting for another node that is making a tenant's keys.
const (
	keysPause = 50 * time.Millisecond
	keysTries = 100 // pauses after which a pending set is taken for one that a crash left
)

// loadWait bounds the loading of one tenant's keys, the wait for its turn included.
const loadWait = 10 * time.Second

// Open reads which tenants are declared. It loads no keys; those of a tenant are
// loaded at its first operation. An error of code Tampered means that rows about
// tenants were changed behind the server.
func (t *Tenants) Open(ctx context.Context) error {
	_, err := t.declaredSets(ctx)
	return err
}

// declaredSets returns the active sets of all tenants, in order, and remembers the
// tenants as declared.
func (t *Tenants) declaredSets(ctx context.Context) ([]core.KeySet, error) {
	sets, err := t.ports.Store.KeySets(ctx, "")
	if err != nil {
		return nil, err
	}
	active := inKeyState(sets, core.KeySetActive)
	for _, s := range active {
		t.declared.Store(s.Tenant, nil)
	}
	return active, nil
}

// RequireDeclared returns an error of code AuthenticationNotSuccessful if a tenant is not
// declared. It makes and loads no key. The row is read once; another node may have
// written it since the start.
func (t *Tenants) RequireDeclared(ctx context.Context, tenant string) error {
	if _, ok := t.declared.Load(tenant); ok {
		return nil
	}
	sets, err := t.ports.Store.KeySets(ctx, tenant)
	if err != nil {
		t.tampered.noteError(err)
		return err
	}
	if len(inKeyState(sets, core.KeySetActive)) == 0 {
		return notDeclared(tenant)
	}
	t.declared.Store(tenant, nil)
	return nil
}

// notDeclared returns the error about a tenant that is not declared.
func notDeclared(tenant string) error {
	return core.Errorf(core.AuthenticationNotSuccessful, "tenant %q is not declared; an administrator of the server declares it with keyreeve tenant create %s", core.ClientText(tenant), core.ClientText(tenant))
}

// Declare makes a set of keys for a tenant that has none, and reports whether
// it did. The row of the set is stored before the token makes a key, so that a crash
// leaves a row to finish and never an unknown key. It destroys no key of a set.
func (t *Tenants) Declare(ctx context.Context, tenant string) (made bool, err error) {
	err = t.RequireDeclared(ctx, tenant)
	if err == nil || core.CodeOf(err) != core.AuthenticationNotSuccessful {
		return false, err
	}
	t.making.Lock()
	defer t.making.Unlock()
	if _, ok := t.declared.Load(tenant); ok {
		return false, nil
	}
	if err := t.makeActiveSet(ctx, tenant); err != nil {
		return false, err
	}
	t.declared.Store(tenant, nil)
	return true, nil
}

// Load loads the keys of a declared tenant if they are not loaded. Callers wait for
// other callers of the same tenant only. It fails with TokenUnavailable if the keys
// are not loaded within loadWait.
func (t *Tenants) Load(ctx context.Context, tenant string) error {
	return t.loadEpoch(ctx, tenant, 0)
}

// loadEpoch loads the keys of a tenant if no set of at least this epoch is loaded.
func (t *Tenants) loadEpoch(ctx context.Context, tenant string, epoch int) error {
	return t.LoadUnless(ctx, tenant, func() bool {
		newest, ok := t.loaded.Load(tenant)
		return ok && newest.(int) >= epoch
	})
}

// LoadUnless loads the keys of a tenant unless loaded returns true. It calls loaded a
// second time when the caller's turn has come.
func (t *Tenants) LoadUnless(ctx context.Context, tenant string, loaded func() bool) error {
	if loaded() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, loadWait)
	defer cancel()
	first, _ := t.turns.LoadOrStore(tenant, make(chan struct{}, 1))
	turn := first.(chan struct{})
	select {
	case turn <- struct{}{}:
		defer func() { <-turn }()
	case <-ctx.Done():
		return core.Wrap(core.TokenUnavailable, ctx.Err(), "the keys of tenant %q are still being loaded from the token; try again", core.ClientText(tenant))
	}
	if loaded() {
		return nil
	}
	return t.loadKeys(ctx, tenant)
}

// loadKeys loads all active sets of a tenant and remembers the outcome. It makes no
// keys, because reading a row must not create any.
func (t *Tenants) loadKeys(ctx context.Context, tenant string) error {
	sets, err := t.ports.Store.KeySets(ctx, tenant)
	if err != nil {
		return err
	}
	sets = inKeyState(sets, core.KeySetActive)
	if len(sets) == 0 {
		return notDeclared(tenant)
	}
	if err = t.ports.HSM.LoadKeySets(ctx, sets); ctx.Err() == nil {
		t.checks.Store(tenant, keyCheck{at: t.ports.Clock.Now(), err: err})
	}
	if err != nil {
		return err
	}
	newest := 0
	for _, s := range sets {
		newest = max(newest, s.Epoch)
	}
	t.loaded.Store(tenant, newest)
	return nil
}

// makeActiveSet makes the active set of a tenant that has none, or waits for another
// node that is making it. If two nodes each made a set, they could not open each
// other's objects.
func (t *Tenants) makeActiveSet(ctx context.Context, tenant string) error {
	for try := 1; ; try++ {
		sets, err := t.ports.Store.KeySets(ctx, tenant)
		if err != nil {
			return err
		}
		if len(inKeyState(sets, core.KeySetActive)) > 0 {
			return nil
		}
		if len(inKeyState(sets, core.KeySetDestroyed)) > 0 {
			return core.Errorf(core.IllegalOperation, "tenant %s was deleted, and its name is not used again; choose another name", tenant)
		}
		err = t.makeProgress(ctx, tenant, sets, try)
		if core.CodeOf(err) == core.Conflict && try < keysTries { // another node was faster
			err = nil
		}
		if err != nil {
			return err
		}
	}
}

// makeProgress takes the next step towards a set for a tenant that has no active one.
func (t *Tenants) makeProgress(ctx context.Context, tenant string, sets []core.KeySet, try int) error {
	pending := inKeyState(sets, core.KeySetPending)
	if len(pending) == 0 {
		return t.beginSet(ctx, tenant, sets)
	}
	s := pending[0]
	switch {
	case !t.ports.Store.Shared() || t.started[s.Number]:
		return t.finishSet(ctx, s)
	case try < keysTries:
		return pauseForKeys(ctx, keysPause)
	}
	// The node that began the set has stopped, or hangs and may continue at any time.
	// If two nodes finished one set, they could make a key twice, so it is retired.
	return t.retireSet(ctx, s)
}

// inKeyState returns the sets that are in a state.
func inKeyState(sets []core.KeySet, state core.KeySetState) (out []core.KeySet) {
	for _, s := range sets {
		if s.State == state {
			out = append(out, s)
		}
	}
	return out
}

// pauseForKeys waits while another node makes keys. It fails if the request ends.
func pauseForKeys(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return core.Wrap(core.StoreUnavailable, ctx.Err(), "another node is making the tenant's keys, and the request ended before they were made")
	case <-time.After(d):
		return nil
	}
}

// defaultMaxTenants bounds the tenants if the settings give no bound.
const defaultMaxTenants = 1000

// beginSet stores the row of a new set. No row and no key in the token has its number:
// a restored database may lack rows of sets that are in use, and a set never serves
// a second tenant.
func (t *Tenants) beginSet(ctx context.Context, tenant string, own []core.KeySet) error {
	all, err := t.ports.Store.KeySets(ctx, "")
	if err != nil {
		return err
	}
	if len(all)-len(inKeyState(all, core.KeySetDestroyed)) >= t.maxSets {
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
		exists, err := t.ports.HSM.KeySetExists(ctx, s.Number)
		if err != nil {
			return err
		}
		if !exists {
			break
		}
	}
	if err := t.ports.Store.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: s})); err != nil {
		return err
	}
	if t.started == nil {
		t.started = map[int64]bool{}
	}
	t.started[s.Number] = true
	return nil
}

// finishSet makes the missing keys of a pending set. If a crash left an incomplete key
// in the set, the set cannot be finished and is retired.
func (t *Tenants) finishSet(ctx context.Context, s core.KeySet) error {
	checks, err := t.ports.HSM.MakeKeySet(ctx, s)
	if core.CodeOf(err) == core.ObjectAlreadyExists {
		t.ports.Log.Warn("a set of keys cannot be finished", "set", s.Number, "tenant", s.Tenant, "error", err)
		return t.retireSet(ctx, s)
	}
	if err != nil {
		return err
	}
	s.State, s.Checks = core.KeySetActive, checks
	return t.changeSet(ctx, s, core.ActionCreateTenantKeys)
}

// retireSet retires a pending set. Nothing is sealed under it. Its keys stay in the
// token, and its number is not used again.
func (t *Tenants) retireSet(ctx context.Context, s core.KeySet) error {
	s.State = core.KeySetRetired
	return t.changeSet(ctx, s, core.ActionRetireTenantKeys)
}

// changeSet stores a set with a record of the change.
func (t *Tenants) changeSet(ctx context.Context, s core.KeySet, action core.Action) error {
	r := core.Record{Time: t.ports.Clock.NowMicro(), Tenant: s.Tenant, Principal: "keyreeve", Door: core.DoorClock, Action: action,
		Outcome: core.Allowed, ExecutedIn: "token", Detail: fmt.Sprintf("set %d, epoch %d", s.Number, s.Epoch)}
	return t.ports.Store.Commit(ctx, core.ChangeOf(core.SaveKeySet{KeySet: s}, t.ports.RecordWrite(&r)))
}

// newCKAID returns a new CKA_ID: 16 random bytes.
func newCKAID() []byte {
	b := make([]byte, 16)
	rand.Read(b) // never fails since Go 1.24
	return b
}

// NewID returns a new Unique Identifier, which is random so that it cannot be guessed.
func NewID() string { return uuid.NewString() }
