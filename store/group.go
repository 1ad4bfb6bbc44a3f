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
	"github.com/keyreeve/keyreeve/store/dberror"
)

// Bounds of the group committer.
const (
	maxWaiting    = 4096             // commits that wait for their batch; one more is refused
	commitWait    = 10 * time.Second // until the batch begins, and again until it ends
	maxTenant     = maxWaiting / 2   // waiting commits of one tenant
	maxBatch      = 256              // weight of the changes in one transaction; a heavier change goes alone
	groupYields   = 3                // times that a leader lets other goroutines run before it takes its batch
	troubleCounts = 5 * time.Second  // how long a commit that the database failed makes the store unhealthy
)

// groupCommitter lets many callers share one transaction and its sync. If nobody is
// committing, the caller leads and commits at once. The changes that arrive meanwhile
// form the next batch, and one of their callers leads it. A single caller needs no
// switch of goroutines. Both databases use it. Safe for concurrent use.
type groupCommitter struct {
	commit func([]*pendingChange) // sets the error of each change; one call at a time
	wait   time.Duration          // commitWait, except in tests

	mu         sync.Mutex
	leading    bool
	batchBegan time.Time // when the batch that is under way began
	closed     bool
	next       *batch
	underWay   []*pendingChange // the batch that is under way; only its leader uses it
	lastSize   int              // changes in the last batch
	idle       sync.Cond        // signalled when leading ends
	trouble    error            // error of the last batch, if the database failed it
	troubleAt  time.Time        // when trouble was set
}

// batch holds the changes that wait while another batch is under way.
type batch struct {
	all     []*pendingChange
	weight  int            // sum of all
	tenants map[string]int // commits of each tenant; kept only when there are many
	live    int            // changes that were not withdrawn
	started bool           // its leader has taken it
	lead    chan struct{}  // holds a token for the caller that must lead it
	done    chan struct{}  // closed when each change has its outcome
}

// pendingChange is the change of one caller. From the beginning of its batch to the
// end, it belongs to the leader.
type pendingChange struct {
	change    *core.Change
	batch     atomic.Pointer[batch] // the batch that it is in; nil: its caller leads
	seqs      []int64               // Seq of each object that change inserts
	err       error
	withdrawn bool
}

func (g *groupCommitter) init(commit func([]*pendingChange)) {
	g.commit, g.wait = commit, commitWait
	g.idle.L = &g.mu
}

// commitWithOthers commits c together with the other changes that wait. It returns nil
// when c is durable. An error means that nothing of c is stored, unless it is the one
// of [dberror.UnknownOutcome]. If ctx ends before the batch of c begins, c is withdrawn. After
// that ctx is ignored, so that the answer is true.
func (g *groupCommitter) commitWithOthers(ctx context.Context, c *core.Change) error {
	if err := ctx.Err(); err != nil {
		return notCommitted(err)
	}
	p := pendingPool.Get().(*pendingChange)
	p.change = c
	if err := g.submit(ctx, p); err != nil {
		return err // p is not used again: the leader of its batch may still use it
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

// refusal returns an error if no more changes may wait. The caller holds mu.
func (g *groupCommitter) refusal() error {
	switch {
	case g.closed:
		return core.Errorf(core.StoreUnavailable, "the store is closed")
	case g.next != nil && g.next.live >= maxWaiting:
		return core.Errorf(core.StoreUnavailable, "%d commits are waiting for the database, which is the limit; the database is too slow for the load", maxWaiting)
	case g.leading && time.Since(g.batchBegan) > g.wait:
		return core.Errorf(core.StoreUnavailable, "the database has not finished a commit for more than %v; check its disk and its connection", g.wait)
	}
	return nil
}

// joinNextBatch adds p to the next batch, unless its tenant has too many changes there.
// The caller holds mu.
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

// hasRoomFor reports whether the tenant of p may add a change. The changes of each
// tenant are counted only when there are so many that one tenant could have too many.
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

// letOthersJoin gives other callers time to join, if the last batch had several changes.
// The caller leads and holds mu.
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

// leadBatch commits the next batch, together with own unless it is nil, and passes the
// lead on. If the batch is too heavy, it takes some changes of each tenant and leaves
// the rest to the batch after it. The caller leads and holds mu; leadBatch releases mu.
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

// appendLive appends the changes that were not withdrawn.
func (b *batch) appendLive(todo []*pendingChange) []*pendingChange {
	for _, p := range b.all {
		if !p.withdrawn {
			todo = append(todo, p)
		}
	}
	return todo
}

// takeInTurns appends changes of a batch, one of each tenant in turn, up to the weight
// of a batch. It moves the others to the next batch. The caller holds mu.
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

// finishBatch wakes the callers of a batch and lets the next batch begin. It runs even
// if the commit panics: no caller may take that for success, or wait forever.
func (g *groupCommitter) finishBatch(b *batch, todo []*pendingChange) {
	r := recover()
	if r != nil {
		for _, p := range todo {
			p.err = dberror.UnknownOutcome(fmt.Errorf("panic: %v", r))
		}
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.lastSize = len(todo)
	g.noteTrouble(todo)
	clear(todo)
	if b != nil {
		close(b.done) // from here on the changes belong to their callers again
	}
	g.passLead()
}

// noteTrouble keeps the error with which the database failed a batch, for its health.
// The caller holds mu.
func (g *groupCommitter) noteTrouble(todo []*pendingChange) {
	g.trouble = nil
	for _, p := range todo {
		if core.CodeOf(p.err) == core.StoreUnavailable {
			g.trouble, g.troubleAt = p.err, time.Now()
		}
	}
}

// passLead gives the lead to a caller that waits, or ends it if nobody waits. The
// caller holds mu.
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

// awaitDecision waits until p is stored or refused, or the time is up. If p must lead
// meanwhile, it does.
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
				return dberror.UnknownOutcome(errors.New("no answer within " + g.wait.String()))
			}
			begun = true
			t.Reset(g.wait)
		}
	}
}

// movedFrom returns the batch that p was moved to because b was full. It returns nil
// if p stayed in b, so its outcome is there.
func (p *pendingChange) movedFrom(b *batch) *batch {
	if now := p.batch.Load(); now != b {
		return now
	}
	return nil
}

// withdraw takes p out of its batch. It returns false if the batch has begun.
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
	case <-b.lead: // nobody has taken the lead, and p will not take it
		g.passLead()
	default:
	}
	return true
}

// notCommitted is the error for a change that was withdrawn before its batch began.
func notCommitted(cause error) error {
	return core.Wrap(core.StoreUnavailable, cause, "the change is not stored: it was withdrawn before its turn, because the database is slow or the request ended")
}

// closeAndWait refuses new changes and waits, for a bounded time, for the batch that is
// under way.
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

// health returns an error if the store is stuck or closed, or if the database has just
// failed a commit: with a full disk it still answers queries. A failed commit is
// forgotten soon, because callers that wait for good health commit nothing meanwhile.
func (g *groupCommitter) health() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.trouble != nil && time.Since(g.troubleAt) < troubleCounts {
		return g.trouble
	}
	return g.refusal()
}
