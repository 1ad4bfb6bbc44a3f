// Package server puts a keyreeve server together: a list of parts that are started in
// order and stopped in reverse. See parts.go for the list.
//
// If a part is missing or faulty, the server does not start. The error names the part
// and the setting to change. The package decides nothing. Start at [Start].
package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/canarywatch"
	"github.com/keyreeve/keyreeve/engine/directory"
	"github.com/keyreeve/keyreeve/engine/importjobs"
	"github.com/keyreeve/keyreeve/engine/jobs"
	"github.com/keyreeve/keyreeve/engine/keyversions"
	"github.com/keyreeve/keyreeve/engine/rowsealer"
	"github.com/keyreeve/keyreeve/engine/serverpolicy"
	"github.com/keyreeve/keyreeve/engine/upkeep"
	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/hsm/member"
	"github.com/keyreeve/keyreeve/keys/format"
	"github.com/keyreeve/keyreeve/keys/soft"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/authn/bearer"
	"github.com/keyreeve/keyreeve/server/authn/oidc"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/exchanges"
	"github.com/keyreeve/keyreeve/server/message"
	"github.com/keyreeve/keyreeve/server/metrics"
	"github.com/keyreeve/keyreeve/store"
)

// Version is the product's.
const Version = "0.1.0"

// Server is a running server.
type Server struct {
	cfg          Config
	log          *slog.Logger
	token        *custody.Custody
	module       *member.Module
	store        core.Store
	sealer       *rowsealer.RowSealer
	policy       *authz.Authorizer
	serverPolicy *serverpolicy.Keeper
	engine       *engine.Engine
	verbs        message.Verbs
	auth         *authn.Authenticator
	tls          *doorTLS

	passwords *password.Verifier
	ldap      directories
	bearers   *bearer.Verifier
	issuers   *oidc.Verifier
	speakers  *authn.Speakers

	directory   *directory.Directory // of policies and people
	users       *directory.Users
	tenants     *directory.Tenants
	facts       *directory.AccessFacts
	issued      *directory.Tokens
	approvals   *directory.Approvals
	usedCodes   *directory.UsedCodes
	importJobs  *importjobs.Verbs
	once        *directory.Once
	keyPolicies *authz.KeyPolicies
	admin       *admin.Verbs
	canaries    *canarywatch.CanaryWatch
	tokens      *admin.TokenVerbs
	tenantVerbs *admin.TenantVerbs
	enrolled    *directory.Clients
	clients     *admin.ClientVerbs

	memory *bounds.Memory // of the messages and answers of both doors

	exchanges *exchanges.Keeper

	metrics *metrics.Metrics
	upkeep  *upkeepLoop
	jobs    *jobs.Runner // of the clock
	reloads *reloader
	health  *healthCheck

	// KMIPAddr and HTTPSAddr are where it listens.
	KMIPAddr, HTTPSAddr string

	started []startedPart
	fail    chan error
}

// harden forbids core dumps, and debuggers and readers of memory other than root's.
func (s *Server) harden(context.Context) (stopper, error) {
	if err := errors.Join(unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}), unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)); err != nil {
		return nil, fmt.Errorf("core dumps, which would hold keys, cannot be turned off: %w", err)
	}
	return nil, nil
}

func (s *Server) openToken(ctx context.Context) (_ stopper, err error) {
	if s.token, s.module, err = openHSM(ctx, s.cfg.tokenSettings(), s.log); err != nil {
		return nil, err
	}
	for _, r := range s.token.Health(ctx).Refusals {
		s.log.Warn("hsm", "refusal", r)
	}
	return s.token.Close, nil
}

func (s *Server) openStore(ctx context.Context) (stopper, error) {
	url, err := s.cfg.storeURL()
	if err != nil {
		return nil, err
	}
	s.sealer = rowsealer.New(s.token)
	open := store.Open
	if s.cfg.dev != nil {
		open = store.Create
	}
	if s.store, err = open(ctx, url, s.sealer); core.CodeOf(err) == core.ItemNotFound {
		return nil, alsoToken(ctx, s.token, err)
	}
	if err != nil {
		return nil, err
	}
	return func(context.Context) error { return s.store.Close() }, nil
}

func (s *Server) openPolicy(context.Context) (_ stopper, err error) {
	if s.keyPolicies, err = authz.NewKeyPolicies(s.cfg.RegionSources(), s.readKeyPolicy); err != nil {
		return nil, err
	}
	s.policy = authz.New(authz.Options{Keys: s.keyPolicies})
	return nil, nil
}

// readKeyPolicy returns a version of a key policy that is in force.
func (s *Server) readKeyPolicy(v core.DirectoryVersion) (*core.DirectoryEntry, error) {
	return s.directory.PolicyVersion(v)
}

// recordTime bounds how long a record of what the server did itself may take.
const recordTime = 10 * time.Second

