package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"runtime"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/authn/bearer"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/oidc"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/handshake"
	"github.com/keyreeve/keyreeve/server/httpd"
	"github.com/keyreeve/keyreeve/server/httpd/door"
	"github.com/keyreeve/keyreeve/server/httpd/keyroutes"
	"github.com/keyreeve/keyreeve/server/kmipd"
	"github.com/keyreeve/keyreeve/server/message"
	"github.com/keyreeve/keyreeve/server/settings"
)

// openIdentities reads what decides who clients are, and watches the revocation lists.
// It is stopped after the doors: a revocation counts until the last answer.
func (s *Server) openIdentities(context.Context) (stopper, error) {
	var err error
	if s.auth, err = authn.New(s.cfg.authnSettings(), s.listLoaded); err != nil {
		return nil, err
	}
	s.auth.UseEnrolled(s.enrolled)
	s.auth.ReportExpiring(s.certificateExpires)
	if s.tls, err = newDoorTLS(&s.cfg, s.auth); err != nil {
		return nil, err
	}
	if s.ldap, err = newDirectories(s.cfg.Authentication.LDAP, ldap.Ports{RequireTenant: s.engine.Tenants.RequireDeclared, Report: s.ldapAnswered}); err != nil {
		return nil, err
	}
	s.passwords = password.NewVerifier(s.passwordUsers(), s.ldap.forPasswords()...)
	s.passwords.UseCodes(s.usedCodes)
	s.bearers = bearer.NewVerifier(bearer.Ports{HasDirectory: s.ldap.serves, Tokens: s.issued, Users: s.users, Certificates: s.admission(), Guessing: s.passwords, RequireTenant: s.engine.Tenants.RequireDeclared})
	if s.issuers, err = oidc.NewVerifier(s.cfg.Authentication.Issuers, oidc.Ports{Users: s.users, Guessing: s.passwords, RequireTenant: s.engine.Tenants.RequireDeclared, Report: s.issuerKeysRead, Now: time.Now}); err != nil {
		return nil, err
	}
	s.speakers = authn.NewSpeakers(s.cfg.Authentication.SpeaksFor)
	s.reloads = &reloader{cfg: s.cfg, log: s.log, policy: s.policy, serverPolicy: s.serverPolicy, canaries: s.canaries, keys: s.keyPolicies, engine: s.engine, auth: s.auth, tls: s.tls, module: s.module}
	s.health = &healthCheck{token: s.token, store: s.store, policy: s.policy, engine: s.engine, directory: s.directory, ldap: s.ldap, auth: s.auth, tls: s.tls, reloads: s.reloads, jobs: s.jobs}
	s.metrics.WatchLDAP(s.ldap.countDown)
	return inBackground(s.auth.Watch, s.issuers.Watch, s.ldap.watch), nil
}

// issuerKeysRead logs what became of reading the keys of an issuer of tokens.
func (s *Server) issuerKeysRead(issuer string, err error) {
	if err != nil {
		s.log.Error("authentication.issuers: the keys cannot be read; known ones go on for keys_for", "issuer", issuer, "error", err)
		return
	}
	s.log.Info("authentication.issuers: the keys can be read again", "issuer", issuer)
}

func (s *Server) openREST(context.Context) (stopper, error) {
	if s.cfg.HTTPS == "" {
		return nil, nil
	}
	l, err := net.Listen("tcp", s.cfg.HTTPS)
	if err != nil {
		return nil, fmt.Errorf("the port cannot be opened; see https (--http): %w", err)
	}
	s.HTTPSAddr = l.Addr().String()
	// Health without details is for everybody: httpd demands a certificate or a token.
	shaken := handshake.Listen(bounds.Listen(l, s.doorSlots(), nil), s.tls.config(tls.VerifyClientCertIfGiven, "http/1.1"), s.cfg.Limits.Handshake, s.restShook)
	d := door.New(door.Options{Engine: s.engine, Auth: s.admission(), Bearers: []proof.BearerAuthenticator{s.speakers.OfBearers(s.bearers), s.speakers.OfBearers(s.issuers)},
		Ready: s.health.isReady, Metrics: s.metrics.Handler(), Memory: s.memory, Refused: handshake.Refused, Once: s.once, Operation: s.cfg.Limits.Operation})
	d.Add(keyroutes.Routes(d, keyroutes.Options{Objects: s.verbs.Objects, Uses: s.verbs.Uses, Attributes: s.verbs.Attributes, ImportJobs: s.importJobs})...)
	d.Add(httpd.Routes(d, httpd.Options{Admin: s.admin, Tokens: s.tokens, Tenants: s.tenantVerbs, Clients: s.clients, CountFailure: s.passwords.NoteFailureFrom,
		LogIn: s.logIn, PasswordAlone: s.cfg.Authentication.PasswordWithoutCertificate, Health: s.health.askParts})...)
	rest := door.Server(d.Handler(), nil, s.cfg.Limits.Operation)
	rest.ErrorLog = log.New(restLog{s.log}, "", 0)
	return s.servingHTTP("REST door", rest, shaken), nil
}

