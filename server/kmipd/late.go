package kmipd

import (
	"context"
	"encoding/binary"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/server/bounds"
)

// The work for a connection ends with the connection: its context is cancelled
// when the client has gone, and when an operation has lasted too long.
//
// A call into the HSM cannot be ended from outside, and one that hangs keeps the
// worker that made it. Its client is answered all the same: the connection, which
// waits for the worker, answers in its place when an operation lasts too long, and
// closes. What the worker does afterwards reaches nobody; its record is stored.

// task is what a worker does for a connection. It is worked on by both.
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
	left            // the connection answers instead
)

// begin is called before a worker has the message.
func (t *task) begin(msg *[]byte) {
	t.version = core.V1_0
	if msg != nil {
		t.version = versionOf(*msg)
	}
	t.state.Store(working)
	t.doing.Store(0)
	t.began.Store(time.Now().UnixNano())
}

// next is called by the worker with each operation. The first began with the task.
func (t *task) next(i int, op core.Operation) {
	t.doing.Store(uint32(op))
	if i > 0 {
		t.began.Store(time.Now().UnixNano())
	}
}

// done is called by the worker when the answer is ready, and tells whether it may
// still be written.
func (t *task) done() bool { return t.state.CompareAndSwap(working, answering) }

// wait waits for the worker, or answers in its place and ends the connection. If
// the client goes away meanwhile, it cancels the work and goes on waiting: the
// connection keeps its slot for as long as it causes work.
func (c *conn) wait(ctx context.Context) bool {
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
			c.leave()
		}
		over := c.server.Limits.Operation - time.Since(time.Unix(0, t.began.Load()))
		if over <= 0 && t.state.CompareAndSwap(working, left) {
			c.answerInPlace(context.WithoutCancel(ctx))
			c.leave()
			return false
		}
		t.timer.Reset(min(max(over, time.Millisecond*10), bounds.WatchEvery))
	}
}

// answerInPlace answers for a worker that does not come back.
func (c *conn) answerInPlace(ctx context.Context) {
	op := core.Operation(c.task.doing.Load())
	b := &batch{conn: c, ctx: ctx}
	b.caller = core.Caller{Principal: c.principal, Door: core.DoorKMIP, Address: c.peer, RequestID: b.requestID(), Version: c.task.version}
	reason, text := b.reason(op, c.server.Engine.Leave(ctx, &b.caller, core.ActionOf(op), c.server.Limits.Operation))
	b.resp.Begin(nil, b.caller.Version, time.Now().Unix(), "")
	b.resp.Failure(op, nil, core.StatusOperationFailed, reason, text)
	c.wrote = time.Now()
	c.tls.SetWriteDeadline(c.wrote.Add(c.server.Limits.Write))
	c.tls.Write(b.resp.End()) // if nobody reads it, the connection ends anyway
}

// Where the two numbers of the Protocol Version are in a message: it is the first
// field of the header, which is the first of the message.
const (
	majorAt = 32
	minorAt = 48
)

// versionOf is the version in which a message is answered that may not have been
// read: 1.0, which every client reads, where there is none that is spoken.
func versionOf(msg []byte) core.Version {
	if len(msg) < minorAt+4 {
		return core.V1_0
	}
	major, minor := binary.BigEndian.Uint32(msg[majorAt:]), binary.BigEndian.Uint32(msg[minorAt:])
	for _, v := range core.Versions {
		if uint32(v.Major()) == major && uint32(v.Minor()) == minor && kmip.Known(v) {
			return v
		}
	}
	return core.V1_0
}
