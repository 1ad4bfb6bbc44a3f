package store

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// Bounds of the group committer.
const (
	maxWaiting    = 4096             // commits that wait for their turn; one more is refused
	commitWait    = 10 * time.Second // for the turn, and again for the turn itself
	maxTenant     = maxWaiting / 2   // of them, commits of one tenant
	maxBatch      = 256              // weight of the changes in one transaction, unless one alone has more
	groupYields   = 3                // times a leader lets others run before it takes its batch
	troubleCounts = 5 * time.Second  // how long a commit that the database failed counts as ill health
)

// groupCommitter lets many callers share one transaction and its sync. A caller who finds nobody
// committing is the leader and commits at once. The changes that arrive meanwhile are
// the next batch, and one of their callers leads it. A single caller needs no switch
// of goroutines. Safe for concurrent use.
type groupCommitter struct {
	commit func([]*pendingChange) // decides every change given; never called twice at once
	wait   time.Duration          // commitWait but in tests

	mu         sync.Mutex
	leading    bool
	batchBegan time.Time // when the batch under way began
	closed     bool
	next       *batch
	underWay   []*pendingChange // room for the batch under way, the leader's
	lastSize   int              // changes in the last batch
	idle       sync.Cond        // told when leading ends
	trouble    error            // of the last batch, if the database failed it
	troubleAt  time.Time        // when
}

// batch is what gathers while another is under way.
type batch struct {
	all     []*pendingChange
	weight  int            // of all
	tenants map[string]int // commits of each tenant; kept only when there are many
	live    int            // those that nobody withdrew
	started bool           // its leader has taken it
	lead    chan struct{}  // holds a token for the one who is to lead it
	done    chan struct{}  // closed when all are decided
}

// pendingChange is one caller's change. Once its turn has begun it belongs to the
// leader until the batch is done.
type pendingChange struct {
	change    *core.Change
	batch     atomic.Pointer[batch] // that it is in; nil: its caller leads
	seqs      []int64               // of the objects that change inserts
	err       error
	withdrawn bool
}

func (g *groupCommitter) init(commit func([]*pendingChange)) {
	g.commit, g.wait = commit, commitWait
	g.idle.L = &g.mu
}

// commitWithOthers commits c together with the other changes that wait; nil means durable. An error
// means that nothing of c is stored, unless it is that of [unknownOutcome]. If ctx ends
// while c waits for its turn, c is withdrawn. From the beginning of its turn on ctx is
// ignored, so that the answer is true.
func (g *groupCommitter) commitWithOthers(ctx context.Context, c *core.Change) error {
	if err := ctx.Err(); err != nil {
		return notCommitted(err)
	}
	p := pendingPool.Get().(*pendingChange)
	p.change = c
	if err := g.submit(ctx, p); err != nil {
		return err // p is not used again: its leader may still have it
	}
	giveSeqs(c, p.seqs)
	p.clearForReuse()
	pendingPool.Put(p)
	return nil
}

func (p *pendingChange) clearForReuse() {
	p.change, p.seqs, p.err, p.withdrawn = nil, p.seqs[:0], nil, false
	p.batch.Store(nil)
}

var pendingPool = sync.Pool{New: func() any { return new(pendingChange) }}

func (g *groupCommitter) submit(ctx context.Context, p *pendingChange) error {
	g.mu.Lock()
	if err := g.refusal(); err != nil {
		g.mu.Unlock()
		return err
	}
	if g.leading {
		err := g.joinNextBatch(p)
		g.mu.Unlock()
		if err != nil {
			return err
		}
		return g.awaitDecision(ctx, p)
	}
	g.leading = true
	g.letOthersJoin()
	g.leadBatch(p)
	return p.err
}

// refusal returns an error if no further change may wait. The caller holds mu.
func (g *groupCommitter) refusal() error {
	switch {
	case g.closed:
		return core.Errorf(core.StoreUnavailable, "the store is closed")
	case g.next != nil && g.next.live >= maxWaiting:
		return core.Errorf(core.StoreUnavailable, "%d commits are waiting for the database, which is the limit; it is too slow for the load", maxWaiting)
	case g.leading && time.Since(g.batchBegan) > g.wait:
		return core.Errorf(core.StoreUnavailable, "the database has not ended a commit for more than %v; look at its disk or its connection", g.wait)
	}
	return nil
}

