package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
	"github.com/keyreeve/keyreeve/engine/jobs"
)

// driftingClock is the clock of one node: its wall clock can jump.
type driftingClock struct{ wall, mono int64 }

func (c *driftingClock) Now() int64      { return c.wall }
func (c *driftingClock) NowMicro() int64 { return c.wall * 1e6 }
func (c *driftingClock) Mono() int64     { return c.mono }

func (c *driftingClock) pass(d time.Duration) {
	c.wall += int64(d / time.Second)
	c.mono += d.Microseconds()
}

// jobNode is a node that runs jobs on the store of a world.
type jobNode struct {
	*jobs.Runner
	clock     *driftingClock
	directory *directory.Directory
}

// reread lets the node read what others have stored: it does so after each conflict.
func (n *jobNode) reread() {
	n.directory.Commit(ctx, core.ChangeOf(core.RequireEntry{Name: core.DirectoryName{Kind: core.EntryJob, ID: "none"}, Version: 1}))
}

func newJobNode(t *testing.T, w *world, name string, work ...jobs.Job) *jobNode {
	t.Helper()
	return newJobNodeOn(t, w.store, &driftingClock{wall: w.clock.Now(), mono: 1e9}, name, work...)
}

func newJobNodeOn(t *testing.T, store directory.Store, c *driftingClock, name string, work ...jobs.Job) *jobNode {
	t.Helper()
	d := directory.New(directory.Ports{Store: store, Clock: c, Log: slog.New(slog.DiscardHandler)})
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	return &jobNode{jobs.New(jobs.Ports{Directory: d, Clock: c, Log: slog.New(slog.DiscardHandler), Node: name}, work), c, d}
}

// look lets nodes look at their first job. Each first reads what the other one has stored.
func look(t *testing.T, nodes ...*jobNode) {
	t.Helper()
	for _, n := range nodes {
		n.reread()
		n.Look(ctx, &n.Jobs()[0])
	}
}

func TestOneNodeRunsAJob(t *testing.T) {
	w := newWorld(t)
	ran := map[string]int{}
	job := func(node string) jobs.Job {
		return jobs.Job{Name: "count", Every: time.Minute, MostTime: time.Minute, Work: func(context.Context, *jobs.Run) error { ran[node]++; return nil }}
	}
	a, b := newJobNode(t, w, "a", job("a")), newJobNode(t, w, "b", job("b"))
	for range 600 { // ten minutes, second by second
		look(t, a, b)
		a.clock.pass(time.Second)
		b.clock.pass(time.Second)
	}
	if n := ran["a"] + ran["b"]; n != 10 {
		t.Errorf("a job of every minute has run %v in ten minutes", ran)
	}
}

// A wall clock that jumps, or is wrong on one node, neither lets a job run more often nor stops it.
func TestJobsWithClocksThatJump(t *testing.T) {
	for name, jump := range map[string]int64{"forward": 5 * 3600, "back": -5 * 3600} {
		for _, both := range []bool{false, true} {
			w := newWorld(t)
			ran := 0
			job := jobs.Job{Name: "count", Every: time.Minute, MostTime: time.Minute, Work: func(context.Context, *jobs.Run) error { ran++; return nil }}
			a, b := newJobNode(t, w, "a", job), newJobNode(t, w, "b", job)
			for i := range 600 {
				if i%60 == 30 && i/60%3 == 0 {
					a.clock.wall += jump
					if both {
						b.clock.wall += jump
					}
				}
				look(t, a, b)
				a.clock.pass(time.Second)
				b.clock.pass(time.Second)
			}
			if ran != 10 {
				t.Errorf("a clock that jumps %s, on both nodes %v: a job of every minute has run %d times in ten minutes", name, both, ran)
			}
			late := newJobNode(t, w, "c", job)
			late.clock.wall = b.clock.wall - 24*3600
			if look(t, late); ran != 11 {
				t.Errorf("a node whose clock is before the last run does not run the job")
			}
		}
	}
}

// A node that is killed in a run keeps the job for the term and no longer, whatever its clock
// says. What it stores after that is refused. The next runner goes on where it was.
func TestLeaseEndsWithItsRunner(t *testing.T) {
	w := newWorld(t)
	var killed *jobs.Run
	var clockOfDead *driftingClock
	dead := jobs.Job{Name: "walk", Every: time.Minute, MostTime: time.Hour, Work: func(ctx context.Context, r *jobs.Run) error {
		killed = r
		clockOfDead.pass(jobs.Term / 2)
		if err := r.Continue(ctx, "1"); err != nil {
			t.Error(err)
		}
		w.store.refuse = core.Errorf(core.StoreUnavailable, "the process is dead")
		return nil
	}}
	began := ""
	alive := jobs.Job{Name: "walk", Every: time.Minute, MostTime: time.Hour, Work: func(_ context.Context, r *jobs.Run) error {
		began = "at " + r.Progress()
		return nil
	}}
	a, b := newJobNode(t, w, "a", dead), newJobNode(t, w, "b", alive)
	clockOfDead = a.clock
	look(t, a)
	w.store.refuse = nil
	if killed == nil {
		t.Fatal("the job was not begun")
	}
	for i := range 3600 {
		look(t, b)
		if began != "" {
			if passed := time.Duration(i) * time.Second; passed < jobs.Term || passed > jobs.Term+2*time.Second {
				t.Errorf("the other node has begun after %v; the term is %v", passed, jobs.Term)
			}
			break
		}
		b.clock.pass(time.Second)
		b.clock.wall += 3600 // its wall clock counts for nothing
	}
	if began != "at 1" {
		t.Errorf("the other node has begun %q", began)
	}
	before := len(w.store.entries)
	err := killed.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "default", Time: 1}}))
	if core.CodeOf(err) != core.Conflict || !errors.Is(err, core.ErrFenced) || len(w.store.entries) != before {
		t.Errorf("a runner that has lost its lease stores something: %v", err)
	}
	a.clock.pass(jobs.Term)
	if err := killed.Continue(ctx, "2"); core.CodeOf(err) != core.Conflict {
		t.Errorf("it goes on: %v; want Conflict", err)
	}
}

