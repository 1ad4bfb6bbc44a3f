package server

import (
	"context"
	"fmt"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/jobs"
	"github.com/keyreeve/keyreeve/engine/keyjobs"
	"github.com/keyreeve/keyreeve/server/adminsocket"
	"github.com/keyreeve/keyreeve/server/httpd"
)

// makeJobs makes the jobs of the clock. They run from [Server.startUpkeep] on.
func (s *Server) makeJobs() {
	s.jobs = jobs.New(jobs.Ports{Directory: s.directory, Clock: s.engine.Ports.Clock, Log: s.log, Node: s.cfg.nodeName()},
		keyjobs.List(keyjobs.Ports{Engine: s.engine, Objects: s.verbs.Objects}))
}

// Job is a job of the clock, as commands see it.
type Job struct {
	Name    string   `json:"name"`
	Does    string   `json:"does"`
	Every   string   `json:"every"` // between two runs
	State   string   `json:"state"` // "paused", "running", "asked" for a run, or "waiting"
	Runner  string   `json:"runner,omitempty"`
	Runs    int64    `json:"runs"` // that have begun
	Started string   `json:"started,omitempty"`
	Ended   string   `json:"ended,omitempty"` // the last run that ended, and what it did
	Done    int64    `json:"done"`
	Kept    int64    `json:"kept"` // was due and not possible
	Problem string   `json:"problem,omitempty"`
	Notes   []string `json:"notes,omitempty"`
}

func jobShown(j *jobs.Shown) Job {
	return Job{Name: j.Name, Does: j.Does, Every: j.Every.String(), State: j.State(), Runner: j.Holder, Runs: j.Epoch, Started: timeOrNone(j.Started), Ended: timeOrNone(j.Ended),
		Done: j.Done, Kept: j.Kept, Problem: j.Problem, Notes: j.Notes}
}

// timeOrNone returns a time as RFC 3339, "" for 0.
func timeOrNone(unix int64) string {
	if unix == 0 {
		return ""
	}
	return time.Unix(unix, 0).UTC().Format(time.RFC3339)
}

// jobRoutes are the routes of jobs.
func jobRoutes() []adminsocket.Route[*adminDoor] {
	order := func(o jobs.Order) adminsocket.Route[*adminDoor] {
		return adminsocket.NewRoute("POST /jobs/"+string(o), core.ActionChangeJob, adminsocket.AskedByEngine, func(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
			j, err := d.jobs.Give(ctx, c, q.Get("name"), o)
			return jobShown(&j), err
		})
	}
	return []adminsocket.Route[*adminDoor]{
		adminsocket.NewRoute("GET /jobs", core.ActionReadJobs, adminsocket.AskedByEngine, listJobs),
		adminsocket.NewRoute("GET /jobs/one", core.ActionReadJobs, adminsocket.AskedByEngine, showJob),
		order(jobs.OrderRun), order(jobs.OrderPause), order(jobs.OrderResume),
	}
}

func listJobs(d *adminDoor, ctx context.Context, c *core.Caller, _ *adminsocket.Question) (any, error) {
	all, err := d.jobs.List(ctx, c)
	out := []Job{}
	for i := range all {
		out = append(out, jobShown(&all[i]))
	}
	return out, err
}

func showJob(d *adminDoor, ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	j, err := d.jobs.Show(ctx, c, q.Get("name"))
	return jobShown(&j), err
}

// jobsPart tells of the jobs whose last run failed or could not do what was due. Their notes name
// objects, so only the system's tenant reads them.
func (h *healthCheck) jobsPart(tenant string) httpd.Part {
	p := httpd.Part{Ready: true}
	all, err := h.jobs.All()
	if err != nil {
		p.Degraded, p.Problem = true, core.DetailOf(err)
	}
	for i := range all {
		j := &all[i]
		if j.Paused {
			p.Notes = append(p.Notes, fmt.Sprintf("the job %s is paused", j.Name))
		}
		if j.Problem != "" || j.Kept > 0 {
			p.Degraded = true
			p.Notes = append(p.Notes, fmt.Sprintf("the job %s could not do %d things that are due; see keyreeve jobs show %s", j.Name, j.Kept, j.Name))
		}
		if j.Problem != "" && tenant == core.SystemTenant {
			p.Notes = append(p.Notes, fmt.Sprintf("the last run of the job %s failed: %s", j.Name, j.Problem))
		}
	}
	return p
}
