package server

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
	"github.com/keyreeve/keyreeve/engine/jobs"
	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/httpd"
)

// healthCheck asks the parts of a server how they are. Safe for concurrent use.
type healthCheck struct {
	token     *custody.Custody
	store     core.Store
	policy    *authz.Authorizer
	engine    *engine.Engine
	directory *directory.Directory
	jobs      *jobs.Runner
	ldap      directories
	auth      *authn.Authenticator
	tls       *doorTLS
	reloads   *reloader

	mu    sync.Mutex
	until time.Time // up to when ready holds
	ready bool
}

// askParts asks every part how it is, for a tenant. Only the system's tenant is told of the
// client certificates and directories of other tenants.
func (h *healthCheck) askParts(ctx context.Context, tenant string) httpd.Health {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	token := h.token.Health(ctx)
	damaged := h.damagedTenants()
	out := httpd.Health{Live: true, Ready: true, Parts: map[string]httpd.Part{"hsm": {Ready: token.Ready, Degraded: len(damaged) > 0, Problem: token.Problem, Notes: slices.Concat(token.Refusals, damaged, h.operatorNotes())}}}
	part := func(name string, err error) {
		p := httpd.Part{Ready: err == nil}
		if err != nil {
			p.Problem = core.DetailOf(err)
		}
		out.Parts[name] = p
	}
	err := h.store.Health(ctx)
	part("store", err)
	part("audit", err)
	part("policy", h.policy.Health(ctx))
	out.Parts["policy"] = h.withPolicyNotes(out.Parts["policy"], tenant)
	out.Parts["directory"] = h.directoryPart()
	out.Parts["jobs"] = h.jobsPart(tenant)
	out.Parts["tls"] = h.tlsPart(tenant, time.Now())
	if len(h.ldap) > 0 {
		out.Parts["ldap"] = h.ldap.part(tenant)
	}
	for _, p := range out.Parts {
		out.Ready = out.Ready && p.Ready
		out.Degraded = out.Degraded || p.Degraded || !p.Ready
	}
	return out
}

// operatorNotes are what an operator should look at while the server is ready.
func (h *healthCheck) operatorNotes() (out []string) {
	if n := h.engine.PendingDestroys(); n > 0 {
		out = append(out, fmt.Sprintf("%d token objects of destroyed or unfinished keys are still in the HSM; see keyreeve hsm orphans list", n))
	}
	if n, last := h.engine.Tampered(); n > 0 {
		out = append(out, fmt.Sprintf("rows of the database were changed behind the server, found %d times since the start; the last time: %s", n, last))
	}
	if n := h.engine.Tenants.Unchecked(); n > 0 {
		out = append(out, fmt.Sprintf("the keys of %d tenants have not been checked since the start", n))
	}
	return out
}

// withPolicyNotes adds what an operator should know of the policy. A canary that does not hold
// degrades the health of its tenant and of the system.
func (h *healthCheck) withPolicyNotes(p httpd.Part, tenant string) httpd.Part {
	if h.reloads.stale.Load() {
		p.Notes = append(p.Notes, "the last reload failed, so what was in force before it still is; see the log")
	}
	if note := h.reloads.serverPolicy.FileNote(); note != "" {
		p.Notes = append(p.Notes, note)
	}
	for named, b := range h.reloads.canaries.BrokenOf(tenant) {
		p.Degraded = true
		if named < maxDamaged {
			p.Notes = append(p.Notes, fmt.Sprintf("the canary %s of tenant %s does not hold: %s", b.Name, b.Tenant, b.Why))
		}
	}
	return p
}

// maxDamaged bounds the tenants that health names.
const maxDamaged = 16

// damagedTenants returns what health says of tenants whose keys cannot be used.
func (h *healthCheck) damagedTenants() []string {
	all := h.engine.Tenants.Damaged()
	if more := len(all) - maxDamaged; more > 0 {
		all = append(all[:maxDamaged], fmt.Sprintf("and the keys of %d more tenants", more))
	}
	return all
}

// directoryPart tells whether policies and people can be asked about. Entries that are
// refused do not keep the others from being used.
func (h *healthCheck) directoryPart() httpd.Part {
	p := httpd.Part{Ready: true}
	if err := h.directory.Fresh(); err != nil {
		p.Ready, p.Problem = false, core.DetailOf(err)
	}
	if n, last := h.directory.Refused(); n > 0 {
		p.Degraded = true
		p.Notes = append(p.Notes, fmt.Sprintf("%d entries are refused, because their rows were changed behind the server; the last one: %s", n, last))
	}
	return p
}

// tlsPart tells about certificates and revocation lists. Without a server
// certificate that is valid no client connects, so the server is not ready.
func (h *healthCheck) tlsPart(tenant string, now time.Time) httpd.Part {
	soon := h.tls.cfg.TLS.ExpiryWarning
	identities := h.auth.Health(now, soon)
	p := httpd.Part{Ready: true, Problem: identities.Problem, Notes: identities.Notes}
	if err := checkPeriod(h.tls.certificate(), now); err != nil {
		p.Ready, p.Problem = false, err.Error()
	} else if end := h.tls.certificate().NotAfter; end.Sub(now) < soon {
		p.Notes = append(p.Notes, fmt.Sprintf("the server certificate ends on %s; renew tls.certificate", end.Format(time.DateOnly)))
	}
	p.Degraded = p.Problem != "" || len(p.Notes) > 0
	p.Notes = append(p.Notes, h.auth.ClientNotes(tenant, now)...) // the clients' certificates are no fault of this server
	return p
}

// readyFor is how long an answer about readiness holds. Everybody may ask, so
// asking must cost nothing.
const readyFor = time.Second

// isReady reports whether all parts of the server are ready. Many callers share
// one look at the parts, which does not end with the caller that began it.
func (h *healthCheck) isReady(ctx context.Context) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if time.Now().After(h.until) {
		h.ready = h.askParts(context.WithoutCancel(ctx), core.SystemTenant).Ready
		h.until = time.Now().Add(readyFor)
	}
	return h.ready
}