// listLoaded records and logs what became of the revocation list's file.
func (s *Server) listLoaded(revoked int, err error) {
	r := core.Record{Action: core.ActionLoadRevocationList, Outcome: core.Allowed, Detail: fmt.Sprintf("%d certificates are revoked", revoked)}
	if err != nil {
		s.log.Error("tls.client_crl", "error", err)
		r.Outcome, r.Detail = core.Failed, "the old list stays in force: "+err.Error()
	}
	ctx, cancel := context.WithTimeout(context.Background(), recordTime)
	defer cancel()
	if rerr := s.engine.RecordEvent(ctx, r); rerr != nil {
		s.log.Error("audit", "operation", r.Action, "error", rerr)
	}
}

// certificateExpires logs that a client certificate which is in use expires soon.
func (s *Server) certificateExpires(c authn.ExpiringCertificate) {
	s.log.Warn("a client certificate expires soon; renew it", "tenant", c.Tenant, "principal", c.Name, "sha256", c.Fingerprint, "expires", c.Expires.UTC().Format(time.RFC3339))
}

// loadPolicy reads the policy that the settings name.
func (c *Config) loadPolicy() (offer serverpolicy.Offer, err error) {
	if c.Policy.File == "" {
		return serverpolicy.Offer{PolicySource: defaultPolicy, Default: true}, nil
	}
	offer.PolicyName, offer.TestsName = c.Policy.File, c.Policy.Tests
	if offer.Policy, err = readPolicy(c.Policy.File); err == nil {
		offer.Tests, err = readPolicy(c.Policy.Tests)
	}
	if err != nil {
		err = core.Wrap(core.PolicyUnavailable, err, "the policy cannot be read; see policy.file and policy.tests")
	}
	return offer, err
}

var defaultPolicy = core.PolicySource{Policy: keyreeve.Policy, Tests: keyreeve.PolicyTests}

// maxPolicy bounds a policy file, in bytes.
const maxPolicy = 1 << 20

// readPolicy reads a file and nothing else: no device, no pipe that never ends.
func readPolicy(path string) (string, error) {
	info, err := os.Stat(path)
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() || info.Size() > maxPolicy {
		return "", fmt.Errorf("%s is no file of at most %d bytes", path, maxPolicy)
	}
	b, err := os.ReadFile(path)
	return string(b), err
}

func (s *Server) openEngine(ctx context.Context) (stopper, error) {
	m := metrics.New(func() core.HSMHealth { return s.token.Health(context.Background()) }, func() int { return s.auth.Health(time.Now(), 0).Stale })
	memory := s.cfg.memory()
	m.WatchMemory(func() metrics.MemoryFigures {
		u := memory.Usage()
		return metrics.MemoryFigures{Used: u.Used, Limit: u.Total, PrincipalLimit: u.PrincipalTotal, Waiting: u.Waiting, Refused: u.Refusals}
	})
	s.directory = directory.New(directory.Ports{Store: s.store, Clock: engine.SystemClock{}, Log: s.log, Tampered: func(err error) { s.engine.NoteTampered(err) }})
	s.users, s.facts, s.issued = directory.NewUsers(s.directory), directory.NewAccessFacts(s.directory), directory.NewTokens(s.directory)
	s.facts.WatchLabels(s.keyPolicies.LabelsOf)
	s.approvals = directory.NewApprovals(s.directory, s.facts, s.keyPolicies.GatesOf)
	s.tenants, s.usedCodes, s.once = directory.NewTenants(s.directory), directory.NewUsedCodes(s.directory), directory.NewOnce(s.directory)
	s.engine = engine.New(engine.Ports{FindVersion: new(keyversions.Finder).Find, Store: s.store, HSM: s.token, Policy: s.policy, Facts: s.facts, Approvals: s.approvals, TenantRows: s.tenants, Journal: audit.New(s.cfg.nodeName()), Formats: format.With(soft.Digest, kmip.AppendKeyValue, kmip.ReadKeyValue), Log: s.log, Observe: m.Observe, FailedLogin: m.FailedLogin,
		Account: func(tenant, principal string) engine.Account { return memory.Open(tenant, principal) }},
		engine.Settings{Defaults: s.cfg.defaults(), SearchTime: s.cfg.Limits.Search, ApprovalLifetime: s.cfg.Policy.ApprovalLifetime, Quota: s.cfg.TenantQuota(), MaxTenants: s.cfg.HSM.MaxTenants, NamedTenants: s.cfg.NamedTenants(), Server: engine.ServerInfo{Vendor: "keyreeve", Product: "keyreeve", Version: Version}})
	s.enrolled = directory.NewClients(s.directory)
	m.WatchClientCertificates(func() (time.Time, int) { return s.auth.ClientExpiry(time.Now()) })
	m.WatchRows(s.engine.PendingDestroys, func() int64 { n, _ := s.engine.Tampered(); return n })
	s.verbs, s.importJobs = message.VerbsOf(s.engine), importjobs.New(s.engine, s.directory)
	s.verbs.Objects.UseImportJobs(s.importJobs)
	s.makeJobs()
	s.admin = admin.New(s.engine, admin.Ports{Directory: s.directory, KeyPolicies: s.keyPolicies, HashPassword: s.hashPassword, ReadRecord: audit.ReadRecord, MappedPrincipals: s.mappedPrincipals, IssuedTokens: s.issued, Approvals: s.approvals, UsedCodes: s.usedCodes, ImportJobs: s.importJobs.Jobs(), Once: s.once, HashedVerifiers: password.HashedVerifiers})
	s.canaries = canarywatch.New(canarywatch.Ports{Engine: s.engine, List: func() ([]*core.DirectoryEntry, error) { return s.directory.ListEverywhere(core.EntryCanary) },
		Breaks: func(ctx context.Context, e *core.DirectoryEntry) (string, error) {
			return admin.BreaksCanary(ctx, s.admin, e)
		}})
	s.tenantVerbs = admin.NewTenantVerbs(s.admin, admin.TenantSettings{DeleteAfter: s.cfg.Tenants.DeleteAfter, Kept: []string{adminsocket.DefaultTenant}})
	s.tokens = admin.NewTokenVerbs(s.admin, s.cfg.accessTokens())
	enrollment, err := s.cfg.clientSettings(s.token)
	if err != nil {
		return nil, err
	}
	s.clients = admin.NewClientVerbs(s.admin, enrollment)
	s.sealer.UseEngine(s.engine)
	if err := s.openTenants(ctx); err != nil {
		return nil, err
	}
	s.serverPolicy = serverpolicy.New(serverpolicy.Ports{Engine: s.engine, Directory: s.directory, Policy: s.policy, Log: s.log, ReadFile: s.cfg.loadPolicy, Default: defaultPolicy,
		CheckCanaries: func(ctx context.Context, next core.Policy) ([]string, error) {
			return admin.CheckCanaries(ctx, s.admin, next)
		}})
	s.upkeep = &upkeepLoop{engine: s.engine, tokens: s.tokens, tenants: s.tenants, entries: s.directory, verbs: upkeep.New(s.engine), log: s.log}
	if err := s.upkeep.reconcile(ctx, true); err != nil {
		return nil, err
	}
	s.memory, s.metrics = memory, m
	return s.upkeep.recordLogins, nil
}

