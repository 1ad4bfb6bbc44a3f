package kmipd

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/bounds"
)

// The work for a connection ends with the connection: its context is cancelled
// when the client has gone, and when an operation has lasted too long.
//
// A call into the HSM cannot be ended from outside, and one that hangs keeps its
// worker. The client still gets an answer: if an operation lasts too long, the
// connection answers instead of the worker and closes. What the worker does
// afterwards is recorded and sent to nobody.

// task is what a worker does for a connection. Worker and connection share it.
type task struct {
	state   atomic.Int32
	began   atomic.Int64  // when the current operation began, in Unix nanoseconds
	doing   atomic.Uint32 // that operation
	version core.Version  // of the message, as far as it can be seen; the connection's
	timer   *time.Timer   // the connection's
}

// States of a task.
const (
	working   int32 = iota
	answering       // the worker writes
	abandoned       // the connection answers instead
)

// beginMessage is called before a worker has the message.
func (t *task) beginMessage(version core.Version) {
	t.version = version
	t.state.Store(working)
	t.doing.Store(0)
	t.began.Store(time.Now().UnixNano())
}

// beginOperation is called by the worker with each operation. The first began with the task.
func (t *task) beginOperation(i int, op core.Operation) {
	t.doing.Store(uint32(op))
	if i > 0 {
		t.began.Store(time.Now().UnixNano())
	}
}

// claimAnswer is called by the worker when the answer is ready, and tells whether it may
// still be written.
func (t *task) claimAnswer() bool { return t.state.CompareAndSwap(working, answering) }

// awaitWorker waits for the worker, or answers in its place and ends the connection.
// If the client leaves meanwhile, it cancels the work and goes on waiting: a
// connection keeps its slot for as long as it causes work.
func (c *conn) awaitWorker(ctx context.Context) bool {
	t := &c.task
	first := min(c.server.Limits.Operation, bounds.WatchEvery)
	if t.timer == nil {
		t.timer = time.NewTimer(first)
	} else {
		t.timer.Reset(first)
	}
	for {
		select {
		case keep := <-c.answered:
			t.timer.Stop()
			return keep && ctx.Err() == nil
		case <-t.timer.C:
		}
		if ctx.Err() == nil && bounds.Gone(c.wire.Conn) {
			c.cancelWork()
		}
		over := c.server.Limits.Operation - time.Since(time.Unix(0, t.began.Load()))
		if over <= 0 && t.state.CompareAndSwap(working, abandoned) {
			c.answerInPlace(context.WithoutCancel(ctx))
			c.cancelWork()
			return false
		}
		t.timer.Reset(min(max(over, time.Millisecond*10), bounds.WatchEvery))
	}
}

// answerInPlace answers for a worker that does not come back.
func (c *conn) answerInPlace(ctx context.Context) {
	out := c.server.Messages.AnswerLate(ctx, &c.origin, c.task.version, core.Operation(c.task.doing.Load()), c.server.Limits.Operation)
	c.wrote = time.Now()
	c.tls.SetWriteDeadline(c.wrote.Add(c.server.Limits.Write))
	c.tls.Write(out) // if nobody reads it, the connection ends anyway
}
