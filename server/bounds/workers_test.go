package bounds

import (
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A job never waits for another one, and a worker without work ends.
func TestWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan bool)
		var done sync.WaitGroup
		w := NewWorkers(func(wait bool) {
			defer done.Done()
			if wait {
				<-release
			}
		})
		for range 100 {
			done.Add(1)
			w.Start(true)
		}
		for range 100 {
			done.Add(1)
			w.Start(false)
			synctest.Wait()
		}
		close(release)
		done.Wait()
		time.Sleep(2 * workerIdle) // a bubble with goroutines that do not end fails the test
	})
}