func (s *Server) openKMIP(context.Context) (stopper, error) {
	l, err := net.Listen("tcp", s.cfg.KMIP)
	if err != nil {
		return nil, fmt.Errorf("the port cannot be opened; see kmip (--kmip): %w", err)
	}
	s.KMIPAddr = l.Addr().String()
	limits := s.cfg.limits()
	limits.Slots = s.doorSlots()
	door := &kmipd.Server{Messages: message.New(s.verbs, message.Settings{Log: s.log, Omit: s.cfg.compat(), Keep: s.exchanges}), Logins: s.engine,
		Auth: s.admission(), Users: s.credentials(), TLS: s.tls.config(tls.RequireAndVerifyClientCert), Limits: limits, Log: s.log,
		Watch:  kmipd.Watcher{Opened: s.metrics.Opened, Closed: s.metrics.Closed, Refused: s.metrics.Refused},
		Memory: s.memory, Compute: fair.NewProcessors(runtime.NumCPU() / 2), Keep: s.exchanges}
	run, cancel := context.WithCancel(context.Background())
	ended := s.serving("KMIP door", func() error { return door.Serve(run, l) }, kmipd.ErrStopped)
	return func(ctx context.Context) error {
		err := door.Shutdown(ctx)
		cancel()
		<-ended
		return err
	}, nil
}

// credentials verifies the credentials of KMIP messages. It is nil if they are only noted.
func (s *Server) credentials() proof.CredentialAuthenticator {
	if s.cfg.Authentication.Credentials == settings.IgnoreCredentials {
		return nil
	}
	return s.speakers.OfCredentials(s.passwords)
}

// logIn verifies a password that came over REST.
func (s *Server) logIn(ctx context.Context, in password.Login) (*core.User, *core.Principal, error) {
	u, p, err := s.passwords.LogIn(ctx, in)
	if err == nil {
		err = s.speakers.CheckPassword(in.Certificate, p)
	}
	if err != nil {
		return nil, nil, err
	}
	return u, p, nil
}

// hashPassword makes the hash of a new password.
func (s *Server) hashPassword(ctx context.Context, given []byte) (core.PasswordHash, error) {
	return s.passwords.HashNew(ctx, given)
}

// passwordUsers is where the users are looked up whose passwords are verified.
func (s *Server) passwordUsers() password.Users {
	if s.cfg.users != nil {
		return s.cfg.users
	}
	return s.users
}

// restLog takes what net/http has to say into the log.
type restLog struct{ *slog.Logger }

func (l restLog) Write(line []byte) (int, error) {
	l.Info("rest", "said", strings.TrimSpace(string(line)))
	return len(line), nil
}

// restShook records a TLS handshake that failed at the REST door.
func (s *Server) restShook(c net.Conn, err error) {
	if errors.Is(err, net.ErrClosed) {
		return // dropped in a flood, which is not recorded one by one
	}
	host, _, _ := net.SplitHostPort(c.RemoteAddr().String())
	s.log.Info("rest", "peer", host, "handshake", err)
	if err := s.engine.RecordLogin(context.Background(), core.MethodCertificate, handshake.Failed(core.DoorREST, host, err)); err != nil {
		s.log.Error("audit", "operation", "Login", "error", err)
	}
}

// slotLimits are the numbers of doorSlots that are settings.
func (c *Config) slotLimits() bounds.SlotLimits {
	l := c.Limits
	return bounds.SlotLimits{Connections: l.Connections, PerPeer: l.PerPeer, Waiting: l.Waiting, WaitingPerNet: l.WaitingPerNet, PerPrincipal: l.PerPrincipal, PerTenant: l.PerTenant}
}

// limits are those of the KMIP door.
func (c *Config) limits() kmipd.Limits {
	l := c.Limits
	return kmipd.Limits{Slots: c.slotLimits(), Handshake: l.Handshake, Read: l.Read, Idle: l.Idle, Write: l.Write, Operation: l.Operation}
}
