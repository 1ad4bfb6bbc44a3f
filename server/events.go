package server

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"strings"

	"github.com/keyreeve/keyreeve/certs/identity"
	"github.com/keyreeve/keyreeve/certs/pemfile"
	"github.com/keyreeve/keyreeve/core"
)

// Records about the settings that a server starts with, the authorities that it
// trusts, and its own certificate. They decide which clients may do what.

// maxTrusted bounds the certificates of a file that are recorded one by one.
const maxTrusted = 200

// trust describes the certificates in the files of tls.client_ca and tls.certificate,
// by fingerprint.
type trust map[string]string

// What a certificate is trusted as.
const (
	clientAuthority   = "client authority"
	serverCertificate = "server certificate"
)

// keepBefore puts the certificates that were trusted before into t, because the new
// ones cannot be used.
func (t trust) keepBefore(before trust, what string) {
	maps.DeleteFunc(t, func(key, _ string) bool { return strings.HasPrefix(key, what) })
	for key, text := range before {
		if strings.HasPrefix(key, what) {
			t[key] = text
		}
	}
}

// trustOf reads the files of certificates. One that cannot be read has no entries; who uses it
// says why.
func (c *Config) trustOf() trust {
	t := trust{}
	for path, what := range map[string]string{c.TLS.ClientCA: clientAuthority, c.Enrollment.Certificate: clientAuthority, c.TLS.Certificate: serverCertificate} {
		certs, err := pemfile.Certificates(path)
		if err != nil {
			continue
		}
		for _, cert := range certs[:min(len(certs), maxTrusted)] {
			fp := fmt.Sprintf("%x", sha256.Sum256(cert.Raw))
			t[what+fp] = fmt.Sprintf("%s %s, serial %s, sha256 %s, until %s", what, identity.NameText(cert.RawSubject), cert.SerialNumber.Text(16), fp, cert.NotAfter.UTC().Format("2006-01-02"))
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
	return nil, s.reloads.recordTrust(ctx, s.cfg.trustOf(), "at start")
}
