package kmipd

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/bounds"
)

// task is what a worker does for a connection. Worker and connection share it.
type task struct {
	state   atomic.Int32
	began   atomic.Int64                   // when the current operation began, in Unix nanoseconds
	doing   atomic.Uint32                  // that operation
	sender  atomic.Pointer[core.Principal] // that credentials of the message proved; nil: nobody but the certificate's
	version core.Version                   // of the message, as far as it can be seen; the connection's
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
	t.sender.Store(nil)
	t.began.Store(time.Now().UnixNano())
}

// beginOperation is called by the worker with each operation. The first began with the task.
func (t *task) beginOperation(i int, op core.Operation) {
	t.doing.Store(uint32(op))
	if i > 0 {
		t.began.Store(time.Now().UnixNano())
	}
}

// currentBegan returns when the current operation began.
func (t *task) currentBegan() time.Time { return time.Unix(0, t.began.Load()) }

// claimAnswer is called by the worker when the answer is ready, and tells whether it may
// still be written.
func (t *task) claimAnswer() bool { return t.state.CompareAndSwap(working, answering) }

// awaitWorker waits for the worker and returns whether the connection goes on. It
// does not if the client has left or was answered in the worker's place.
func (c *conn) awaitWorker(ctx context.Context) bool {
	keep, ended := bounds.Await(ctx, &c.work, c.answered)
	return ended && keep && ctx.Err() == nil
}

// answerInPlace answers for a worker that does not come back, unless it is answering.
func (c *conn) answerInPlace(ctx context.Context) bool {
	if !c.task.state.CompareAndSwap(working, abandoned) {
		return false
	}
	o := c.origin
	if p := c.task.sender.Load(); p != nil {
		o.Principal = p
	}
	out := c.server.Messages.AnswerLate(ctx, &o, c.task.version, core.Operation(c.task.doing.Load()), c.server.Limits.Operation)
	c.writeAnswer(out) // if nobody reads it, the connection ends anyway
	return true
}
