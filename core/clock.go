package core

import (
	"context"
	"time"
)

// Every calls do each time interval has passed, one call at a time, until ctx ends.
func Every(ctx context.Context, interval time.Duration, do func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			do()
		}
	}
}

// Clock tells the time. Tests have clocks of their own.
type Clock interface {
	Now() int64      // Unix seconds
	NowMicro() int64 // Unix microseconds
	Mono() int64     // microseconds since some start; unlike the others it is never set back
}
