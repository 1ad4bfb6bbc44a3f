package server

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// Records of what decides who may do what: the settings that a server starts
// with, the authorities that it trusts, and its own certificate.

// maxTrusted bounds the certificates of a file that are recorded one by one.
const maxTrusted = 200

// trust is what the files of tls.client_ca and tls.certificate hold: a
// description by fingerprint.
type trust map[string]string

// trustOf reads both files. One that cannot be read has no entries; who uses it
// says why.
func (c *Config) trustOf() trust {
	t := trust{}
	for what, path := range map[string]string{"client authority": c.TLS.ClientCA, "server certificate": c.TLS.Certificate} {
		b, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		for block, rest := pem.Decode(b); block != nil && len(t) < maxTrusted; block, rest = pem.Decode(rest) {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				continue
			}
			sum := sha256.Sum256(block.Bytes)
			fp := hex.EncodeToString(sum[:])
			t[what+fp] = fmt.Sprintf("%s %s, serial %s, sha256 %s, until %s", what, cert.Subject, cert.SerialNumber.Text(16), fp, cert.NotAfter.UTC().Format("2006-01-02"))
		}
	}
	return t
}

// recordStart records the settings and the trust that a server starts with.
func (s *Server) recordStart(ctx context.Context) error {
	sum := sha256.Sum256(fmt.Appendf(nil, "%+v", s.cfg))
	r := core.Record{Operation: "Start", Outcome: core.Allowed, Detail: "version " + Version + ", settings sha256 " + hex.EncodeToString(sum[:])}
	if err := s.engine.RecordEvent(ctx, r); err != nil {
		return err
	}
	return s.recordTrust(ctx, s.cfg.trustOf(), "at start")
}

// recordTrust records each certificate that is trusted now and was not, and each
// that no longer is.
func (s *Server) recordTrust(ctx context.Context, now trust, how string) error {
	var errs []error
	say := func(operation string, these trust, without trust) {
		for _, fp := range slices.Sorted(maps.Keys(these)) {
			if without[fp] == "" {
				errs = append(errs, s.engine.RecordEvent(ctx, core.Record{Operation: operation, Outcome: core.Allowed, Detail: these[fp] + ", " + how + askedBy(ctx)}))
			}
		}
	}
	say("Trust Certificate", now, s.trusted)
	say("Distrust Certificate", s.trusted, now)
	s.trusted = now
	return errors.Join(errs...)
}

// reloadTrust takes certificates and authorities anew, and records what changed
// before anybody can use it. A file that cannot be used leaves the old in force,
// and there is a record of that.
func (s *Server) reloadTrust(ctx context.Context) error {
	now := s.cfg.trustOf()
	s.trustMu.Lock()
	defer s.trustMu.Unlock()
	if _, err := s.cfg.serverTLS(s.auth); err != nil {
		return errors.Join(err, s.refused(ctx, "Load Certificates", err))
	}
	if err := s.recordTrust(ctx, now, "by a reload"); err != nil {
		return err
	}
	return s.tls.reload()
}

// refused records that something was not loaded.
func (s *Server) refused(ctx context.Context, operation string, why error) error {
	return s.engine.RecordEvent(ctx, core.Record{Operation: operation, Outcome: core.Failed, Code: core.CodeOf(why), Detail: "the old one stays" + askedBy(ctx) + ": " + why.Error()})
}

// retryPIN has a PIN tried that the token refused before, and records it if that
// fails again.
func (s *Server) retryPIN(ctx context.Context) error {
	err := s.token.TryPINAgain()
	if err != nil {
		err = errors.Join(err, s.refused(ctx, "Load PIN", err))
	}
	return err
}
