package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/handshake"
	"github.com/keyreeve/keyreeve/server/httpd"
	"github.com/keyreeve/keyreeve/server/kmipd"
)

// openIdentities reads what decides who clients are, and watches the revocation lists.
// It is stopped after the doors: a revocation counts until the last answer.
func (s *Server) openIdentities(context.Context) (stopper, error) {
	var err error
	if s.auth, err = authn.New(s.cfg.authnSettings(), s.listLoaded); err != nil {
		return nil, err
	}
	if s.tls, err = newDoorTLS(&s.cfg, s.auth); err != nil {
		return nil, err
	}
	return inBackground(s.auth.Watch), nil
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
	// Health without details is for everybody: httpd demands the certificate.
	shaken := handshake.Listen(httpd.Bounded(l, s.cfg.slots()), s.tls.config(tls.VerifyClientCertIfGiven, "http/1.1"), s.cfg.Limits.Handshake, s.restShook)
	ended := s.serving("REST door", func() error { return s.https.Serve(shaken) }, http.ErrServerClosed)
	return func(ctx context.Context) error {
		err := s.https.Shutdown(ctx)
		<-ended
		return err
	}, nil
}

func (s *Server) openKMIP(context.Context) (stopper, error) {
	l, err := net.Listen("tcp", s.cfg.KMIP)
	if err != nil {
		return nil, fmt.Errorf("the port cannot be opened; see kmip (--kmip): %w", err)
	}
	s.KMIPAddr = l.Addr().String()
	s.kmip.Auth, s.kmip.TLS = declaredOnly{s}, s.tls.config(tls.RequireAndVerifyClientCert)
	s.kmip.Limits = s.cfg.limits()
	run, cancel := context.WithCancel(context.Background())
	ended := s.serving("KMIP door", func() error { return s.kmip.Serve(run, l) }, kmipd.ErrStopped)
	return func(ctx context.Context) error {
		err := s.kmip.Shutdown(ctx)
		cancel()
		<-ended
		return err
	}, nil
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
	if err := s.engine.RecordLogin(context.Background(), handshake.Failed(core.DoorREST, host, err)); err != nil {
		s.log.Error("audit", "operation", "Login", "error", err)
	}
}
