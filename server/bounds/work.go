package bounds

import (
	"context"
	"net"
	"time"
)

// The work for a request ends with its connection: its context is cancelled when the
// client has gone, and when an operation has lasted too long.
//
// A call into the HSM cannot be ended from outside, and one that hangs keeps its
// goroutine. The client still gets an answer: if an operation lasts too long, the
// door answers in its place. What the goroutine does afterwards is recorded and sent
// to nobody.

// Work watches what is done for the requests of one connection, one after the other.
// One goroutine waits at a time.
type Work struct {
	Conn   net.Conn         // nil: no client is watched
	Limit  time.Duration    // of one operation
	Began  func() time.Time // when the current operation began
	Cancel func()           // ends the work

	// Answer answers in place of an operation that has lasted for Limit. It returns
	// false if the operation is being answered meanwhile.
	Answer func(ctx context.Context) bool

	timer *time.Timer
}

// WatchEvery is how often the client of a request is watched. Requests that take less
// time pay nothing.
const WatchEvery = 100 * time.Millisecond

// retryAnswer is how long after an operation was over its limit and being answered it
// is looked at again.
const retryAnswer = 10 * time.Millisecond

// Await waits for the end of work that is done under ctx. ended is false if Answer
// has answered in its place. If the client leaves, Await ends the work and goes on
// waiting: a connection keeps its slot for as long as it causes work.
func Await[T any](ctx context.Context, w *Work, done <-chan T) (result T, ended bool) {
	first := min(w.Limit, WatchEvery)
	if w.timer == nil {
		w.timer = time.NewTimer(first)
	} else {
		w.timer.Reset(first)
	}
	for {
		select {
		case result = <-done:
			w.timer.Stop()
			return result, true
		case <-w.timer.C:
		}
		if ctx.Err() == nil && w.Conn != nil && Gone(w.Conn) {
			w.Cancel()
		}
		left := w.Limit - time.Since(w.Began())
		if left <= 0 && w.Answer(context.WithoutCancel(ctx)) {
			w.Cancel()
			return result, false
		}
		w.timer.Reset(min(max(left, retryAnswer), WatchEvery))
	}
}
