package kmipd

import (
	"context"
	"io"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// If TLS accepts a certificate that names no principal, the client gets an answer
// to its first message. If the connection were only closed, its operator would look
// for a fault of the network.

// refusedBytes is how much of a refused client's message is read, in bytes. The
// rest is read and thrown away.
const refusedBytes = 4096

// answerRefused answers the first message with the reason for the refusal and reads
// what the client still sends. The caller closes the connection. It records nothing:
// the handshake was recorded.
func (c *conn) answerRefused(ctx context.Context) {
	defer func() {
		if p := recover(); p != nil {
			c.server.Log.Error("connection", "peer", c.origin.Address, "panic", p)
		}
	}()
	c.tls.SetReadDeadline(time.Now().Add(c.server.Limits.Handshake))
	c.idle.Store(true)
	if c.server.stoppingFor() > 0 {
		return
	}
	buf := make([]byte, refusedBytes)
	defer clear(buf) // it may hold a password
	if _, err := io.ReadFull(c.tls, buf[:8]); err != nil {
		return
	}
	c.idle.Store(false)
	msg := buf[:8]
	total, err := kmip.FrameLength(msg, kmip.MaxMessageBytes)
	if err == nil {
		msg = buf[:min(total, len(buf))]
		if _, err := io.ReadFull(c.tls, msg[8:]); err != nil {
			return
		}
	}
	out := c.server.Messages.AnswerRefused(ctx, &c.origin, msg)
	if c.writeAnswer(out) == nil {
		c.linger()
	}
}

// Times for ending idle connections whose clients are not accepted any more.
const (
	identifyEvery = 500 * time.Millisecond
	refusedGrace  = 5 * time.Second // for one more message, whose answer says why
)

// watchIdentities ends idle connections of clients that are not accepted any more. A
// message that comes within refusedGrace gets an answer. Each check has a goroutine, because it
// can wait for an OCSP responder, and the others must not wait with it.
func (s *Server) watchIdentities(ctx context.Context) {
	var idle []*conn
	core.Every(ctx, identifyEvery, func() {
		idle = s.appendIdle(idle[:0])
		for _, c := range idle {
			if c.checking.CompareAndSwap(false, true) {
				go c.endIfRefused()
			}
		}
		clear(idle)
	})
}

// endIfRefused ends an idle connection if its client is not accepted any more.
func (c *conn) endIfRefused() {
	defer c.checking.Store(false)
	if _, err := c.identify(); err != nil && c.ending.CompareAndSwap(false, true) {
		c.tls.SetReadDeadline(time.Now().Add(refusedGrace))
	}
}

// appendIdle appends the connections that wait for a message to idle.
func (s *Server) appendIdle(idle []*conn) []*conn {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.idle.Load() && !c.ending.Load() && c.identify != nil {
			idle = append(idle, c)
		}
	}
	return idle
}
