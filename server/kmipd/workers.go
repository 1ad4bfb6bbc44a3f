package kmipd

import (
	"context"
	"time"
)

// workerIdle is how long a worker without work stays.
const workerIdle = time.Second

// job is one message to be answered on a connection's behalf.
type job struct {
	ctx  context.Context
	conn *conn
	msg  *[]byte // the worker's until it goes back to the pool; nil where err says why
	err  error
}

// workers answer messages on stacks of their own. Policy and database make a
// goroutine's stack grow to tens of KiB, and an idle connection would keep it:
// so connections wait on small stacks and lend their messages to a few workers.
type workers struct{ jobs chan job }

func newWorkers() *workers { return &workers{jobs: make(chan job)} }

// answer lets a worker answer a job and returns whether the connection goes on.
func (w *workers) answer(j job) bool {
	var msg []byte
	if j.msg != nil {
		msg = *j.msg
	}
	j.conn.task.beginMessage(j.conn.server.Messages.VersionOf(msg))
	select {
	case w.jobs <- j:
	default:
		go w.runJobs(j)
	}
	return j.conn.awaitWorker(j.ctx)
}

// runJobs answers a job, then those that come while it is waiting.
func (w *workers) runJobs(j job) {
	timer := time.NewTimer(workerIdle)
	defer timer.Stop()
	for {
		j.conn.answered <- j.conn.answerJob(j)
		timer.Reset(workerIdle)
		select {
		case j = <-w.jobs:
		case <-timer.C:
			return
		}
	}
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
