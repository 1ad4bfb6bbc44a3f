// Package kmipd is the KMIP door: it takes TLS connections, reads request
// messages, has them answered and writes the answers.
//
// It never decides: authentication is given to it, policy and state are the
// engine's. Everything from outside has a bound. Whatever a client sends, it gets
// an answer or a closed connection within a deadline.
// Start at [Server.Serve].
package kmipd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/exchanges"
	"github.com/keyreeve/keyreeve/server/handshake"
	"github.com/keyreeve/keyreeve/server/origin"
)

// Limits bound what clients may do. Their defaults are those of the settings.
type Limits struct {
	Slots     bounds.SlotLimits
	Handshake time.Duration
	Read      time.Duration // from a message's first byte to its last
	Idle      time.Duration // between messages
	Write     time.Duration // of one answer
	Operation time.Duration // until its client is told that the outcome is not known
}

// Watcher sees what happens at the door, for metrics. Nil methods are not called.
type Watcher struct {
	Opened, Closed func()
	Refused        func(why string) // "connections", "tenant", "principal", "peer", "waiting", "handshake", "identity", "memory"
}

// Messages answers request messages, each with the bytes of one response message.
// A door that cannot read or finish a message has that answered too. It is safe for
// concurrent use. Package message has one.
type Messages interface {
	// Answer appends the answer to a message to buf. msg and o are used until it returns.
	Answer(ctx context.Context, o *origin.Origin, msg, buf []byte) []byte
	// AnswerUnread appends the answer to a message that was not read; err says why.
	AnswerUnread(ctx context.Context, o *origin.Origin, err error, buf []byte) []byte
	// AnswerRefused returns the answer to a sender who was refused before. msg may
	// be the beginning of a message.
	AnswerRefused(ctx context.Context, o *origin.Origin, msg []byte) []byte
	// AnswerLate returns the answer to an operation that has not ended after so long.
	AnswerLate(ctx context.Context, o *origin.Origin, v core.Version, operation core.Operation, after time.Duration) []byte
	// VersionOf returns the version of a message, as far as it can be seen.
	VersionOf(msg []byte) core.Version
}

// Logins records authentications that failed. The engine does.
type Logins interface {
	RecordLogin(ctx context.Context, method string, r core.Record) error
}

// Server is the KMIP door. Make it with its exported fields, then Serve.
type Server struct {
	Messages Messages
	Logins   Logins
	Auth     proof.Authenticator
	Users    proof.CredentialAuthenticator // verifies credentials of messages; nil: they are only noted
	TLS      *tls.Config
	Limits   Limits
	Log      *slog.Logger
	Watch    Watcher
	Memory   *bounds.Memory    // shared by the doors; nil: without bound, for tests
	Compute  *fair.Processors  // shared by the doors; nil: without bound, for tests
	Keep     *exchanges.Keeper // keeps what was refused; nil: nobody does

	workers  *bounds.Workers[job]
	mu       sync.Mutex
	conns    map[*conn]struct{}
	stopping bool
	stopped  time.Time // when that began
	stop     context.CancelFunc
	done     sync.WaitGroup
}

// ErrStopped is what Serve returns after Shutdown.
var ErrStopped = errors.New("kmipd: stopped")

// Serve accepts connections until Shutdown. The listener is closed with it.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s.mu.Lock()
	s.workers = newWorkers()
	s.conns, s.stop = map[*conn]struct{}{}, cancel
	s.mu.Unlock()
	l = bounds.Listen(l, s.Limits.Slots, s.countRefused)
	context.AfterFunc(ctx, func() { l.Close() })
	go s.watchIdentities(ctx)
	for delay := time.Duration(0); ; {
		c, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return ErrStopped
			}
			// Out of file descriptors and the like pass; a closed listener does not.
			if errors.Is(err, net.ErrClosed) {
				return err
			}
			delay = min(max(2*delay, 5*time.Millisecond), time.Second)
			s.Log.Warn("accept", "error", err, "wait", delay)
			time.Sleep(delay)
			continue
		}
		delay = 0
		s.beginConn(ctx, c)
	}
}

// beginConn begins with a connection, unless the server is stopping. The handshake gets a
// goroutine that ends with it: its stack is large, and idle connections would keep it.
func (s *Server) beginConn(ctx context.Context, nc net.Conn) {
	c := newConn(s, nc)
	if !s.trackConn(c) {
		s.countRefused("stopping")
		nc.Close()
		return
	}
	if s.Watch.Opened != nil {
		s.Watch.Opened()
	}
	go func() {
		if !s.shakeHands(ctx, c) {
			s.endConn(c)
			return
		}
		if c.origin.Refusal != nil {
			c.answerRefused(ctx)
			s.endConn(c)
			return
		}
		go c.serve(context.WithoutCancel(ctx)) // what has begun is answered, also while stopping
	}()
}

