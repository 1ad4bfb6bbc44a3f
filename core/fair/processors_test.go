package fair_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

// computing runs requests of one tenant one after the other until stop, and notes the
// largest number that it has seen at once.
type computing struct{ now, most atomic.Int64 }

func (c *computing) request(t *testing.T, turn *fair.Turn, lasts time.Duration) {
	if err := turn.Begin(t.Context()); err != nil {
		t.Error(err)
		return
	}
	n := c.now.Add(1)
	for m := c.most.Load(); n > m && !c.most.CompareAndSwap(m, n); m = c.most.Load() {
	}
	time.Sleep(lasts)
	c.now.Add(-1)
	turn.End()
}

// There is no bound for a tenant that is alone. If there is another tenant, the first one is
// bounded, and the other one does not wait.
func TestProcessorsBoundATenantWithRivals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := fair.NewProcessors(2)
		var flood computing
		var stop atomic.Bool
		for i := range 32 {
			turn := new(fair.Turn)
			p.Open(turn, "flood", fmt.Sprint(i%4))
			go func() {
				defer turn.Close()
				for !stop.Load() {
					flood.request(t, turn, 10*time.Millisecond)
				}
			}()
		}
		time.Sleep(time.Second)
		if flood.most.Load() != 32 {
			t.Errorf("a tenant that is alone computes %d requests at once, want 32", flood.most.Load())
		}
		quiet := new(fair.Turn)
		p.Open(quiet, "quiet", "q")
		defer quiet.Close()
		var other computing
		for i := range 100 {
			began := time.Now()
			other.request(t, quiet, time.Millisecond)
			if took := time.Since(began); took != time.Millisecond {
				t.Fatalf("request %d of the quiet tenant took %v", i, took)
			}
			time.Sleep(20 * time.Millisecond)
			if i == 0 {
				flood.most.Store(0)
			}
		}
		if flood.most.Load() != 2 {
			t.Errorf("beside another tenant %d requests computed at once, want 2", flood.most.Load())
		}
		time.Sleep(10 * time.Second) // without rivals
		if flood.most.Load() != 32 {
			t.Errorf("alone again, the tenant computes %d requests at once, want 32", flood.most.Load())
		}
		stop.Store(true)
		synctest.Wait()
		time.Sleep(time.Minute)
	})
}

// rivals makes p apply its bound, and returns an open turn of a tenant.
func rivals(t *testing.T, p *fair.Processors) func() *fair.Turn {
	t.Helper()
	open := func(tenant string) *fair.Turn {
		turn := new(fair.Turn)
		p.Open(turn, tenant, "p")
		t.Cleanup(turn.Close)
		return turn
	}
	for _, tenant := range []string{"other", "tenant"} {
		turn := open(tenant)
		if err := turn.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		turn.End()
	}
	return func() *fair.Turn { return open("tenant") }
}

// While a request waits for something else, another one computes. Then the first one
// continues without waiting.
func TestTurnPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := rivals(t, fair.NewProcessors(1))
		first, second := open(), open()
		if err := first.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		began := make(chan error, 1)
		go func() { began <- second.Begin(t.Context()) }()
		synctest.Wait()
		if len(began) != 0 {
			t.Fatal("two requests compute, one may")
		}
		wait := fair.Waits(fair.WithTurn(t.Context(), first))
		synctest.Wait()
		if len(began) != 1 {
			t.Fatal("a request that waits keeps its turn")
		}
		wait.Over() // though the second one computes
		first.End()
		second.End()
		if err := first.Begin(t.Context()); err != nil {
			t.Error(err)
		}
		first.End()
	})
}

// A waiting request fails with Busy when its context ends, or after a bounded time. If a turn
// is closed while its request computes, its place becomes free.
func TestTurnEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		open := rivals(t, fair.NewProcessors(1))
		hangs, waits, last := open(), open(), open()
		if err := hangs.Begin(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := waits.Begin(ctx); core.CodeOf(err) != core.Busy {
			t.Errorf("a request whose context ended: %v", err)
		}
		began := make(chan error, 1)
		go func() { began <- last.Begin(t.Context()) }()
		synctest.Wait()
		hangs.Close()
		hangs.End() // of the request, much later
		if err := <-began; err != nil {
			t.Error(err)
		}
		last.End()
	})
}

func BenchmarkTurnUncontended(b *testing.B) {
	p := fair.NewProcessors(1)
	var turn fair.Turn
	p.Open(&turn, "t", "p")
	defer turn.Close()
	ctx := b.Context()
	for b.Loop() {
		turn.Begin(ctx)
		turn.End()
	}
}
