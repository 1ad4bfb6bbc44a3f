package httpd

import (
	"net"
	"sync"
)

// Bounded makes l take at most all connections at once, and each of one address:
// net/http has no such bound, and whoever uses up the file descriptors here takes
// them from the KMIP door too. What is above is closed at once. Zero means no bound.
func Bounded(l net.Listener, all, each int) net.Listener {
	return &bounded{Listener: l, all: all, each: each, perPeer: map[string]int{}}
}

type bounded struct {
	net.Listener
	all, each int

	mu      sync.Mutex
	open    int
	perPeer map[string]int
}

// Accept waits for the next connection within the bounds.
func (b *bounded) Accept() (net.Conn, error) {
	for {
		c, err := b.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if peer := peerHost(c); b.admit(peer) {
			return &counted{Conn: c, left: sync.OnceFunc(func() { b.leave(peer) })}, nil
		}
		c.Close()
	}
}

func (b *bounded) admit(peer string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if (b.all > 0 && b.open >= b.all) || (b.each > 0 && b.perPeer[peer] >= b.each) {
		return false
	}
	b.open++
	b.perPeer[peer]++
	return true
}

func (b *bounded) leave(peer string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.open--
	if b.perPeer[peer]--; b.perPeer[peer] <= 0 {
		delete(b.perPeer, peer)
	}
}

// counted leaves when it is closed, however often.
type counted struct {
	net.Conn
	left func()
}

// NetConn is what is counted.
func (c *counted) NetConn() net.Conn { return c.Conn }

func (c *counted) Close() error {
	defer c.left()
	return c.Conn.Close()
}

func peerHost(c net.Conn) string {
	host, _, err := net.SplitHostPort(c.RemoteAddr().String())
	if err != nil {
		return c.RemoteAddr().String()
	}
	return host
}
