package kmipd

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// conn is one connection. It is served by one goroutine; requests that arrive
// while one is being answered wait in the socket and are answered in order.
type conn struct {
	server    *Server
	tls       *tls.Conn
	wire      *wire // what tls reads from
	peer      string
	principal *core.Principal
	cert      *x509.Certificate
	idle      atomic.Bool // waiting for a message's first byte
	answered  chan bool   // from the worker: whether the connection goes on
}

// buffers hold messages while they are worked on; an idle connection holds none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// keepBuffer is the largest buffer, in bytes, that goes back to the pool.
const keepBuffer = 64 * 1024

// putBuffer zeroes what was used before others may have it: requests and
// answers carry keys.
func putBuffer(b *[]byte) {
	clear((*b)[:cap(*b)])
	if cap(*b) <= keepBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// wake ends the wait for a next message.
func (c *conn) wake() {
	if c.idle.Load() {
		c.tls.SetReadDeadline(time.Unix(1, 0))
	}
}

// serve answers messages until the client leaves, errs or falls silent.
func (c *conn) serve(ctx context.Context) {
	defer c.server.forget(c)
	defer func() {
		if p := recover(); p != nil {
			c.server.Log.Error("connection", "peer", c.peer, "panic", p)
		}
	}()
	for c.one(ctx) {
	}
}

// one reads a message and answers it; false ends the connection.
func (c *conn) one(ctx context.Context) bool {
	var header [8]byte
	if !c.await(&header) {
		return false
	}
	c.tls.SetReadDeadline(time.Now().Add(c.server.Limits.Read))
	if _, err := io.ReadFull(c.tls, header[1:]); err != nil {
		return false
	}
	n, err := kmip.FrameLength(header[:], c.server.Limits.MessageBytes)
	if err != nil {
		c.server.workers.do(job{ctx: ctx, conn: c, err: err}) // framing is lost: answer, then close
		return false
	}
	in := buffers.Get().(*[]byte)
	defer putBuffer(in)
	if !c.readBody(in, header[:], n) {
		return false
	}
	return c.server.workers.do(job{ctx: ctx, conn: c, msg: *in})
}

// await waits for the first byte of a message, holding no buffer meanwhile.
func (c *conn) await(header *[8]byte) bool {
	c.tls.SetReadDeadline(time.Now().Add(c.server.Limits.Idle))
	c.idle.Store(true)
	if c.server.isStopping() {
		return false
	}
	_, err := io.ReadFull(c.tls, header[:1])
	c.idle.Store(false)
	return err == nil && !c.server.isStopping()
}

// readChunk is how much room a message is given ahead of what has arrived.
const readChunk = 64 * 1024

// readBody reads the rest of a message in growing steps: a length alone makes
// nobody reserve a megabyte.
func (c *conn) readBody(in *[]byte, header []byte, n int) bool {
	b := append((*in)[:0], header...)
	for len(b) < n {
		step := min(n-len(b), readChunk)
		at := len(b)
		if cap(b) < at+step {
			grown := make([]byte, at, min(n, max(2*cap(b), at+step)))
			copy(grown, b)
			clear(b)
			b = grown
		}
		b = b[:at+step]
		if _, err := io.ReadFull(c.tls, b[at:]); err != nil {
			*in = b
			return false
		}
	}
	*in = b
	return true
}

// answer works on a message, or on the error that reading it gave, and writes
// the answer in one go.
func (c *conn) answer(ctx context.Context, msg []byte, err error) bool {
	out := buffers.Get().(*[]byte)
	defer putBuffer(out)
	var keep bool
	*out, keep = c.respond(ctx, msg, err, (*out)[:0])
	c.tls.SetWriteDeadline(time.Now().Add(c.server.Limits.Write))
	if _, werr := c.tls.Write(*out); werr != nil {
		return false
	}
	return keep
}
