package jobs

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// Ports are what a runner needs.
type Ports struct {
	Directory *directory.Directory
	Clock     core.Clock
	Log       *slog.Logger
	Node      string // its name in the rows of jobs
}

// Runner looks after the jobs on one node. Safe for concurrent use.
type Runner struct {
	ports  Ports
	jobs   []Job
	holder string // names this process

	mu   sync.Mutex
	seen map[string]*seen // by job
}

// seen is what this node has seen of the entry of a job.
type seen struct {
	version int64
	since   int64 // Mono, since when the entry has this version; later if there was no work
}

// New returns a runner of jobs, which have different names.
func New(p Ports, jobs []Job) *Runner {
	r := &Runner{ports: p, jobs: jobs, holder: fmt.Sprintf("%s/%08x", core.ClientText(p.Node), rand.Uint32()), seen: map[string]*seen{}}
	return r
}

// Jobs lists the jobs. Do not change them.
func (r *Runner) Jobs() []Job { return r.jobs }

// find returns a job by its name, nil if there is none.
func (r *Runner) find(name string) *Job {
	for i := range r.jobs {
		if r.jobs[i].Name == name {
			return &r.jobs[i]
		}
	}
	return nil
}

// lookEvery is how often a node looks whether a job is to be run.
const lookEvery = time.Second

// Follow runs the jobs that are due until ctx ends.
func (r *Runner) Follow(ctx context.Context) {
	var all sync.WaitGroup
	for i := range r.jobs {
		all.Go(func() { core.Every(ctx, lookEvery, func() { r.Look(ctx, &r.jobs[i]) }) })
	}
	all.Wait()
}

// nameOf returns the name of the entry of a job.
func nameOf(job string) core.DirectoryName {
	return core.DirectoryName{Kind: core.EntryJob, ID: job}
}

// read returns the row of a job, and its version: 0 if there is none yet.
func (r *Runner) read(job string) (row Row, version int64, err error) {
	e, err := r.ports.Directory.Get(core.EntryJob, "", job)
	if core.CodeOf(err) == core.ItemNotFound {
		return row, 0, nil
	}
	if err != nil {
		return row, 0, err
	}
	if err := core.DecodeBody(e.Body, &row); err != nil {
		return row, 0, core.Wrap(core.Tampered, err, "the row of job %s cannot be read", job)
	}
	return row, e.Version, nil
}

// save stores a version of the row of a job.
func (r *Runner) save(ctx context.Context, job string, version int64, row *Row, with ...core.Write) error {
	body, err := core.EncodeBody(row)
	if err != nil {
		return err
	}
	e := &core.DirectoryEntry{Kind: core.EntryJob, ID: job, Version: version, At: r.ports.Clock.Now(), Author: core.SystemTenant + "/" + Principal, Body: body}
	return r.ports.Directory.Save(ctx, e, with...)
}

// Principal is who the clock is in records and decisions.
const Principal = "keyreeve"

// Look runs a job if it is due and no other node runs it.
func (r *Runner) Look(ctx context.Context, j *Job) {
	run, err := r.claim(ctx, j)
	if err == nil && run != nil {
		err = run.work(ctx)
	}
	switch {
	case err == nil || ctx.Err() != nil:
	case core.CodeOf(err) == core.Conflict || errors.Is(err, core.ErrFenced):
		r.ports.Log.Info("job", "job", j.Name, "ended", "another node has it, or it was paused")
	default:
		r.ports.Log.Error("job", "job", j.Name, "error", err)
	}
}

// claim takes the lease of a job. It returns nil if the job is not due or another node has it.
func (r *Runner) claim(ctx context.Context, j *Job) (*Run, error) {
	row, version, err := r.read(j.Name)
	if err != nil || row.Paused {
		return nil, err
	}
	unchanged := r.unchangedFor(j, &row, version)
	switch {
	case row.Holder != "" && unchanged < Term:
		return nil, nil
	case row.Holder == "" && !row.Asked && unchanged < j.Every:
		return nil, nil
	case row.Holder == "" && !row.Asked && j.Waits != nil:
		waits, err := j.Waits(ctx)
		if err != nil || !waits {
			r.lookLater(j)
			return nil, err
		}
	}
	if row.Holder != "" {
		r.ports.Log.Warn("job", "job", j.Name, "taken_over_from", row.Holder)
	}
	row.Epoch, row.Holder, row.Started, row.Asked = row.Epoch+1, r.holder, r.ports.Clock.Now(), false
	run := &Run{runner: r, job: j, row: row, version: version}
	if err := run.store(ctx); err != nil {
		if core.CodeOf(err) == core.Conflict { // another node was faster
			err = nil
		}
		return nil, err
	}
	return run, nil
}

// unchangedFor returns how long this node has seen the same version of the entry of a job. When
// it sees the entry for the first time, and no run is under way, it believes the wall clock,
// unless that is before the last run.
func (r *Runner) unchangedFor(j *Job, row *Row, version int64) time.Duration {
	now := r.ports.Clock.Mono()
	r.mu.Lock()
	defer r.mu.Unlock()
	s := r.seen[j.Name]
	if s == nil {
		s = &seen{version, now}
		if passed := r.ports.Clock.Now() - row.Ended; row.Holder == "" {
			if passed < 0 || passed > int64(j.Every/time.Second) {
				passed = int64(j.Every / time.Second)
			}
			s.since -= passed * 1e6
		}
		r.seen[j.Name] = s
	}
	if s.version != version {
		*s = seen{version, now}
	}
	return time.Duration(now-s.since) * time.Microsecond
}

// askEvery is how often a job whose time has come is asked whether there is work.
const askEvery = 10 * time.Second

// lookLater lets the job be asked again after askEvery, because there is no work.
func (r *Runner) lookLater(j *Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen[j.Name].since = r.ports.Clock.Mono() - (j.Every - min(j.Every, askEvery)).Microseconds()
}

// finishTime bounds the storing of the end of a run when the server is stopping.
const finishTime = 5 * time.Second

// work does the run. A panic becomes an error.
func (r *Run) work(ctx context.Context) (err error) {
	short, cancel := context.WithTimeout(ctx, r.job.MostTime)
	defer cancel()
	func() {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("panic in job %s: %v", r.job.Name, p)
			}
		}()
		err = r.job.Work(short, r)
	}()
	if errors.Is(err, core.ErrFenced) {
		return err
	}
	last, cancelLast := context.WithTimeout(context.WithoutCancel(ctx), finishTime)
	defer cancelLast()
	if ferr := r.finish(last, err); ferr != nil {
		return errors.Join(err, ferr)
	}
	if r.Done > 0 || r.Kept > 0 || err != nil && !isStopped(err) {
		r.runner.ports.Log.Info("job", "job", r.job.Name, "done", r.Done, "kept", r.Kept)
	}
	if isStopped(err) {
		return nil
	}
	return err
}
