// Package jobs runs the work that the clock asks for: each job on one node at a time.
//
// A job has one directory entry, with the lease of its runner and what came of the last run.
// A runner may store only what requires the version of that entry which it has stored itself
// ([Run.Fence]), so one that lost its lease can change nothing more. A lease has no time in it:
// another node takes it over if its own clock that is never set back says that the entry has
// not changed for [Term]. So no wall clock that jumps, and none that differs from those of
// other nodes, lets a job run twice or stop.
//
// The package relies on packages engine and engine/directory. It decides nothing about keys:
// that is in the jobs. Start at [New], then [Runner.Follow].
package jobs

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Job is work that is done again and again.
type Job struct {
	Name     string
	Does     string        // what it does, for operators
	Every    time.Duration // between the end of a run and the next one
	MostTime time.Duration // of one run; the next one goes on

	// Waits reports whether there is work. A job without work stores nothing. nil: always.
	Waits func(ctx context.Context) (bool, error)

	// Work does the work. It calls [Run.Continue] after each step, and ends if that fails. A
	// step that was done but not noted is done again, so its changes must show that.
	Work func(ctx context.Context, r *Run) error
}

// Row is the entry of a job: what all nodes know of it.
type Row struct {
	Paused   bool   `json:"paused,omitempty"`
	Asked    bool   `json:"asked,omitempty"`    // an operator has asked for a run
	Epoch    int64  `json:"epoch,omitempty"`    // runs that have begun
	Holder   string `json:"holder,omitempty"`   // node and process whose run is under way; "": none
	Started  int64  `json:"started,omitempty"`  // of the last run, Unix seconds
	Ended    int64  `json:"ended,omitempty"`    // of the last run that ended, Unix seconds
	Progress string `json:"progress,omitempty"` // where a run goes on; "": at the beginning
	Outcome
}

// Outcome is what a run says of itself.
type Outcome struct {
	Done    int64    `json:"done,omitempty"`    // steps that had an effect
	Kept    int64    `json:"kept,omitempty"`    // steps that were due and not possible
	Problem string   `json:"problem,omitempty"` // why the run failed; "": it did not
	Notes   []string `json:"notes,omitempty"`   // for operators; at most maxNotes
}

// Bounds of a row.
const (
	maxNotes    = 16
	maxNote     = 512 // bytes
	maxProgress = 1024
	maxHolder   = 256
)

// Check implements [core.Body].
func (r *Row) Check() error {
	if r.Epoch < 0 || r.Done < 0 || r.Kept < 0 || len(r.Progress) > maxProgress || len(r.Holder) > maxHolder || len(r.Problem) > maxNote || len(r.Notes) > maxNotes {
		return core.Errorf(core.InvalidField, "a field of the job is out of its bounds")
	}
	for _, note := range r.Notes {
		if len(note) > maxNote {
			return core.Errorf(core.InvalidField, "notes: one has %d bytes; at most %d are allowed", len(note), maxNote)
		}
	}
	return nil
}

// Note adds a sentence for operators, if there is room.
func (o *Outcome) Note(sentence string) {
	if len(o.Notes) < maxNotes {
		o.Notes = append(o.Notes, cut(sentence))
	}
}

// cut shortens a text to the bound of a note.
func cut(text string) string {
	if len(text) > maxNote {
		return text[:maxNote-3] + "..."
	}
	return text
}