// An operator can pause a job, which stops a run under way, resume it, and let it run at once.
// Each is decided and recorded.
func TestOperatorsGiveOrders(t *testing.T) {
	w := newWorld(t)
	var during func(*jobs.Run) error
	ran := 0
	job := jobs.Job{Name: "count", Does: "Counts.", Every: time.Hour, MostTime: time.Minute, Work: func(_ context.Context, r *jobs.Run) error {
		ran++
		r.Done = int64(ran)
		if during != nil {
			return during(r)
		}
		return nil
	}}
	n := newJobNode(t, w, "a", job)
	e := engine.New(engine.Ports{Store: w.store, HSM: w.hsm, Policy: tenantPolicy{}, Journal: plainJournal{}, Formats: plainFormats{}, Clock: n.clock}, engine.Settings{})
	verbs := jobs.NewVerbs(e, n.Runner)
	give := func(order jobs.Order, want core.Code) {
		t.Helper()
		before := len(w.store.entries)
		_, err := verbs.Give(ctx, socket, "count", order)
		if want == core.Internal && err != nil || want != core.Internal && core.CodeOf(err) != want {
			t.Errorf("%s: %v; want code %v", order, err, want)
		}
		if len(w.store.entries) != before+1 {
			t.Errorf("%s has left %d records", order, len(w.store.entries)-before)
		}
	}
	wantRuns := func(want int) {
		t.Helper()
		look(t, n)
		if ran != want {
			t.Errorf("the job has run %d times; want %d", ran, want)
		}
	}
	wantRuns(1)
	wantRuns(1)
	give(jobs.OrderResume, core.WrongState)
	give(jobs.OrderRun, core.Internal)
	wantRuns(2)
	give(jobs.OrderPause, core.Internal)
	give(jobs.OrderPause, core.WrongState)
	give(jobs.OrderRun, core.WrongState)
	n.clock.pass(3 * time.Hour)
	wantRuns(2)
	give(jobs.OrderResume, core.Internal)
	during = func(r *jobs.Run) error {
		give(jobs.OrderRun, core.WrongState)
		give(jobs.OrderPause, core.Internal)
		if err := r.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "default", Time: 1}})); !errors.Is(err, core.ErrFenced) {
			t.Errorf("a run of a job that was paused stores something: %v", err)
		}
		return nil
	}
	wantRuns(3)
	one, err := verbs.Show(ctx, socket, "count")
	if err != nil || !one.Paused || one.Holder != "" || one.Done != 2 || one.Does != "Counts." {
		t.Errorf("the job is shown as %+v, %v", one, err)
	}
	if _, err := verbs.Show(ctx, socket, "other"); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("a job that does not exist: %v", err)
	}
	if all, err := verbs.List(ctx, socket); err != nil || len(all) != 1 {
		t.Errorf("the jobs are %v, %v", all, err)
	}
	for _, c := range []func(v *jobs.Verbs) error{
		func(v *jobs.Verbs) error { _, err := v.List(ctx, socket); return err },
		func(v *jobs.Verbs) error { _, err := v.Show(ctx, socket, "count"); return err },
		func(v *jobs.Verbs) error { _, err := v.Give(ctx, socket, "count", jobs.OrderResume); return err },
	} {
		for _, action := range []core.Action{core.ActionReadJobs, core.ActionChangeJob} {
			e.Ports.Policy = refusing{action: action}
			err := c(verbs)
			e.Ports.Policy = refusing{action: core.ActionGet}
			if err != nil && core.CodeOf(err) != core.PermissionDenied {
				t.Errorf("with %v refused: %v", action, err)
			}
		}
	}
}

// A run whose time is over goes on at once. One that fails says why, and comes again at its time.
func TestRunsThatEndEarly(t *testing.T) {
	w := newWorld(t)
	steps, fail := 0, error(nil)
	job := jobs.Job{Name: "walk", Every: time.Hour, MostTime: 50 * time.Millisecond, Work: func(ctx context.Context, r *jobs.Run) error {
		if fail != nil {
			return fail
		}
		for n := len(r.Progress()); n < 5; n++ {
			steps++
			if n == 2 && steps == 3 {
				<-ctx.Done()
			}
			if err := r.Continue(ctx, fmt.Sprintf("%0*d", n+1, 0)); err != nil {
				return err
			}
		}
		return nil
	}}
	n := newJobNode(t, w, "a", job)
	look(t, n)
	look(t, n)
	if steps != 5 {
		t.Errorf("five steps were done %d times", steps)
	}
	fail = core.Errorf(core.TokenUnavailable, "the HSM is away")
	look(t, n)
	n.clock.pass(time.Hour)
	look(t, n)
	if all, err := n.All(); err != nil || all[0].Problem != "the HSM is away" {
		t.Errorf("a job that failed is shown as %+v, %v", all, err)
	}
}