// joinNextBatch adds p to the batch that gathers, unless its tenant has too many there. The
// caller holds mu.
func (g *groupCommitter) joinNextBatch(p *pendingChange) error {
	if g.next == nil {
		g.next = newBatch()
	}
	if !g.next.hasRoomFor(p) {
		return core.Errorf(core.Busy, "%d changes of this tenant are waiting for the database, which is the limit; try again later", maxTenant)
	}
	g.next.addPending(p)
	return nil
}

func newBatch() *batch { return &batch{lead: make(chan struct{}, 1), done: make(chan struct{})} }

// hasRoomFor reports whether one more change of a tenant is taken. Tenants are counted
// only when there are so many changes that one of them can have too many.
func (b *batch) hasRoomFor(p *pendingChange) bool {
	if len(b.all) < maxTenant || p.change.ForTenant() == core.OwnWork {
		return true
	}
	if b.tenants == nil {
		b.tenants = map[string]int{}
		for _, q := range b.all {
			b.tenants[q.change.ForTenant()]++
		}
	}
	return b.tenants[p.change.ForTenant()] < maxTenant
}

func (b *batch) addPending(p *pendingChange) {
	p.batch.Store(b)
	b.all = append(b.all, p)
	b.weight += weightOf(p.change)
	b.live++
	if b.tenants != nil {
		b.tenants[p.change.ForTenant()]++
	}
}

// letOthersJoin lets other callers join, if the last batch had several. The caller leads and
// holds mu.
func (g *groupCommitter) letOthersJoin() {
	g.batchBegan = time.Now()
	if g.lastSize <= 1 {
		return
	}
	g.mu.Unlock()
	for range groupYields {
		runtime.Gosched()
	}
	g.mu.Lock()
}

// leadBatch commits what has gathered and, unless it is nil, own; then it passes the
// lead on. Of more than a batch may have it takes some of each tenant, and the rest
// is the beginning of the next. The caller leads and holds mu, which is released.
func (g *groupCommitter) leadBatch(own *pendingChange) {
	b := g.next
	g.next = nil
	todo := g.underWay[:0]
	if b != nil {
		b.started = true
		if b.weight > maxBatch {
			todo = g.takeInTurns(b, todo)
		} else {
			todo = b.appendLive(todo)
		}
	}
	if own != nil {
		todo = append(todo, own)
	}
	g.batchBegan, g.underWay = time.Now(), todo
	g.mu.Unlock()
	defer g.finishBatch(b, todo)
	g.commit(todo)
}

// appendLive appends what nobody withdrew.
func (b *batch) appendLive(todo []*pendingChange) []*pendingChange {
	for _, p := range b.all {
		if !p.withdrawn {
			todo = append(todo, p)
		}
	}
	return todo
}

// takeInTurns takes changes of a batch in turns, one of each tenant, until they have the
// weight of a batch, and moves the others to the next. The caller holds mu.
func (g *groupCommitter) takeInTurns(b *batch, todo []*pendingChange) []*pendingChange {
	var turns fair.Queue[*pendingChange]
	for _, p := range b.all {
		if !p.withdrawn {
			turns.Push(p.change.ForTenant(), "", p)
		}
	}
	for weight := 0; turns.Len() > 0; {
		p, _ := turns.Pop()
		if weight += weightOf(p.change); weight > maxBatch && len(todo) > 0 {
			if g.next == nil {
				g.next = newBatch()
			}
			g.next.addPending(p)
			continue
		}
		todo = append(todo, p)
	}
	return todo
}

