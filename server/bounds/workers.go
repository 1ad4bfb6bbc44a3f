package bounds

import "time"

// workerIdle is how long a worker without work stays.
const workerIdle = time.Second

// Workers do jobs on stacks of their own. Policy and database make a goroutine's stack grow to
// tens of KiB, and that takes time. An idle connection would keep such a stack, and a goroutine
// for each request would make it grow each time: so connections wait on small stacks, and hand
// their jobs to a few workers that stay.
type Workers[Job any] struct {
	jobs chan Job
	do   func(Job)
}

// NewWorkers returns workers that do jobs in one way. do must not panic.
func NewWorkers[Job any](do func(Job)) *Workers[Job] {
	return &Workers[Job]{make(chan Job), do}
}

// Start hands a job to a worker. It does not wait.
func (w *Workers[Job]) Start(j Job) {
	select {
	case w.jobs <- j:
	default:
		go w.run(j)
	}
}

// run does a job, then those that come while it is waiting.
func (w *Workers[Job]) run(j Job) {
	timer := time.NewTimer(workerIdle)
	defer timer.Stop()
	for {
		w.do(j)
		timer.Reset(workerIdle)
		select {
		case j = <-w.jobs:
		case <-timer.C:
			return
		}
	}
}
