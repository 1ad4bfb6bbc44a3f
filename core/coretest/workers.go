package coretest

import "sync"

// AtOnce calls f that many times, each in a goroutine of its own, and waits for them.
func AtOnce(times int, f func(i int)) {
	var all sync.WaitGroup
	for i := range times {
		all.Go(func() { f(i) })
	}
	all.Wait()
}

// Meanwhile calls f while workers repeat their work, each with its number and the number
// of the round. It returns after f, when the round of each worker is over.
func Meanwhile(workers int, work func(worker, round int), f func()) {
	stop := make(chan struct{})
	var all sync.WaitGroup
	for worker := range workers {
		all.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-stop:
					return
				default:
					work(worker, round)
				}
			}
		})
	}
	f()
	close(stop)
	all.Wait()
}
