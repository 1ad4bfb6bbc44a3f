package jobs

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// Shown is a job as operators see it.
type Shown struct {
	Name    string
	Does    string
	Every   time.Duration
	Version int64 // of its row; 0: it has never run
	Row
}

// State returns what the job does now: "paused", "running", "asked" if it is to run at once, or
// "waiting" for its time.
func (s *Shown) State() string {
	switch {
	case s.Paused:
		return "paused"
	case s.Holder != "":
		return "running"
	case s.Asked:
		return "asked"
	}
	return "waiting"
}

// Verbs are the operations of administrators on jobs. Safe for concurrent use.
type Verbs struct {
	engine *engine.Engine
	runner *Runner
}

// NewVerbs returns the operations on the jobs of a runner.
func NewVerbs(e *engine.Engine, r *Runner) *Verbs { return &Verbs{e, r} }

// All returns the state of all jobs, without asking the policy. It is for health and metrics.
func (r *Runner) All() (all []Shown, err error) {
	for i := range r.jobs {
		one, err := r.show(&r.jobs[i])
		if err != nil {
			return nil, err
		}
		all = append(all, one)
	}
	return all, nil
}

func (r *Runner) show(j *Job) (Shown, error) {
	row, version, err := r.read(j.Name)
	return Shown{Name: j.Name, Does: j.Does, Every: j.Every, Version: version, Row: row}, err
}

// List lists the jobs.
func (v *Verbs) List(ctx context.Context, c *core.Caller) ([]Shown, error) {
	return engine.RunPermitted(v.engine, ctx, c, core.ActionReadJobs, new(struct{}), func(k *engine.Call, _ *struct{}) ([]Shown, error) {
		k.Record.Detail = "list"
		return v.runner.All()
	})
}

// Show returns one job.
func (v *Verbs) Show(ctx context.Context, c *core.Caller, name string) (Shown, error) {
	return engine.RunPermitted(v.engine, ctx, c, core.ActionReadJobs, &name, func(k *engine.Call, name *string) (Shown, error) {
		j, err := v.find(k, *name)
		if err != nil {
			return Shown{}, err
		}
		return v.runner.show(j)
	})
}

// Order is what an operator wants of a job.
type Order string

// The orders.
const (
	OrderRun    Order = "run"    // at once, on any node
	OrderPause  Order = "pause"  // no run begins, and one under way stores nothing more
	OrderResume Order = "resume" // after pause; it runs at once
)

// Give changes the row of a job as an operator wants. It fails with WrongState if the job is as
// wanted already.
func (v *Verbs) Give(ctx context.Context, c *core.Caller, name string, order Order) (Shown, error) {
	return engine.RunPermitted(v.engine, ctx, c, core.ActionChangeJob, &name, func(k *engine.Call, name *string) (Shown, error) {
		j, err := v.find(k, *name)
		if err != nil {
			return Shown{}, err
		}
		k.Record.Detail = string(order) + " " + j.Name
		row, version, err := v.runner.read(j.Name)
		if err != nil {
			return Shown{}, err
		}
		if err := order.apply(j.Name, &row); err != nil {
			return Shown{}, err
		}
		body, err := core.EncodeBody(&row)
		if err != nil {
			return Shown{}, err
		}
		author := c.Principal.Tenant + "/" + c.Principal.ID
		ch := core.ChangeOf(core.SaveDirectoryEntry{Entry: &core.DirectoryEntry{Kind: core.EntryJob, ID: j.Name, Version: version + 1, At: k.Now, Author: author, Body: body}})
		if err := k.Commit(ch); err != nil {
			return Shown{}, err
		}
		v.runner.ports.Directory.ShowStored(ch)
		return v.runner.show(j)
	})
}

// apply changes a row. A run under way loses its lease, so it stores nothing more.
func (o Order) apply(name string, row *Row) error {
	switch {
	case o == OrderPause && row.Paused:
		return core.Errorf(core.WrongState, "job %s is paused already", name)
	case o == OrderResume && !row.Paused:
		return core.Errorf(core.WrongState, "job %s is not paused", name)
	case o == OrderRun && row.Paused:
		return core.Errorf(core.WrongState, "job %s is paused; resume it", name)
	case o == OrderRun && row.Holder != "":
		return core.Errorf(core.WrongState, "job %s runs already, on %s", name, row.Holder)
	}
	row.Paused, row.Asked = o == OrderPause, o != OrderPause
	row.Holder = ""
	return nil
}

func (v *Verbs) find(k *engine.Call, name string) (*Job, error) {
	k.Record.Detail = "job " + core.ClientText(name)
	if j := v.runner.find(name); j != nil {
		return j, nil
	}
	return nil, core.Errorf(core.ItemNotFound, "there is no job %s", core.ClientText(name))
}
