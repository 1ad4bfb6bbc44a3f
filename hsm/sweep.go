package hsm

import "time"

// sweepEvery is how often copies and handles that nobody asks for are ended.
const sweepEvery = 5 * time.Second

// sweep ends what is too old, until stop is closed.
func (t *Token) sweep(stop <-chan struct{}) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case now := <-tick.C:
			t.calls.count(t.cfg.Stuck)
			t.copies.expire(now)
			t.handles.expire(now)
		}
	}
}
