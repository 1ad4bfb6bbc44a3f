package hsm

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// maxReads bounds how many keys are read in one turn, so that others who wait
// for the token's lock get theirs.
const maxReads = 16

// maxWaitingReads bounds the keys that wait to be read, of all tenants together.
const maxWaitingReads = 8192

// reads unwraps and reads class C keys for all who ask, one behind the other:
// who finds nobody reading reads for all that gathered, and a goroutine goes on
// while there is something to read. SoftHSM2 does one such call at a time
// whoever makes it, and callers that fight for their turn get a third fewer of
// them done. A turn takes one of each tenant, and of each of its principals, before
// it takes a second.
type reads struct {
	mu      sync.Mutex
	waiting fair.Queue[*read]
	running bool
}

// read is one key to be read. It belongs to the reader until done is closed.
type read struct {
	key  core.Key
	buf  []byte
	n    int
	err  error
	gone atomic.Bool // nobody waits for it
	done chan struct{}
}

var errUnread = errors.New("not read")

// readWrapped reads the bytes of a row's blob into buf. A caller whose ctx ends
// leaves without them.
func (t *Token) readWrapped(ctx context.Context, k core.Key, buf []byte) (int, error) {
	if err := t.hangs(); err != nil {
		return 0, err
	}
	r := &read{key: k, buf: make([]byte, len(buf)), done: make(chan struct{})}
	tenant, principal := core.ShareOf(ctx)
	t.reads.mu.Lock()
	if t.reads.waiting.Len() >= maxWaitingReads {
		t.reads.mu.Unlock()
		return 0, core.Errorf(core.Busy, "%d keys wait to be read from the HSM, which is the limit; try again later", maxWaitingReads)
	}
	t.reads.waiting.Push(tenant, principal, r)
	lead := !t.reads.running
	t.reads.running = true
	t.reads.mu.Unlock()
	if lead && t.readSome() {
		go func() {
			for t.readSome() {
			}
		}()
	}
	if err := t.awaitRead(ctx, r); err != nil {
		r.gone.Store(true)
		go func() { <-r.done; clear(r.buf) }() // the reader still has it
		return 0, err
	}
	defer clear(r.buf)
	return copy(buf, r.buf[:r.n]), r.err
}

// awaitRead waits for the reader no longer than a call may last.
func (t *Token) awaitRead(ctx context.Context, r *read) error {
	select {
	case <-r.done:
		return nil
	default:
	}
	timer := time.NewTimer(t.cfg.Stuck)
	defer timer.Stop()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		return core.Wrap(core.TokenUnavailable, ctx.Err(), "the HSM did not answer in time")
	case <-timer.C:
		return core.Errorf(core.TokenUnavailable, "the HSM did not read a key within %v", t.cfg.Stuck)
	}
}

// readSome reads for those who wait and tells whether more have come meanwhile.
func (t *Token) readSome() bool {
	t.reads.mu.Lock()
	var turn []*read
	for len(turn) < maxReads {
		r, ok := t.reads.waiting.Pop()
		if !ok {
			break
		}
		if r.gone.Load() {
			close(r.done)
			continue
		}
		turn = append(turn, r)
	}
	t.reads.mu.Unlock()
	if len(turn) > 0 {
		t.readTurn(turn)
	}
	t.reads.mu.Lock()
	defer t.reads.mu.Unlock()
	t.reads.running = t.reads.waiting.Len() > 0
	return t.reads.running
}

func (t *Token) readTurn(turn []*read) {
	for _, r := range turn {
		r.err = errUnread
	}
	err := t.do(context.Background(), "read a key", func(sh p11.SessionHandle) error {
		if err := t.admin.take(t.cfg.Wait); err != nil {
			return err
		}
		defer t.admin.give()
		for _, r := range turn {
			if r.n, r.err = t.readOne(sh, r); classOf(r.err) >= goneFault {
				return r.err // do mends session or token, and all are read again
			}
		}
		return nil
	})
	for _, r := range turn {
		if errors.Is(r.err, errUnread) || (err != nil && r.err != nil) {
			r.err = err
		}
		r.err = coded(r.err, "read a key")
		close(r.done)
	}
}

// readOne asks for the tenant's key each time: its handle may have changed.
func (t *Token) readOne(sh p11.SessionHandle, r *read) (int, error) {
	kek, err := t.kekOf(r.key)
	if err != nil {
		return 0, err
	}
	return t.glue.readWrapped(sh, kek, r.key.Material.Blob, r.buf)
}
