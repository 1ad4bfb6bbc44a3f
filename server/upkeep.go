package server

import (
	"context"
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/directory"
	"github.com/keyreeve/keyreeve/engine/upkeep"
)

// reconcileEvery is how often what a crash left is cleaned up while serving.
const reconcileEvery = time.Minute

// upkeepLoop does what no request does.
type upkeepLoop struct {
	engine  *engine.Engine
	tokens  *admin.TokenVerbs
	tenants *directory.Tenants
	entries *directory.Directory
	verbs   *upkeep.Verbs
	log     *slog.Logger
}

func (s *Server) startUpkeep(context.Context) (stopper, error) {
	return inBackground(s.upkeep.housekeep, s.upkeep.checkTenants, s.upkeep.forgetInactive, s.canaries.Run, s.jobs.Follow), nil
}

// forgetEvery is how often the keys of tenants that are not active are dropped. With the
// times of the directory, no node keeps one for a second.
const forgetEvery = 250 * time.Millisecond

// forgetInactive drops the keys that this node keeps unwrapped of tenants that are not active.
func (u *upkeepLoop) forgetInactive(ctx context.Context) {
	core.Every(ctx, forgetEvery, func() { u.verbs.ForgetInactive(u.tenants.Inactive()) })
}

// housekeep does once a minute what is due.
func (u *upkeepLoop) housekeep(ctx context.Context) {
	core.Every(ctx, reconcileEvery, func() {
		if err := u.reconcile(ctx, false); err != nil {
			u.log.Error("reconcile", "error", err)
		}
		if err := u.verbs.RecordReachedDates(ctx); err != nil {
			u.log.Error("record dates", "error", err)
		}
		if err := u.tokens.Prune(ctx); err != nil {
			u.log.Error("prune the directory", "error", err)
		}
		if n, err := u.verbs.RemoveObjects(ctx, u.tenants.Inactive()); err != nil {
			u.log.Error("remove the objects of deleted tenants", "removed", n, "error", err)
		}
		if n, err := u.verbs.RemoveEntries(ctx, u.entries, u.tenants.Inactive()); err != nil {
			u.log.Error("remove the policies and people of deleted tenants", "removed", n, "error", err)
		}
		u.recordLogins(ctx) // says in the log what it could not do
	})
}

// recordLogins ends a period of counted failed logins.
func (u *upkeepLoop) recordLogins(ctx context.Context) error {
	err := u.engine.RecordCountedLogins(ctx)
	if err != nil {
		u.log.Error("audit", "operation", "Login", "error", err)
	}
	return err
}

// reconcile runs the reconciler. A row that was changed behind the server does
// not keep it from starting: it is shown in health, and not used.
func (u *upkeepLoop) reconcile(ctx context.Context, atStart bool) error {
	n, err := u.verbs.Reconcile(ctx, atStart)
	if n.Finished+n.Removed+n.Orphans > 0 {
		u.log.Info("reconcile", "finished", n.Finished, "removed", n.Removed, "unexplained", n.Orphans)
	}
	if atStart && err != nil && core.CodeOf(err) == core.Tampered {
		u.log.Error("reconcile", "error", err)
		return nil
	}
	return err
}

// Times of the check of tenants' keys: the first is after requests have been served
// for a while, and others get the token after each tenant.
const (
	checkTenantsAfter = 2 * time.Second
	checkTenantsEvery = time.Minute
	checkTenantsPause = 100 * time.Millisecond
)

// checkTenants checks the keys of every tenant in the background.
func (u *upkeepLoop) checkTenants(ctx context.Context) {
	for wait := checkTenantsAfter; ; wait = checkTenantsEvery {
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
		if err := u.engine.Tenants.Check(ctx, checkTenantsPause); err != nil {
			u.log.Error("check tenants", "error", err)
		}
	}
}
