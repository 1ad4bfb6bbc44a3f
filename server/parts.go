package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/server/exchanges"
)

// part is one part of a running server. Parts are started in the order of the list, and
// each may use those before it. They are stopped in reverse.
type part struct {
	name   string
	start  func(context.Context) (stopper, error)
	within time.Duration // bounds its stop
}

// stopper ends a part. It is nil if there is nothing to end.
type stopper func(context.Context) error

// Bounds of stopping a part.
const (
	drainWait = 20 * time.Second // a door: requests under way are answered
	closeWait = 10 * time.Second
)

func (s *Server) parts() []part {
	return []part{
		{"process", s.harden, 0},
		{"HSM", s.openToken, closeWait},
		{"database", s.openStore, closeWait},
		{"installation", s.openInstallation, 0},
		{"key policies", s.openPolicy, 0},
		{"engine", s.openEngine, closeWait}, // its stop records the logins that were only counted
		{"directory", s.openDirectory, closeWait},
		{"policy", s.startPolicy, closeWait},
		{"client identities", s.openIdentities, closeWait},
		{"REST door", s.openREST, drainWait},
		{"KMIP door", s.openKMIP, drainWait},
		{"record of the start", s.recordStart, 0},
		{"admin socket", s.openAdmin, closeWait},
		{"development tenants", s.declareDevTenants, 0},
		{"upkeep", s.startUpkeep, closeWait},
	}
}

// startedPart is a part that must be stopped.
type startedPart struct {
	part
	stop stopper
}

// Start starts a server; it serves until Stop.
func Start(ctx context.Context, cfg Config, log *slog.Logger) (*Server, error) {
	s := &Server{cfg: cfg, log: log, exchanges: exchanges.NewKeeper()}
	all := s.parts()
	s.fail = make(chan error, len(all))
	for _, p := range all {
		stop, err := p.start(ctx)
		if err != nil {
			s.Stop(context.Background())
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		if stop != nil {
			s.started = append(s.started, startedPart{p, stop})
		}
	}
	return s, nil
}

// Stop stops the parts in reverse, so that the doors answer what is under way before
// the store and the HSM are closed. ctx bounds all of it, and each part has a bound of
// its own. Errors name the part.
func (s *Server) Stop(ctx context.Context) error {
	var errs []error
	for i := len(s.started) - 1; i >= 0; i-- {
		p := s.started[i]
		if err := p.stopWithin(ctx); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", p.name, err))
		}
	}
	s.started = nil
	return errors.Join(errs...)
}

func (p *startedPart) stopWithin(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, p.within)
	defer cancel()
	return p.stop(ctx)
}

// Failed tells when a part has ended by itself.
func (s *Server) Failed() <-chan error { return s.fail }

// serving runs a door in the background. Any end but the normal one is the server's. It
// returns a channel that is closed when the door has ended.
func (s *Server) serving(name string, serve func() error, normal error) (ended <-chan struct{}) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := serve(); err != nil && !errors.Is(err, normal) {
			s.fail <- fmt.Errorf("%s: %w", name, err)
		}
	}()
	return done
}

// servingHTTP runs an HTTP door in the background. The stopper lets it answer what is
// under way.
func (s *Server) servingHTTP(name string, door *http.Server, l net.Listener) stopper {
	ended := s.serving(name, func() error { return door.Serve(l) }, http.ErrServerClosed)
	return func(ctx context.Context) error {
		err := door.Shutdown(ctx)
		<-ended
		return err
	}
}

// inBackground runs tasks until the stopper is called, which waits for their end.
func inBackground(tasks ...func(context.Context)) stopper {
	run, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{}, len(tasks))
	for _, task := range tasks {
		go func() {
			task(run)
			ended <- struct{}{}
		}()
	}
	return func(ctx context.Context) error {
		cancel()
		for range tasks {
			select {
			case <-ended:
			case <-ctx.Done():
				return fmt.Errorf("it did not end: %w", ctx.Err())
			}
		}
		return nil
	}
}
