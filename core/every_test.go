package core_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// The first call comes after one interval, and none after ctx has ended.
func TestEvery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute+time.Second)
		defer cancel()
		var called []time.Duration
		began := time.Now()
		core.Every(ctx, time.Minute, func() { called = append(called, time.Since(began)) })
		if len(called) != 3 || called[0] != time.Minute || called[2] != 3*time.Minute {
			t.Errorf("in 3 minutes it is called after %v; want 1, 2 and 3 minutes", called)
		}
		if ended := time.Since(began); ended != 3*time.Minute+time.Second {
			t.Errorf("it returns after %v; want the end of ctx", ended)
		}
	})
}
