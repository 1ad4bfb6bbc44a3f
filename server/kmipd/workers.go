package kmipd

import (
	"context"

	"github.com/keyreeve/keyreeve/server/bounds"
)

// job is one message to be answered on a connection's behalf.
type job struct {
	ctx  context.Context
	conn *conn
	msg  *[]byte // the worker's until it goes back to the pool; nil where err says why
	err  error
}

// newWorkers returns workers that answer messages.
func newWorkers() *bounds.Workers[job] {
	return bounds.NewWorkers(func(j job) { j.conn.answered <- j.conn.answerJob(j) })
}

// answerByWorker lets a worker answer a job and returns whether the connection goes on.
func (c *conn) answerByWorker(j job) bool {
	var msg []byte
	if j.msg != nil {
		msg = *j.msg
	}
	c.task.beginMessage(c.server.Messages.VersionOf(msg))
	c.server.workers.Start(j)
	return c.awaitWorker(j.ctx)
}

// answerJob answers a job; a panic ends the connection and nothing else.
func (c *conn) answerJob(j job) (keep bool) {
	defer c.held.Release()
	var msg []byte
	if j.msg != nil {
		defer putBuffer(j.msg)
		msg = *j.msg
	}
	defer func() {
		if p := recover(); p != nil {
			c.server.Log.Error("connection", "peer", c.origin.Address, "panic", p)
			keep = false
		}
	}()
	return c.answer(j.ctx, msg, j.err)
}
