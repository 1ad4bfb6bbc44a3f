package kmipd

import (
	"context"
	"crypto/tls"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/handshake"
	"github.com/keyreeve/keyreeve/server/origin"
)

// conn is one connection. One goroutine serves it. Requests that arrive while one
// is being answered wait in the socket and are answered in order.
type conn struct {
	server     *Server
	tls        *tls.Conn
	wire       *wire         // what tls reads from
	origin     origin.Origin // principal and refusal: as identify said before the current message
	identify   func() (*core.Principal, error)
	verify     proof.IdentifySender // credentials of messages; nil: they are only noted
	behalf     context.Context      // of the work for the principal
	idle       atomic.Bool          // waiting for a message's first byte
	ending     atomic.Bool          // the client was refused since it connected, and the wait was cut short
	checking   atomic.Bool          // endIfRefused runs
	wrote      time.Time            // when the last answer went out
	slot       *bounds.Slot
	account    *bounds.Account    // of the principal's memory
	held       bounds.Hold        // the memory of the message that is worked on
	turn       fair.Turn          // of its requests to compute
	answered   chan bool          // from the worker: whether the connection goes on
	task       task               // what the worker does
	work       bounds.Work        // how the connection waits for it
	cancelWork context.CancelFunc // ends the work that is done for the connection
}

// buffers hold messages while they are worked on; an idle connection holds none.
var buffers = sync.Pool{New: func() any { b := make([]byte, 0, 4096); return &b }}

// keepBuffer is the largest buffer, in bytes, that goes back to the pool.
const keepBuffer = 64 * 1024

// putBuffer retires a buffer before it is used again: requests and answers carry
// keys.
func putBuffer(b *[]byte) {
	if core.Retire((*b)[:cap(*b)]) && cap(*b) <= keepBuffer {
		*b = (*b)[:0]
		buffers.Put(b)
	}
}

// endIdleWait ends the wait for a next message.
func (c *conn) endIdleWait() {
	if c.idle.Load() {
		c.tls.SetReadDeadline(past)
	}
}

// serve answers messages until the client leaves, breaks the rules or is idle for
// too long.
func (c *conn) serve(ctx context.Context) {
	ctx, c.cancelWork = context.WithCancel(fair.WithTurn(ctx, &c.turn))
	defer c.cancelWork()
	c.work = bounds.Work{Conn: c.wire.Conn, Limit: c.server.Limits.Operation, Began: c.task.currentBegan, Cancel: c.cancelWork, Answer: c.answerInPlace}
	defer c.server.endConn(c)
	defer func() {
		if p := recover(); p != nil {
			c.server.Log.Error("connection", "peer", c.origin.Address, "panic", p)
		}
	}()
	for c.answerNext(ctx) {
	}
	c.linger()
}

// onBehalf returns ctx for work that is done for the principal. It makes a context
// only if the principal has changed.
func (c *conn) onBehalf(ctx context.Context) context.Context {
	if c.behalf == nil || core.PrincipalOf(c.behalf) != c.origin.Principal {
		c.behalf = core.OnBehalfOf(ctx, c.origin.Principal)
	}
	return c.behalf
}

// answerNext reads a message and answers it; false ends the connection.
func (c *conn) answerNext(ctx context.Context) bool {
	var header [8]byte
	if !c.awaitMessage(&header) {
		return false
	}
	c.tls.SetReadDeadline(time.Now().Add(c.server.Limits.Read))
	if _, err := io.ReadFull(c.tls, header[1:]); err != nil {
		return false
	}
	n, err := kmip.FrameLength(header[:], kmip.MaxMessageBytes)
	if err != nil {
		c.answerByWorker(job{ctx: c.onBehalf(ctx), conn: c, err: err}) // framing is lost: answer, then close
		return false
	}
	if err := c.held.Reserve(ctx, n); err != nil {
		c.server.countRefused("memory")
		c.answerByWorker(job{ctx: c.onBehalf(ctx), conn: c, err: err}) // what follows is not read: answer, then close
		return false
	}
	c.tls.SetReadDeadline(time.Now().Add(c.server.Limits.Read))
	in := buffers.Get().(*[]byte)
	if !c.readBody(in, header[:], n) {
		putBuffer(in)
		c.held.Release()
		return false
	}
	c.identifyAgain()
	return c.answerByWorker(job{ctx: c.onBehalf(ctx), conn: c, msg: in}) && c.origin.Refusal == nil
}

// identifyAgain asks before each message who the client is: certificates expire,
// and authorities, revocation lists and mappings change while connections are open.
func (c *conn) identifyAgain() {
	p, err := c.identify()
	if err == nil && p == c.origin.Principal {
		return
	}
	if err == nil {
		if p.Tenant != c.origin.Principal.Tenant || p.ID != c.origin.Principal.ID {
			err = c.countForAnother(p)
		}
		c.origin.Principal = p // with other groups or roles, or another one, whom the record of a refusal names too
	}
	if err != nil {
		c.origin.Refusal = err
	}
}

