package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/canarywatch"
	"github.com/keyreeve/keyreeve/engine/serverpolicy"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/authn"
)

// reloader reads policy and trust again while the server serves. Safe for concurrent
// use.
type reloader struct {
	cfg          Config
	log          *slog.Logger
	policy       *authz.Authorizer
	serverPolicy *serverpolicy.Keeper
	canaries     *canarywatch.CanaryWatch
	keys         *authz.KeyPolicies
	engine       *engine.Engine
	auth         *authn.Authenticator
	tls          *doorTLS
	module       *member.Module

	mu      sync.Mutex  // held while trust is read and replaced
	trusted trust       // as recorded last
	stale   atomic.Bool // the last reload could not use all that it read
}

// reload reads policy, regions, client authorities and what they may name, revocation
// lists and the server's certificate again, and the PIN if the token refused the
// last. What cannot be used leaves the old in force. Policy, regions, authorities and lists
// leave records.
func (r *reloader) reload(ctx context.Context) error {
	err := r.serverPolicy.TakeFile(ctx, "by a reload"+adminsocket.AskedBy(ctx))
	if err != nil {
		kept := core.Record{Action: core.ActionLoadPolicy, Outcome: core.Failed, Code: core.CodeOf(err), PolicyHash: r.policy.Hash(), Detail: "the old one stays" + adminsocket.AskedBy(ctx) + ": " + err.Error()}
		err = errors.Join(err, r.engine.RecordEvent(ctx, kept))
	}
	err = errors.Join(err, r.reloadRegions(ctx), r.reloadTrust(ctx), r.retryPIN(ctx))
	r.stale.Store(err != nil)
	r.canaries.CheckSoon()
	if err != nil {
		r.log.Error("reload", "error", err)
		return err
	}
	r.log.Info("reload", "policy", r.policy.Hash())
	return nil
}

// recordTrust records each certificate that is trusted now and was not, and each
// that no longer is.
func (r *reloader) recordTrust(ctx context.Context, now trust, how string) error {
	var errs []error
	say := func(action core.Action, these trust, without trust) {
		for _, fp := range slices.Sorted(maps.Keys(these)) {
			if without[fp] == "" {
				errs = append(errs, r.engine.RecordEvent(ctx, core.Record{Action: action, Outcome: core.Allowed, Detail: these[fp] + ", " + how + adminsocket.AskedBy(ctx)}))
			}
		}
	}
	say(core.ActionTrustCertificate, now, r.trusted)
	say(core.ActionDistrustCertificate, r.trusted, now)
	r.trusted = now
	return errors.Join(errs...)
}

// reloadTrust takes authorities, what they may name, revocation lists and the
// server's certificate again, and records what changed before anybody can use it.
// What cannot be used leaves the old in force, and there is a record of that.
func (r *reloader) reloadTrust(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.trustOf()
	if _, err := r.cfg.serverTLS(); err != nil {
		now.keepBefore(r.trusted, serverCertificate)
		if rerr := r.recordKept(ctx, core.ActionLoadCertificates, err); rerr != nil {
			return errors.Join(err, rerr)
		}
	}
	recorded := false
	err := r.reloadIdentities(func(c authn.Changes) error {
		recorded = true
		return errors.Join(r.recordTrust(ctx, now, "by a reload"), r.recordGrants(ctx, c))
	})
	if err != nil {
		err = errors.Join(err, r.recordKept(ctx, core.ActionLoadCertificates, err))
	}
	if !recorded {
		now.keepBefore(r.trusted, clientAuthority) // they are the same, or cannot be used
		if rerr := r.recordTrust(ctx, now, "by a reload"); rerr != nil {
			return errors.Join(err, rerr)
		}
	}
	return errors.Join(err, r.tls.reload())
}

// recordGrants records that tls.authorities or tls.principals have changed.
func (r *reloader) recordGrants(ctx context.Context, c authn.Changes) error {
	if !c.Grants {
		return nil
	}
	return r.engine.RecordEvent(ctx, core.Record{Action: core.ActionLoadClientAuthorities, Outcome: core.Allowed, Detail: "tls.authorities or tls.principals changed" + adminsocket.AskedBy(ctx)})
}

// recordKept records that something was not loaded and the old stays in force.
func (r *reloader) recordKept(ctx context.Context, action core.Action, why error) error {
	return r.engine.RecordEvent(ctx, core.Record{Action: action, Outcome: core.Failed, Code: core.CodeOf(why), Detail: "the old one stays" + adminsocket.AskedBy(ctx) + ": " + why.Error()})
}

// retryPIN has a PIN tried that the token refused before, and records it if that
// fails again.
func (r *reloader) retryPIN(ctx context.Context) error {
	err := r.module.TryPINAgain()
	if err != nil {
		err = errors.Join(err, r.recordKept(ctx, core.ActionLoadPIN, err))
	}
	return err
}

// reloadRegions reads the regions of addresses and the MaxMind DB file again. A change is
// recorded before it is in force. If one cannot be used, both old ones stay, and there is a
// record of that.
func (r *reloader) reloadRegions(ctx context.Context) error {
	var unread error // reloadTrust leaves the record of it
	ask := func() (authz.RegionSources, error) {
		cfg, err := r.readSettings()
		unread = err
		return cfg.RegionSources(), err
	}
	err := r.keys.ReloadRegions(ask, func(changed string) error {
		return r.engine.RecordEvent(ctx, core.Record{Action: core.ActionLoadPolicy, Outcome: core.Allowed, PolicyHash: r.policy.Hash(), Detail: changed + " changed" + adminsocket.AskedBy(ctx)})
	})
	if err != nil && unread == nil {
		err = fmt.Errorf("the regions of addresses could not be read again: %w", err)
		err = errors.Join(err, r.recordKept(ctx, core.ActionLoadPolicy, err))
	}
	return err
}

// readSettings reads the configuration file again, if there is one.
func (r *reloader) readSettings() (Config, error) {
	if r.cfg.file == "" {
		return r.cfg, nil
	}
	cfg, err := LoadConfig(r.cfg.file)
	if err != nil {
		return cfg, fmt.Errorf("the configuration is not taken: %w", err)
	}
	return cfg, nil
}

// reloadIdentities reads the configuration file again and takes from it what decides
// who clients are. Other settings need a new start. announce is called before
// authorities change.
func (r *reloader) reloadIdentities(announce func(authn.Changes) error) error {
	cfg, err := r.readSettings()
	if err != nil {
		return err
	}
	err = r.auth.Reload(cfg.authnSettings(), announce)
	if err != nil {
		return fmt.Errorf("who clients are could not be read again: %w", err)
	}
	return nil
}
