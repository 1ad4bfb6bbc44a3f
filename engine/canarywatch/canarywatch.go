// Package canarywatch checks in the background whether the canaries of all tenants hold.
//
// It relies on the directory and on the code of package engine/admin that decides canaries,
// both by functions. Start at [CanaryWatch.Run].
package canarywatch

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// BrokenCanary is a canary that does not hold, and why.
type BrokenCanary struct{ Tenant, Name, Why string }

// Times of a canary watch.
const (
	canariesEvery = time.Minute
	canaryPause   = time.Millisecond // after each, so that many canaries leave the processor to requests
)

// CanaryWatch knows which canaries do not hold. A change of a policy asks them before it is
// stored; the watch finds those that a changed object, group, user or region has broken, and
// those that were broken while no server ran. Safe for concurrent use.
type CanaryWatch struct {
	ports  Ports
	wanted chan struct{} // holds one signal
	broken atomic.Pointer[[]BrokenCanary]
}

// Ports are what a watch needs. All are required.
type Ports struct {
	Engine *engine.Engine
	List   func() ([]*core.DirectoryEntry, error)                              // of all tenants
	Breaks func(context.Context, *core.DirectoryEntry) (why string, err error) // "" if it holds
}

// New returns a watch that has checked nothing yet.
func New(p Ports) *CanaryWatch {
	w := &CanaryWatch{ports: p, wanted: make(chan struct{}, 1)}
	w.broken.Store(new([]BrokenCanary))
	return w
}

// BrokenOf lists the canaries of a tenant that did not hold at the last check, or those of all
// tenants for the tenant of the system.
func (w *CanaryWatch) BrokenOf(tenant string) []BrokenCanary {
	return slices.DeleteFunc(slices.Clone(*w.broken.Load()), func(b BrokenCanary) bool { return tenant != core.SystemTenant && b.Tenant != tenant })
}

// CheckSoon begins the next check now.
func (w *CanaryWatch) CheckSoon() {
	select {
	case w.wanted <- struct{}{}:
	default:
	}
}

// Run checks all canaries at once and then every minute, until ctx ends.
func (w *CanaryWatch) Run(ctx context.Context) {
	tick := time.NewTicker(canariesEvery)
	defer tick.Stop()
	for {
		if err := w.Check(ctx); err != nil && ctx.Err() == nil {
			w.ports.Engine.Ports.Log.Error("check canaries", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.wanted:
		}
	}
}

// Check checks the canaries of all tenants. One that has broken since the last check leaves a
// record of its tenant.
func (w *CanaryWatch) Check(ctx context.Context) error {
	all, err := w.ports.List()
	if err != nil {
		return err
	}
	known := map[string]bool{}
	for _, b := range w.BrokenOf(core.SystemTenant) {
		known[b.Tenant+"/"+b.Name] = true
	}
	var broken []BrokenCanary
	for _, e := range all {
		one, err := w.checkOne(ctx, e)
		if err != nil {
			return err
		}
		if one == nil {
			continue
		}
		broken = append(broken, *one)
		if !known[one.Tenant+"/"+one.Name] {
			w.reportBroken(ctx, one)
		}
	}
	w.broken.Store(&broken)
	return nil
}

// checkOne returns the canary of an entry if it does not hold.
func (w *CanaryWatch) checkOne(ctx context.Context, e *core.DirectoryEntry) (*BrokenCanary, error) {
	select {
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-time.After(canaryPause):
	}
	why, err := w.ports.Breaks(ctx, e)
	if err != nil || why == "" {
		return nil, err
	}
	return &BrokenCanary{Tenant: e.Tenant, Name: e.ID, Why: why}, nil
}

// reportBroken logs and records a canary that has broken.
func (w *CanaryWatch) reportBroken(ctx context.Context, b *BrokenCanary) {
	log := w.ports.Engine.Ports.Log
	log.Warn("a canary does not hold", "tenant", b.Tenant, "canary", b.Name, "why", b.Why)
	r := core.Record{Action: core.ActionCheckCanary, Outcome: core.Failed, Code: core.Conflict, Tenant: b.Tenant, Detail: "the canary " + b.Name + " does not hold: " + b.Why}
	if err := w.ports.Engine.RecordEvent(ctx, r); err != nil {
		log.Error("audit", "operation", r.Action, "error", err)
	}
}
