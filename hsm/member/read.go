package member

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/hsm"
)

// maxReads bounds how many keys are read in one turn, so that other callers get the turn
// to change objects.
const maxReads = 16

// maxWaitingReads bounds the keys that wait to be read, of all tenants together.
const maxWaitingReads = 8192

// readQueue has the keys that wait to be unwrapped and read. One caller reads for
// everyone who is waiting, and a goroutine continues while there is something to read.
// SoftHSM2 does one such call at a time in any case; callers that compete for the turn
// get a third fewer reads done. A turn takes one key of each tenant, and of each of its
// principals, before it takes a second.
type readQueue struct {
	*caller

	mu      sync.Mutex
	waiting fair.Queue[*pendingRead]
	running bool
}

// pendingRead is one key to be read. It belongs to the reader until done is closed.
type pendingRead struct {
	key       *hsm.Key
	buf       []byte
	n         int
	err       error
	abandoned atomic.Bool // its caller no longer waits
	done      chan struct{}
}

var errUnread = errors.New("not read")

// readWrapped reads a blob when its turn comes. If ctx ends first, it fails.
func (q *readQueue) readWrapped(ctx context.Context, k *hsm.Key, dst []byte) (int, error) {
	if err := q.conn.sessions.checkStuck(); err != nil {
		return 0, err
	}
	r := &pendingRead{key: k, buf: make([]byte, len(dst)), done: make(chan struct{})}
	lead, err := q.enqueue(ctx, r)
	if err != nil {
		return 0, err
	}
	if lead && q.readSome() {
		go func() {
			for q.readSome() {
			}
		}()
	}
	if err := q.awaitRead(ctx, r); err != nil {
		r.abandoned.Store(true)
		go func() { <-r.done; clear(r.buf) }() // the reader still uses it
		return 0, err
	}
	defer clear(r.buf)
	return copy(dst, r.buf[:r.n]), r.err
}

// enqueue puts a read into the queue, and reports whether its caller must read for all.
func (q *readQueue) enqueue(ctx context.Context, r *pendingRead) (lead bool, err error) {
	tenant, principal := core.ShareOf(ctx)
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting.Len() >= maxWaitingReads {
		return false, core.Errorf(core.Busy, "%d keys are waiting to be read from the HSM, which is the limit; try again later", maxWaitingReads)
	}
	q.waiting.Push(tenant, principal, r)
	lead = !q.running
	q.running = true
	return lead, nil
}

// nextTurn takes the reads of one turn from the queue.
func (q *readQueue) nextTurn() (turn []*pendingRead) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(turn) < maxReads {
		r, ok := q.waiting.Pop()
		if !ok {
			break
		}
		if r.abandoned.Load() {
			close(r.done)
			continue
		}
		turn = append(turn, r)
	}
	return turn
}

// hasMore reports whether more reads have come. If not, the reader ends.
func (q *readQueue) hasMore() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running = q.waiting.Len() > 0
	return q.running
}

// awaitRead waits until the key is read, but no longer than a call may last.
func (q *readQueue) awaitRead(ctx context.Context, r *pendingRead) error {
	select {
	case <-r.done:
		return nil
	default:
	}
	timer := time.NewTimer(q.conn.cfg.Stuck)
	defer timer.Stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return core.Wrap(core.TokenUnavailable, ctx.Err(), "the HSM did not answer in time")
	case <-timer.C:
		return core.Errorf(core.TokenUnavailable, "the HSM did not read a key within %v", q.conn.cfg.Stuck)
	}
}

// readSome reads the keys of one turn, and reports whether more have come meanwhile.
func (q *readQueue) readSome() bool {
	if turn := q.nextTurn(); len(turn) > 0 {
		q.readTurn(turn)
	}
	return q.hasMore()
}

func (q *readQueue) readTurn(turn []*pendingRead) {
	for _, r := range turn {
		r.err = errUnread
	}
	err := q.perform(context.Background(), call{doing: "read a key", turn: true, run: func(s p11.SessionHandle, _ p11.ObjectHandle) error {
		for _, r := range turn {
			if r.n, r.err = q.readBlob(s, r); classify(r.err) >= goneFault {
				return r.err // perform restores session or token; then all are read again
			}
		}
		return nil
	}})
	for _, r := range turn {
		if errors.Is(r.err, errUnread) || (err != nil && r.err != nil) {
			r.err = err
		}
		r.err = describe(r.err, "read a key")
		close(r.done)
	}
}

// readBlob reads one key. It asks for the KEK each time, since its handle may change.
func (q *readQueue) readBlob(s p11.SessionHandle, r *pendingRead) (int, error) {
	kek, err := q.kekOf(r.key)
	if err != nil {
		return 0, err
	}
	return q.conn.glue.readWrapped(s, kek, r.key.Blob, r.buf)
}