// finishBatch wakes the batch's callers and lets the next begin. It runs also when the
// commit panics: nobody may take that for success, nor wait for ever.
func (g *groupCommitter) finishBatch(b *batch, todo []*pendingChange) {
	r := recover()
	if r != nil {
		for _, p := range todo {
			p.err = unknownOutcome(fmt.Errorf("panic: %v", r))
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lastSize = len(todo)
	g.noteTrouble(todo)
	clear(todo)
	if b != nil {
		close(b.done) // from here on the changes are their callers' again
	}
	g.passLead()
}

// noteTrouble keeps what the database failed with, for its health. The caller holds mu.
func (g *groupCommitter) noteTrouble(todo []*pendingChange) {
	g.trouble = nil
	for _, p := range todo {
		if core.CodeOf(p.err) == core.StoreUnavailable {
			g.trouble, g.troubleAt = p.err, time.Now()
		}
	}
}

// passLead gives the lead to one of those who wait, or ends it. The caller holds mu.
func (g *groupCommitter) passLead() {
	if g.next != nil && g.next.live > 0 {
		g.batchBegan = time.Now()
		g.next.lead <- struct{}{}
		return
	}
	g.next, g.leading = nil, false
	g.idle.Broadcast()
}

var timerPool = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

// awaitDecision sits until p is decided, until it is p who must lead, or until time is up.
func (g *groupCommitter) awaitDecision(ctx context.Context, p *pendingChange) error {
	t := timerPool.Get().(*time.Timer)
	defer timerPool.Put(t)
	defer t.Stop()
	t.Reset(g.wait)
	cancelled := ctx.Done()
	b := p.batch.Load()
	for begun := false; ; {
		select {
		case <-b.done:
			if b = p.movedFrom(b); b == nil {
				return p.err
			}
		case <-b.lead:
			g.mu.Lock()
			g.letOthersJoin()
			g.leadBatch(nil)
			if b = p.movedFrom(b); b == nil {
				return p.err
			}
		case <-cancelled:
			if g.withdraw(p) {
				return notCommitted(ctx.Err())
			}
			cancelled = nil
		case <-t.C:
			if g.withdraw(p) {
				return notCommitted(errors.New("no turn within " + g.wait.String()))
			}
			if begun {
				return unknownOutcome(errors.New("no answer within " + g.wait.String()))
			}
			begun = true
			t.Reset(g.wait)
		}
	}
}

// movedFrom is the batch that p was moved to because b was full; nil if b has
// decided p.
func (p *pendingChange) movedFrom(b *batch) *batch {
	if now := p.batch.Load(); now != b {
		return now
	}
	return nil
}

// withdraw takes p out of a batch that has not begun; false if it has.
func (g *groupCommitter) withdraw(p *pendingChange) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	b := p.batch.Load()
	if b.started {
		return false
	}
	p.withdrawn = true
	b.live--
	b.weight -= weightOf(p.change)
	select {
	case <-b.lead: // nobody has taken the lead yet, and p will not
		g.passLead()
	default:
	}
	return true
}

// notCommitted is the error for a change whose turn never came.
func notCommitted(cause error) error {
	return core.Wrap(core.StoreUnavailable, cause, "the change was withdrawn before its turn and is not stored; the database is slow, or the request was given up")
}

// unknownOutcome is the only error that leaves open whether a change is stored.
func unknownOutcome(cause error) error {
	return core.Wrap(core.StoreUnavailable, cause, "the database went away in the middle of a commit, so it is not known whether the change is stored; read the object again")
}

// closeAndWait refuses new changes and waits, within its bound, for the batch under way.
func (g *groupCommitter) closeAndWait() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	end := time.Now().Add(g.wait)
	alarm := time.AfterFunc(g.wait, g.idle.Broadcast)
	defer alarm.Stop()
	for g.leading && time.Now().Before(end) {
		g.idle.Wait()
	}
}

// health is the error of a store that is stuck or closed, or that has just
// failed a commit: a full disk still answers questions. Whoever asks only when
// the answer is yes would never learn that it is mended, so it is forgotten soon.
func (g *groupCommitter) health() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.trouble != nil && time.Since(g.troubleAt) < troubleCounts {
		return g.trouble
	}
	return g.refusal()
}