// identifySender is [origin.Origin.Identify]. It tells the task who the sender is, for an
// answer in the worker's place.
func (c *conn) identifySender(ctx context.Context, certificate *core.Principal, credentials []proof.Credential) (*core.Principal, error) {
	p, err := c.verify(ctx, certificate, credentials)
	c.task.sender.Store(p)
	return p, err
}

// countForAnother counts the connection for a principal that it did not have before.
func (c *conn) countForAnother(p *core.Principal) error {
	if full := c.countFor(p); full != "" {
		c.server.Log.Info("connections", "peer", c.origin.Address, "tenant", p.Tenant, "principal", p.ID, "full", full)
		c.server.countRefused(full)
		return bounds.FullError(full)
	}
	c.server.Log.Info("principal changed", "peer", c.origin.Address, "tenant", p.Tenant, "principal", p.ID, "before", c.origin.Principal.ID)
	return nil
}

// countFor counts the connection, its memory and its work for a principal. It is
// called while no message is answered. It returns the limit that is full, "" if none is.
func (c *conn) countFor(p *core.Principal) (full string) {
	if full = c.slot.Pass(p.Tenant, p.ID); full != "" {
		return full
	}
	if memory := c.server.Memory; memory != nil {
		before := c.account
		c.account = memory.Open(p.Tenant, p.ID)
		c.held.For(c.account)
		if before != nil {
			before.Close()
		}
	}
	if c.server.Compute != nil {
		c.turn.Close()
		c.turn = fair.Turn{}
		c.server.Compute.Open(&c.turn, p.Tenant, p.ID)
	}
	return ""
}

// past is a deadline that is over.
var past = time.Unix(1, 0)

// awaitMessage waits for the first byte of a message and holds no buffer meanwhile.
// While the server is stopping it waits for nothing: only messages that TLS has
// read already are answered.
func (c *conn) awaitMessage(header *[8]byte) bool {
	c.tls.SetReadDeadline(time.Now().Add(c.server.Limits.Idle))
	c.idle.Store(true)
	if since := c.server.stoppingFor(); since > stopRead {
		return false
	} else if since > 0 {
		c.tls.SetReadDeadline(past)
	}
	_, err := io.ReadFull(c.tls, header[:1])
	c.idle.Store(false)
	return err == nil
}

// Bounds of a connection's end.
const (
	stopRead   = time.Second // how long after a stop has begun messages that came before are taken
	lingerTime = time.Second // how long after an answer the client is heard out, though it has received all
)

// linger closes the sending side and reads what the client still sends. Closing
// while it sends would reset the connection and lose the last answers.
func (c *conn) linger() {
	if time.Since(c.wrote) > lingerTime && !bounds.HasUnsent(c.wire.Conn) {
		return
	}
	if c.tls.CloseWrite() == nil {
		handshake.HearOut(c.wire.Conn)
	}
}

// readChunk is how much memory a message gets ahead of the bytes that have arrived.
const readChunk = 64 * 1024

// readBody reads the rest of a message in growing steps, so that a length alone
// does not allocate a megabyte.
func (c *conn) readBody(in *[]byte, header []byte, n int) bool {
	b := append((*in)[:0], header...)
	for len(b) < n {
		step := min(n-len(b), readChunk)
		at := len(b)
		if cap(b) < at+step {
			grown := make([]byte, at, min(n, max(2*cap(b), at+step)))
			copy(grown, b)
			core.Retire(b)
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

// close ends the connection. It first reads what TLS still holds of requests: TLS
// is then done with all of its buffer, and wire has seen where it begins.
func (c *conn) close() {
	if c.tls.ConnectionState().HandshakeComplete {
		var rest [512]byte
		c.tls.SetReadDeadline(time.Unix(1, 0))
		for {
			if _, err := c.tls.Read(rest[:]); err != nil {
				break
			}
		}
		clear(rest[:])
	}
	c.tls.Close()
	c.wire.zeroAll()
}

// answer works on a message, or on the error that reading it gave, and writes
// the answer in one go, unless the connection could not wait for it.
func (c *conn) answer(ctx context.Context, msg []byte, err error) bool {
	out := buffers.Get().(*[]byte)
	defer putBuffer(out)
	if err == nil {
		err = c.turn.Begin(ctx)
	}
	defer c.turn.End()
	if err == nil {
		*out = c.server.Messages.Answer(ctx, &c.origin, msg, (*out)[:0])
	} else {
		*out = c.server.Messages.AnswerUnread(ctx, &c.origin, err, (*out)[:0])
	}
	if !c.task.claimAnswer() || c.writeAnswer(*out) != nil {
		return false
	}
	return msg != nil // otherwise framing is lost
}

// writeAnswer writes an answer within the time for one. A client that reads slowly makes
// that last, so wrote is set afterwards.
func (c *conn) writeAnswer(answer []byte) error {
	c.tls.SetWriteDeadline(time.Now().Add(c.server.Limits.Write))
	_, err := c.tls.Write(answer)
	c.wrote = time.Now()
	return err
}