// newConn returns a connection that has not shaken hands yet.
func newConn(s *Server, nc net.Conn) *conn {
	w := &wire{Conn: nc, raw: bounds.RawConn(nc)}
	c := &conn{server: s, wire: w, slot: bounds.SlotOf(nc), tls: tls.Server(w, s.TLS), answered: make(chan bool, 1)}
	c.origin = origin.Origin{Door: core.DoorKMIP, Address: hostOf(nc.RemoteAddr()), Begin: c.task.beginOperation,
		Memory: origin.MessageMemory{FreeBytes: bounds.FreeBytes, Reserve: c.held.Reserve, Count: c.held.Take}}
	return c
}

// trackConn notes a connection for Shutdown. It returns false if that has begun.
func (s *Server) trackConn(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stopping {
		return false
	}
	s.conns[c] = struct{}{}
	s.done.Add(1)
	return true
}

func (s *Server) countRefused(why string) {
	if s.Watch.Refused != nil {
		s.Watch.Refused(why)
	}
}

// shakeHands shakes hands and identifies the client. It returns false if the
// connection must close at once. A failed handshake and a refusal are recorded.
func (s *Server) shakeHands(ctx context.Context, c *conn) bool {
	if err := handshake.Do(ctx, c.tls, s.Limits.Handshake); err != nil {
		if c.slot.Dropped() { // a flood is counted, and neither logged nor recorded one by one
			s.countRefused("waiting")
			return false
		}
		s.countRefused("handshake")
		s.Log.Info("handshake", "peer", c.origin.Address, "error", err)
		s.keepRefused(c, handshake.Sent(err), false, err.Error())
		s.recordLogin(ctx, handshake.Failed(core.DoorKMIP, c.origin.Address, err))
		return false
	}
	state := c.tls.ConnectionState()
	c.identify = s.Auth.Identify(proof.Evidence{Certificates: state.PeerCertificates})
	if c.origin.Principal, c.origin.Refusal = c.identify(); c.origin.Refusal != nil {
		s.countRefused("identity")
		s.Log.Info("authenticate", "peer", c.origin.Address, "error", c.origin.Refusal)
		s.keepRefused(c, state.PeerCertificates, true, c.origin.Refusal.Error())
		s.recordLogin(ctx, handshake.Refused(core.DoorKMIP, c.origin.Address, state.PeerCertificates, c.origin.Refusal.Error()))
	}
	p := c.origin.Principal
	if p == nil {
		return true
	}
	if why := c.countFor(p); why != "" {
		s.countRefused(why)
		s.Log.Info("connections", "peer", c.origin.Address, "tenant", p.Tenant, "principal", p.ID, "full", why)
		s.keepRefused(c, state.PeerCertificates, true, "too many connections of the "+why)
		s.recordLogin(ctx, handshake.Refused(core.DoorKMIP, c.origin.Address, state.PeerCertificates, "too many connections of the "+why))
		return false
	}
	if s.Users != nil {
		c.verify = s.Users.ForConnection(c.origin.Address)
		c.origin.Identify = c.identifySender
	}
	if s.Compute != nil {
		c.origin.Yield = c.turn.Yield
		c.wire.turn = &c.turn
	}
	return true
}

// keepRefused keeps why a connection was refused.
func (s *Server) keepRefused(c *conn, sent []*x509.Certificate, verified bool, why string) {
	if s.Keep != nil {
		s.Keep.KeepRefused(time.Now(), c.origin.Address, sent, verified, why)
	}
}

// recordLogin records an authentication that failed. Failures to record only reach
// the log: there is no answer to hold back.
func (s *Server) recordLogin(ctx context.Context, r core.Record) {
	if err := s.Logins.RecordLogin(context.WithoutCancel(ctx), core.MethodCertificate, r); err != nil {
		s.Log.Error("audit", "operation", "Login", "error", err)
	}
}

func (s *Server) endConn(c *conn) {
	c.close()
	c.turn.Close()
	if c.account != nil {
		c.account.Close()
	}
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	if s.Watch.Closed != nil {
		s.Watch.Closed()
	}
	s.done.Done()
}

// Shutdown stops accepting, closes idle connections and lets requests under way be
// answered. It returns when all are, or closes all connections when ctx ends.
func (s *Server) Shutdown(ctx context.Context) error {
	s.mu.Lock()
	s.stopping, s.stopped = true, time.Now()
	stop := s.stop
	for c := range s.conns {
		c.endIdleWait()
	}
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
	finished := make(chan struct{})
	go func() { s.done.Wait(); close(finished) }()
	select {
	case <-finished:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for c := range s.conns {
		c.tls.NetConn().Close()
	}
	s.mu.Unlock()
	return ctx.Err()
}

// stoppingFor returns how long the server has been stopping, 0 while it serves.
func (s *Server) stoppingFor() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.stopping {
		return 0
	}
	return max(time.Since(s.stopped), 1)
}

func hostOf(a net.Addr) string {
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}
