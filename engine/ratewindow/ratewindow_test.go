package ratewindow

import (
	"math/rand/v2"
	"testing"
)

// Whatever was used before, a use passes after the time to wait, and not a second earlier.
func TestWaitIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	waited := 0
	for range 20_000 {
		per, uses := 1+r.Int64N(100), 1+r.Int64N(20)
		c, at := New(1000, per), int64(1000)
		for range r.IntN(60) {
			c.Take(uses, at)
			at += r.Int64N(max(2, per/4))
		}
		passes := func(after int64) bool {
			one := *c
			return one.Take(uses, at+after)
		}
		wait := c.Wait(uses, at)
		if wait > 0 {
			waited++
		}
		if wait < 0 || wait > 2*per || !passes(wait) {
			t.Fatalf("%+v, %d uses, at %d: no use passes after %d s", *c, uses, at, wait)
		}
		for earlier := range wait {
			if passes(earlier) {
				t.Fatalf("%+v, %d uses, at %d: a use passes after %d s; the time to wait is %d s", *c, uses, at, earlier, wait)
			}
		}
	}
	if waited < 1000 {
		t.Errorf("only %d of the counts were full", waited)
	}
}
