package server

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// reconcileEvery is how often what a crash left is cleaned up while serving.
const reconcileEvery = time.Minute

func (s *Server) startUpkeep(context.Context) (stopper, error) {
	return inBackground(s.housekeep, s.checkTenants), nil
}

// housekeep does once a minute what no request does.
func (s *Server) housekeep(ctx context.Context) {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.reconcile(ctx, false); err != nil {
				s.log.Error("reconcile", "error", err)
			}
			if err := s.engine.RecordReachedDates(ctx); err != nil {
				s.log.Error("record dates", "error", err)
			}
			s.recordLogins(ctx) // says in the log what it could not do
		}
	}
}

// recordLogins ends a period of counted failed logins.
func (s *Server) recordLogins(ctx context.Context) error {
	err := s.engine.RecordCountedLogins(ctx)
	if err != nil {
		s.log.Error("audit", "operation", "Login", "error", err)
	}
	return err
}

// reconcile runs the reconciler. A row that was changed behind the server does
// not keep it from starting: it is shown in health, and not used.
func (s *Server) reconcile(ctx context.Context, atStart bool) error {
	n, err := s.engine.Reconcile(ctx, atStart)
	if n.Finished+n.Removed+n.Orphans > 0 {
		s.log.Info("reconcile", "finished", n.Finished, "removed", n.Removed, "unexplained", n.Orphans)
	}
	if atStart && err != nil && core.CodeOf(err) == core.Tampered {
		s.log.Error("reconcile", "error", err)
		return nil
	}
	return err
}