// openDirectory loads policies and people, and follows what other nodes change.
func (s *Server) openDirectory(ctx context.Context) (stopper, error) {
	if err := s.directory.Open(ctx); err != nil {
		return nil, err
	}
	return inBackground(s.directory.Follow), nil
}

// startPolicy puts the server's policy in force, and follows what other nodes change.
func (s *Server) startPolicy(ctx context.Context) (stopper, error) {
	if err := s.serverPolicy.Start(ctx); err != nil {
		return nil, err
	}
	return inBackground(s.serverPolicy.Follow), nil
}

// nodeName is this node's name in audit records.
func (c *Config) nodeName() string {
	if c.Node != "" {
		return c.Node
	}
	name, _ := os.Hostname()
	return name
}

// defaults are what new objects get.
func (c *Config) defaults() engine.Defaults {
	d := engine.Defaults{Sensitive: c.Keys.Sensitive, NotExtractable: c.Keys.NotExtractable, UniqueNames: c.Keys.UniqueNames, Retention: c.Keys.Retention,
		RevokedKeys:   engine.RevokedKeys{DeactivatedRefused: !c.Keys.DeactivatedMayProcess, CompromisedRefused: !c.Keys.CompromisedMayProcess},
		RevokedKeysOf: c.RevokedKeysOf()}
	for _, class := range c.Keys.ForbidClasses {
		d.ForbidClasses = append(d.ForbidClasses, core.Class(class))
	}
	if c.dev != nil {
		d.KeyGroup = devGroup
	}
	return d
}

// openTenants finds out which tenants are declared, and declares the tenant default
// if it is not.
func (s *Server) openTenants(ctx context.Context) error {
	if err := s.engine.Tenants.Open(ctx); err != nil {
		return err
	}
	_, err := s.engine.Tenants.Declare(ctx, adminsocket.DefaultTenant)
	return err
}

// Reload reads policy, client authorities and what they may name, revocation lists
// and the server's certificate again, and the PIN if the token refused the last.
// What cannot be used leaves the old in force.
func (s *Server) Reload(ctx context.Context) error { return s.reloads.reload(ctx) }

func (c *Config) compat() map[string]core.TagSet {
	out := map[string]core.TagSet{}
	for who, names := range c.Compat {
		out[who] = core.TagSet{}
		for _, n := range names {
			out[who][core.RuleByName(n).Tag] = true
		}
	}
	return out
}
