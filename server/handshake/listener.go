package handshake

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"sync"
	"time"
)

// Listener shakes hands with each connection before Accept returns it, in goroutines
// of its own. net/http would not report which certificate it has refused, and would
// close before the client has read the alert. inner must bound the number of
// connections.
type Listener struct {
	inner  net.Listener
	config *tls.Config
	within time.Duration
	failed func(net.Conn, error)

	ready  chan net.Conn
	errs   chan error
	ctx    context.Context
	cancel context.CancelFunc
	start  sync.Once
	all    sync.WaitGroup
}

// Listen makes a listener over inner. It calls failed for each handshake that fails,
// before it closes the connection.
func Listen(inner net.Listener, c *tls.Config, within time.Duration, failed func(net.Conn, error)) *Listener {
	l := &Listener{inner: inner, config: c, within: within, failed: failed, ready: make(chan net.Conn), errs: make(chan error)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	return l
}

// Accept returns the next connection that TLS has let in.
func (l *Listener) Accept() (net.Conn, error) {
	l.start.Do(func() { l.all.Go(l.acceptAll) })
	select {
	case c := <-l.ready:
		return c, nil
	case err := <-l.errs:
		return nil, err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// acceptAll takes connections until the listener is closed. Other errors of inner
// go to the caller of Accept, which waits before it tries again.
func (l *Listener) acceptAll() {
	for {
		c, err := l.inner.Accept()
		if err != nil {
			select {
			case l.errs <- err:
			case <-l.ctx.Done():
				return
			}
			if errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		l.all.Go(func() { l.shakeHands(c) })
	}
}

func (l *Listener) shakeHands(c net.Conn) {
	t := tls.Server(c, l.config)
	if err := Do(l.ctx, t, l.within); err != nil {
		if l.ctx.Err() == nil {
			l.failed(c, err)
		}
		t.Close()
		return
	}
	select {
	case l.ready <- t:
	case <-l.ctx.Done():
		t.Close()
	}
}

// Close ends the handshakes that are under way and waits for them.
func (l *Listener) Close() error {
	l.cancel()
	err := l.inner.Close()
	l.all.Wait()
	return err
}

// Addr is the inner listener's.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }
