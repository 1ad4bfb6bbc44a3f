package store

import (
	"context"
	"runtime"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of the group committer.
const (
	maxQueued  = 10_000           // commits waiting
	maxGroup   = 512              // commits in one transaction
	commitWait = 10 * time.Second // a caller's patience
)

// group lets many callers share one transaction and its sync. The caller that
// finds nobody committing commits itself (the leader), for all that gathered;
// then the oldest that gathered meanwhile leads on. At one caller this costs no
// switch of goroutines.
type group struct {
	commit func(batch []*pending)

	mu      sync.Mutex
	queue   []*pending
	leading bool
	last    int // size of the last batch
}

type pending struct {
	change *core.Change
	err    error
	done   chan struct{} // closed when err is final; nil: this one leads
	lead   chan struct{} // a token: take the lead
}

var pendings = sync.Pool{New: func() any { return &pending{done: make(chan struct{}, 1), lead: make(chan struct{}, 1)} }}

// do commits c with whatever else is waiting. When it returns nil, c is
// durable. A context that ends does not end the wait: whether c is stored would
// not be known; commitWait bounds it, and then the answer is StoreUnavailable
// although c may still be stored.
func (g *group) do(_ context.Context, c *core.Change) error {
	p := pendings.Get().(*pending)
	p.change, p.err = c, nil
	g.mu.Lock()
	if len(g.queue) >= maxQueued {
		g.mu.Unlock()
		return core.Errorf(core.StoreUnavailable, "%d commits are waiting for the database; it is too slow for the load", maxQueued)
	}
	g.queue = append(g.queue, p)
	if g.leading {
		g.mu.Unlock()
		return g.wait(p)
	}
	g.leading = true
	g.mu.Unlock()
	g.run(p)
	err := p.err
	p.change = nil
	pendings.Put(p)
	return err
}

// wait sits until somebody has committed p, or hands it the lead.
func (g *group) wait(p *pending) error {
	timer := time.NewTimer(commitWait)
	defer timer.Stop()
	select {
	case <-p.done:
	case <-p.lead:
		g.run(p)
	case <-timer.C:
		go func() { // the caller leaves; the lead may still come to it
			select {
			case <-p.done:
			case <-p.lead:
				g.run(p)
			}
		}()
		return core.Errorf(core.StoreUnavailable, "the database took longer than %v to commit", commitWait)
	}
	err := p.err
	p.change = nil
	pendings.Put(p)
	return err
}

// run commits what is queued, p among it, and passes the lead on.
func (g *group) run(p *pending) {
	if g.last > 1 { // let others who are about to commit come along
		for range 3 {
			runtime.Gosched()
		}
	}
	g.mu.Lock()
	n := min(len(g.queue), maxGroup)
	batch := append(make([]*pending, 0, n), g.queue[:n]...)
	g.queue = append(g.queue[:0], g.queue[n:]...)
	g.mu.Unlock()

	g.commit(batch)

	g.mu.Lock()
	g.last = len(batch)
	if len(g.queue) > 0 {
		g.queue[0].lead <- struct{}{}
	} else {
		g.leading = false
	}
	g.mu.Unlock()
	for _, b := range batch {
		if b != p {
			b.done <- struct{}{}
		}
	}
}

// health complains when commits pile up.
func (g *group) health() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if len(g.queue) > maxQueued/2 {
		return core.Errorf(core.StoreUnavailable, "%d commits are waiting for the database", len(g.queue))
	}
	return nil
}
