package fair_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
)

func as(tenant, id string) context.Context {
	return core.OnBehalfOf(context.Background(), &core.Principal{Tenant: tenant, ID: id})
}

func take(t *testing.T, s *fair.Slots, ctx context.Context) fair.Lease {
	t.Helper()
	l, err := s.Acquire(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A tenant never has more places than its bound, and a principal never more than its own.
// The other places stay free for others.
func TestBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fair.New(fair.Config{Name: "places", Slots: 8, PerTenant: 6, PerPrincipal: 5, Wait: time.Second})
		var got atomic.Int64
		for i := range 20 {
			go func() {
				if _, err := s.Acquire(as("greedy", fmt.Sprint("p", i%2*i))); err == nil {
					got.Add(1)
				} else if core.CodeOf(err) != core.Busy {
					t.Errorf("refused with %v", err)
				}
			}()
		}
		synctest.Wait()
		if got.Load() != 6 {
			t.Errorf("a tenant has %d of 8 places, want 6", got.Load())
		}
		take(t, s, as("modest", "m"))
		take(t, s, context.Background())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if u := s.Usage(); u.InUse != 8 || u.Waiting != 0 {
			t.Errorf("after all gave up: %+v", u)
		}
	})
	s := fair.New(fair.Config{Name: "places", Slots: 8, PerTenant: 6, PerPrincipal: 5, Wait: time.Millisecond})
	for range 5 {
		take(t, s, as("t", "one"))
	}
	if _, err := s.Acquire(as("t", "one")); core.CodeOf(err) != core.Busy {
		t.Errorf("a sixth place of one principal: %v", err)
	}
	take(t, s, as("t", "other"))
}

// A full queue refuses at once. Callers of other tenants may still wait.
func TestFullQueueRefusesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fair.New(fair.Config{Name: "places", Slots: 1, Waiting: 3, Wait: time.Minute})
		l := take(t, s, as("a", "a"))
		for range 3 {
			go func() {
				if l, err := s.Acquire(as("a", "a")); err == nil {
					l.Release()
				}
			}()
		}
		synctest.Wait()
		began := time.Now()
		if _, err := s.Acquire(as("a", "b")); core.CodeOf(err) != core.Busy || !strings.Contains(err.Error(), "3 calls") {
			t.Errorf("a full queue: %v", err)
		}
		if time.Since(began) != 0 {
			t.Error("the refusal took time")
		}
		go func() {
			if l, err := s.Acquire(as("b", "b")); err != nil {
				t.Errorf("another tenant: %v", err)
			} else {
				l.Release()
			}
		}()
		synctest.Wait()
		l.Release()
		synctest.Wait()
		if u := s.Usage(); u.InUse != 0 || u.Waiting != 0 || u.Refused != 1 {
			t.Errorf("afterwards: %+v", u)
		}
	})
}

// If a request ends, its caller leaves the queue and no place is lost.
func TestEndedRequestLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fair.New(fair.Config{Name: "places", Slots: 1})
		l := take(t, s, as("a", "a"))
		ctx, cancel := context.WithCancel(as("a", "b"))
		done := make(chan error)
		go func() { _, err := s.Acquire(ctx); done <- err }()
		synctest.Wait()
		cancel()
		if err := <-done; core.CodeOf(err) != core.Busy {
			t.Errorf("a request that ended: %v", err)
		}
		if _, err := s.Acquire(ctx); core.CodeOf(err) != core.Busy {
			t.Errorf("a request that had ended: %v", err)
		}
		l.Release()
		take(t, s, as("c", "c")).Release()
	})
}

// If one tenant uses all places, a call of another tenant is served next, not after all
// waiting callers. With 200 callers against one, at most one call of the others is between
// two calls of the one.
func TestNewcomerIsServedNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fair.New(fair.Config{Name: "places", Slots: 2, PerTenant: 2})
		var others atomic.Int64
		stop := make(chan bool)
		for i := range 200 {
			go func() {
				for {
					l, err := s.Acquire(as("flood", fmt.Sprint(i)))
					if err != nil {
						t.Error(err)
						return
					}
					time.Sleep(10 * time.Millisecond)
					others.Add(1)
					l.Release()
					select {
					case <-stop:
						return
					default:
					}
				}
			}()
		}
		synctest.Wait()
		for range 50 {
			before := others.Load()
			l := take(t, s, as("quiet", "q"))
			if n := others.Load() - before; n > 2 {
				t.Fatalf("%d calls of the flood went first", n)
			}
			time.Sleep(time.Millisecond)
			l.Release()
		}
		close(stop)
		time.Sleep(time.Minute)
		if u := s.Usage(); u.InUse != 0 || u.Waiting != 0 {
			t.Errorf("afterwards: %+v", u)
		}
	})
}

