package bounds_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/bounds"
)

const mib = 1 << 20

// reserveAll reserves one MiB after the other until it is refused at once, and returns how many.
func reserveAll(a *bounds.Account) (n int64) {
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	for a.Reserve(ended, mib) == nil {
		n++
	}
	return n
}

// However many principals and tenants hold all that they can get, one that comes
// late finds memory free, and no bound is passed.
func TestLateComersFindMemory(t *testing.T) {
	for _, c := range []struct{ tenants, principals int }{{1, 1}, {1, 2}, {1, 20}, {2, 5}, {5, 1}, {20, 4}} {
		m := bounds.NewMemory(256*mib, 64*mib)
		for i := range c.tenants {
			for j := range c.principals {
				n := reserveAll(m.Open(fmt.Sprint("t", i), fmt.Sprint("p", j)))
				if n > 64 {
					t.Errorf("%+v: a principal has %d MiB", c, n)
				}
				if i == 0 && j == 0 && n != 64 {
					t.Errorf("%+v: the first principal gets %d MiB, want 64", c, n)
				}
			}
		}
		if u := m.Usage(); u.Used > u.Total {
			t.Errorf("%+v: %d of %d bytes are out", c, u.Used, u.Total)
		}
		for tenant, bytes := range map[string]int64{"late": 64 << 10, "t0": 64 << 10} {
			if err := m.Open(tenant, "late").Reserve(context.Background(), bytes); err != nil {
				t.Errorf("%+v: a late principal of %s gets nothing: %v", c, tenant, err)
			}
		}
	}
}

// Within a principal the first to wait is served first; between principals they
// take turns. A wait ends with its context or its time, and then the code is Busy.
func TestWaitingIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := bounds.NewMemory(64*mib, 64*mib)
		holder := m.Open("h", "h")
		if err := holder.Reserve(context.Background(), 24*mib); err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var order []string
		a, b := m.Open("a", "a"), m.Open("b", "b")
		for i := range 6 {
			who, account := "a", a
			if i >= 4 {
				who, account = "b", b
			}
			go func() {
				if err := account.Reserve(context.Background(), 22*mib); err == nil {
					mu.Lock()
					order = append(order, fmt.Sprint(who, i))
					mu.Unlock()
					account.Release(22 * mib)
				}
			}()
			synctest.Wait()
		}
		holder.Release(24 * mib)
		synctest.Wait()
		if got := fmt.Sprint(order); got != "[a0 b4 a1 b5 a2 a3]" {
			t.Errorf("served in the order %v", got)
		}
		if err := holder.Reserve(context.Background(), 24*mib); err != nil {
			t.Fatal(err)
		}
		if err := a.Reserve(context.Background(), 20*mib); core.CodeOf(err) != core.Busy {
			t.Errorf("after the wait: %v", err)
		}
		if err := a.Reserve(context.Background(), 65*mib); core.CodeOf(err) != core.Busy {
			t.Errorf("more than can ever be had: %v", err)
		}
		holder.Release(24 * mib)
		for _, account := range []*bounds.Account{a, b, holder} {
			account.Close()
		}
		if u := m.Usage(); u.Used != 0 || u.Principals != 0 || u.Waiting != 0 || u.Refusals != 2 {
			t.Errorf("afterwards: %+v", u)
		}
	})
}

// Whatever is reserved, given up and released at once, the account balances.
func TestMemoryBalances(t *testing.T) {
	m := bounds.NewMemory(8*mib, 4*mib)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			r := rand.New(rand.NewPCG(1, uint64(i)))
			for range 300 {
				a := m.Open(fmt.Sprint(i%3), fmt.Sprint(i%5))
				n := r.Int64N(mib)
				ctx, cancel := context.WithCancel(context.Background())
				if r.IntN(4) == 0 {
					go cancel()
				}
				if a.Reserve(ctx, n) == nil {
					if u := m.Usage(); u.Used > u.Total {
						t.Errorf("%d of %d bytes are out", u.Used, u.Total)
					}
					a.Release(n)
				}
				cancel()
				a.Close()
			}
		})
	}
	wg.Wait()
	if u := m.Usage(); u.Used != 0 || u.Principals != 0 || u.Waiting != 0 {
		t.Errorf("afterwards: %+v", u)
	}
}

// While one tenant, with many principals, holds all that it may, the first request of
// another is admitted without waiting: as large as a message of the doors may make it.
func TestFirstRequestOfAnotherTenantDoesNotWait(t *testing.T) {
	const largest = 4 * mib // a body of REST without length
	m := bounds.NewMemory(256*mib, 64*mib)
	ended, cancel := context.WithCancel(context.Background())
	cancel() // so a request that would have to wait is refused
	for i := range 400 {
		holder := m.Open("holder", fmt.Sprint("p", i))
		for size := int64(64 * mib); size >= 1024; size /= 2 {
			for holder.Reserve(ended, size) == nil {
			}
		}
	}
	go m.Open("holder", "p0").Reserve(t.Context(), mib) // one that waits
	for m.Usage().Waiting == 0 {
		runtime.Gosched()
	}
	held := m.Usage().Used
	if held < 128*mib {
		t.Errorf("the first tenant holds only %d MiB", held/mib)
	}
	for i := range 4 {
		a := m.Open(fmt.Sprint("late", i), "p")
		if err := a.Reserve(ended, largest); err != nil {
			t.Errorf("tenant %d beside one that holds %d MiB: %v", i+2, held/mib, err)
		}
	}
}

// What a request holds moves with it to the account of another principal.
func TestHoldMoves(t *testing.T) {
	m := bounds.NewMemory(64*mib, 16*mib)
	a, b := m.Open("t", "a"), m.Open("t", "b")
	var h bounds.Hold
	h.For(a)
	if err := h.Reserve(context.Background(), 16*mib); err != nil {
		t.Fatal(err)
	}
	h.For(b)
	a.Close()
	if u := m.Usage(); u.Used != 16*mib || u.Principals != 1 {
		t.Errorf("afterwards: %+v", u)
	}
	if err := b.TryReserve(1); core.CodeOf(err) != core.Busy {
		t.Errorf("the new account has room: %v", err)
	}
	h.Release()
	b.Close()
	if u := m.Usage(); u.Used != 0 || u.Principals != 0 {
		t.Errorf("at the end: %+v", u)
	}
}

// TryReserve never waits and never takes more than Reserve would grant.
func TestTryReserve(t *testing.T) {
	m := bounds.NewMemory(64*mib, 16*mib)
	a := m.Open("t", "p")
	if err := a.TryReserve(16 * mib); err != nil {
		t.Fatal(err)
	}
	if err := a.TryReserve(1); core.CodeOf(err) != core.Busy {
		t.Errorf("more than a principal may have: %v", err)
	}
	a.Release(16 * mib)
	a.Close()
	if u := m.Usage(); u.Used != 0 || u.Principals != 0 || u.Refusals != 1 {
		t.Errorf("afterwards: %+v", u)
	}
}
