package hsm

import (
	"context"
	"errors"
	"sync"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// maxReads bounds how many keys are read in one turn, so that others who wait
// for the token's lock get theirs.
const maxReads = 16

// reads unwraps and reads class C keys for all who ask, one behind the other:
// who finds nobody reading reads for all that gathered, and a goroutine goes on
// while there is something to read. SoftHSM2 does one such call at a time
// whoever makes it, and callers that fight for their turn get a third fewer of
// them done.
type reads struct {
	mu      sync.Mutex
	waiting []*read
	running bool
}

// read is one key to be read. It belongs to the reader until done is closed.
type read struct {
	key  core.Key
	buf  []byte
	n    int
	err  error
	done chan struct{}
}

var errUnread = errors.New("not read")

// readWrapped reads the bytes of a row's blob into buf. A caller whose ctx ends
// leaves without them.
func (t *Token) readWrapped(ctx context.Context, k core.Key, buf []byte) (int, error) {
	r := &read{key: k, buf: make([]byte, len(buf)), done: make(chan struct{})}
	t.reads.mu.Lock()
	t.reads.waiting = append(t.reads.waiting, r)
	lead := !t.reads.running
	t.reads.running = true
	t.reads.mu.Unlock()
	if lead && t.readSome() {
		go func() {
			for t.readSome() {
			}
		}()
	}
	select {
	case <-r.done:
	case <-ctx.Done():
		go func() { <-r.done; clear(r.buf) }()
		return 0, core.Wrap(core.TokenUnavailable, ctx.Err(), "the HSM did not answer in time")
	}
	defer clear(r.buf)
	return copy(buf, r.buf[:r.n]), r.err
}

// readSome reads for those who wait and tells whether more have come meanwhile.
func (t *Token) readSome() bool {
	t.reads.mu.Lock()
	turn := t.reads.waiting
	if t.reads.waiting = nil; len(turn) > maxReads {
		turn, t.reads.waiting = turn[:maxReads:maxReads], turn[maxReads:]
	}
	t.reads.mu.Unlock()
	t.readTurn(turn)
	t.reads.mu.Lock()
	defer t.reads.mu.Unlock()
	t.reads.running = len(t.reads.waiting) > 0
	return t.reads.running
}

func (t *Token) readTurn(turn []*read) {
	for _, r := range turn {
		r.err = errUnread
	}
	err := t.do(context.Background(), "read a key", func(sh p11.SessionHandle) error {
		t.admin.Lock()
		defer t.admin.Unlock()
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

// readOne asks for the tenant's key anew: its handle may have changed.
func (t *Token) readOne(sh p11.SessionHandle, r *read) (int, error) {
	n, err := t.of(r.key.Tenant)
	if err != nil {
		return 0, err
	}
	kek, err := n.kekOf(r.key)
	if err != nil {
		return 0, err
	}
	return t.glue.readWrapped(sh, kek, r.key.Material.Blob, r.buf)
}
