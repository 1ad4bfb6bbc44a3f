package cli

import (
	"fmt"
	"net/url"

	"github.com/keyreeve/keyreeve/server"
)

type jobsListCmd struct{ listing }

// Run lists the jobs.
func (c *jobsListCmd) Run() error { return printList(&c.listing, "/jobs", jobLine) }

// jobLine shows one to people.
func jobLine(j server.Job) string {
	last := "never run"
	if j.Ended != "" {
		last = fmt.Sprintf("last run ended %s: %d done, %d kept", j.Ended, j.Done, j.Kept)
	}
	line := fmt.Sprintf("%s | %s | %s | %s", j.Name, j.State, last, j.Does)
	if j.Problem != "" {
		line += " | PROBLEM " + j.Problem
	}
	return oneLine(line)
}

// namedJob is a command about one job.
type namedJob struct {
	where
	Name string `arg:"" help:"Name of the job, which the list has."`
}

type jobsShowCmd struct{ namedJob }

// Run prints the job as JSON.
func (c *jobsShowCmd) Run() error {
	var out server.Job
	err := c.askServer("GET", "/jobs/one", url.Values{"name": {c.Name}}, &out)
	if err == nil {
		err = printJSON(out)
	}
	return err
}

// give gives an order and prints the job.
func (c *namedJob) give(order string) error {
	var out server.Job
	err := c.askServer("POST", "/jobs/"+order, url.Values{"name": {c.Name}}, &out)
	if err == nil {
		fmt.Println(jobLine(out))
	}
	return err
}

type jobsRunCmd struct{ namedJob }

// Run lets the job run at once.
func (c *jobsRunCmd) Run() error { return c.give("run") }

type jobsPauseCmd struct{ namedJob }

// Run pauses the job.
func (c *jobsPauseCmd) Run() error { return c.give("pause") }

type jobsResumeCmd struct{ namedJob }

// Run ends a pause.
func (c *jobsResumeCmd) Run() error { return c.give("resume") }