// Time counts, not calls: a tenant whose calls take ten times as long gets a tenth of the
// calls.
func TestTimeCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fair.New(fair.Config{Name: "places", Slots: 1})
		var slow, quick atomic.Int64
		var wg sync.WaitGroup
		end := time.Now().Add(10 * time.Second)
		work := func(tenant string, lasts time.Duration, n *atomic.Int64) {
			for range 4 {
				wg.Go(func() {
					for time.Now().Before(end) {
						l, err := s.Acquire(as(tenant, "p"))
						if err != nil {
							t.Error(err)
							return
						}
						time.Sleep(lasts)
						n.Add(1)
						l.Release()
					}
				})
			}
		}
		work("slow", 100*time.Millisecond, &slow)
		work("quick", 10*time.Millisecond, &quick)
		wg.Wait()
		if r := float64(quick.Load()) / float64(slow.Load()); r < 8 || r > 12 {
			t.Errorf("%d short and %d long calls, want ten to one", quick.Load(), slow.Load())
		}
	})
}

// Principals of one tenant share in the same way.
func TestPrincipalsOfOneTenant(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := fair.New(fair.Config{Name: "places", Slots: 1})
		counts := map[string]*atomic.Int64{"busy": {}, "quiet": {}}
		var wg sync.WaitGroup
		end := time.Now().Add(5 * time.Second)
		for id, callers := range map[string]int{"busy": 100, "quiet": 2} {
			for range callers {
				wg.Go(func() {
					for time.Now().Before(end) {
						l, err := s.Acquire(as("t", id))
						if err != nil {
							t.Error(err)
							return
						}
						time.Sleep(time.Millisecond)
						counts[id].Add(1)
						l.Release()
					}
				})
			}
		}
		wg.Wait()
		if b, q := counts["busy"].Load(), counts["quiet"].Load(); b > q*11/10 {
			t.Errorf("100 callers of one principal had %d calls, two of another %d", b, q)
		}
	})
}

// Unused accounts do not use more and more memory, and Acquire allocates nothing if no
// caller waits.
func TestUncontendedIsFree(t *testing.T) {
	s := fair.New(fair.Config{Name: "places", Slots: 4})
	ctx := as("t", "p")
	if n := testing.AllocsPerRun(100, func() {
		l, err := s.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		l.Release()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := range 100_000 {
		take(t, s, as(fmt.Sprint("tenant", i), "p")).Release()
	}
	if u := s.Usage(); u.InUse != 0 {
		t.Errorf("%+v", u)
	}
}

// A queue returns one item of each tenant in turn, within a tenant one of each principal in
// turn, and keeps the order of a principal.
func TestQueue(t *testing.T) {
	var q fair.Queue[string]
	for i := range 4 {
		q.Push("a", "x", fmt.Sprint("ax", i))
	}
	q.Push("a", "y", "ay0")
	q.Push("b", "z", "bz0")
	q.Push("b", "z", "bz1")
	var got []string
	for q.Len() > 0 {
		item, ok := q.Pop()
		if !ok {
			t.Fatal("no item")
		}
		got = append(got, item)
	}
	if want := "ax0 bz0 ay0 bz1 ax1 ax2 ax3"; strings.Join(got, " ") != want {
		t.Errorf("%v, want %s", got, want)
	}
	if _, ok := q.Pop(); ok {
		t.Error("an empty queue has an item")
	}
}

func BenchmarkUncontended(b *testing.B) {
	s := fair.New(fair.Config{Name: "places", Slots: 4})
	ctx := as("t", "p")
	for b.Loop() {
		l, _ := s.Acquire(ctx)
		l.Release()
	}
}

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
