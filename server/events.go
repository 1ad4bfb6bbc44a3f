package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/authn"
)

// Records of what decides who may do what: the settings that a server starts
// with, the authorities that it trusts, and its own certificate.

// maxTrusted bounds the certificates of a file that are recorded one by one.
const maxTrusted = 200

// trust is what the files of tls.client_ca and tls.certificate hold: a
// description by fingerprint.
type trust map[string]string

// What a certificate is trusted as.
const (
	clientAuthority   = "client authority"
	serverCertificate = "server certificate"
)

// keep puts what was trusted as before into t, because the new cannot be used.
func (t trust) keep(before trust, what string) {
	maps.DeleteFunc(t, func(key, _ string) bool { return strings.HasPrefix(key, what) })
	for key, text := range before {
		if strings.HasPrefix(key, what) {
			t[key] = text
		}
	}
}

// trustOf reads both files. One that cannot be read has no entries; who uses it
// says why.
func (c *Config) trustOf() trust {
	t := trust{}
	for what, path := range map[string]string{clientAuthority: c.TLS.ClientCA, serverCertificate: c.TLS.Certificate} {
		certs, err := pemfile.Certificates(path)
		if err != nil {
			continue
		}
		for _, cert := range certs[:min(len(certs), maxTrusted)] {
			fp := fmt.Sprintf("%x", sha256.Sum256(cert.Raw))
			t[what+fp] = fmt.Sprintf("%s %s, serial %s, sha256 %s, until %s", what, authn.NameText(cert.RawSubject), cert.SerialNumber.Text(16), fp, cert.NotAfter.UTC().Format("2006-01-02"))
		}
	}
	return t
}

// recordStart records the settings and the trust that a server starts with.
func (s *Server) recordStart(ctx context.Context) (stopper, error) {
	sum := sha256.Sum256(fmt.Appendf(nil, "%+v", s.cfg))
	r := core.Record{Action: core.ActionStart, Outcome: core.Allowed, Detail: "version " + Version + ", settings sha256 " + hex.EncodeToString(sum[:])}
	if err := s.engine.RecordEvent(ctx, r); err != nil {
		return nil, err
	}
	return nil, s.recordTrust(ctx, s.cfg.trustOf(), "at start")
}

// recordTrust records each certificate that is trusted now and was not, and each
// that no longer is.
func (s *Server) recordTrust(ctx context.Context, now trust, how string) error {
	var errs []error
	say := func(action core.Action, these trust, without trust) {
		for _, fp := range slices.Sorted(maps.Keys(these)) {
			if without[fp] == "" {
				errs = append(errs, s.engine.RecordEvent(ctx, core.Record{Action: action, Outcome: core.Allowed, Detail: these[fp] + ", " + how + askedBy(ctx)}))
			}
		}
	}
	say(core.ActionTrustCertificate, now, s.trusted)
	say(core.ActionDistrustCertificate, s.trusted, now)
	s.trusted = now
	return errors.Join(errs...)
}

// reloadTrust takes authorities, what they may name, revocation lists and the
// server's certificate again, and records what changed before anybody can use it.
// What cannot be used leaves the old in force, and there is a record of that.
func (s *Server) reloadTrust(ctx context.Context) error {
	now := s.cfg.trustOf()
	s.trustMu.Lock()
	defer s.trustMu.Unlock()
	if _, err := s.cfg.serverTLS(); err != nil {
		now.keep(s.trusted, serverCertificate)
		if rerr := s.refused(ctx, core.ActionLoadCertificates, err); rerr != nil {
			return errors.Join(err, rerr)
		}
	}
	recorded := false
	err := s.reloadAuthn(func(c authn.Changes) error {
		recorded = true
		return errors.Join(s.recordTrust(ctx, now, "by a reload"), s.recordGrants(ctx, c))
	})
	if err != nil {
		err = errors.Join(err, s.refused(ctx, core.ActionLoadCertificates, err))
	}
	if !recorded {
		now.keep(s.trusted, clientAuthority) // they are the same, or cannot be used
		if rerr := s.recordTrust(ctx, now, "by a reload"); rerr != nil {
			return errors.Join(err, rerr)
		}
	}
	return errors.Join(err, s.tls.reload())
}

// recordGrants records that tls.authorities or tls.principals have changed.
func (s *Server) recordGrants(ctx context.Context, c authn.Changes) error {
	if !c.Grants {
		return nil
	}
	return s.engine.RecordEvent(ctx, core.Record{Action: core.ActionLoadClientAuthorities, Outcome: core.Allowed, Detail: "tls.authorities or tls.principals changed" + askedBy(ctx)})
}

// refused records that something was not loaded.
func (s *Server) refused(ctx context.Context, action core.Action, why error) error {
	return s.engine.RecordEvent(ctx, core.Record{Action: action, Outcome: core.Failed, Code: core.CodeOf(why), Detail: "the old one stays" + askedBy(ctx) + ": " + why.Error()})
}

// retryPIN has a PIN tried that the token refused before, and records it if that
// fails again.
func (s *Server) retryPIN(ctx context.Context) error {
	err := s.module.TryPINAgain()
	if err != nil {
		err = errors.Join(err, s.refused(ctx, core.ActionLoadPIN, err))
	}
	return err
}
