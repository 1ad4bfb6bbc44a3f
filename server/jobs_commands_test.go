package server_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/server"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// jobOf returns a job as a node shows it.
func jobOf(t *testing.T, s *servertest.Server, name string) (j server.Job) {
	t.Helper()
	out, err := s.Command("jobs", "show", name, "--dir", s.Dir)
	if err != nil {
		t.Fatalf("jobs show: %v: %s", err, out)
	}
	if err := json.Unmarshal([]byte(out), &j); err != nil {
		t.Fatal(err)
	}
	return j
}

// Two nodes share the jobs: what an operator orders at one, both obey, and one of them runs the job
// once. Orders are recorded.
func TestJobCommandsOfTwoNodes(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	one := servertest.Start(t, "KEYREEVE_DEV_STORE="+url)
	two := secondNode(t, one, url)
	order := func(s *servertest.Server, what string, wantErr string) {
		t.Helper()
		out, err := s.Command("jobs", what, "purge", "--dir", s.Dir)
		if (err != nil) != (wantErr != "") || !strings.Contains(out, wantErr) {
			t.Errorf("jobs %s: %v: %s; want %q", what, err, out, wantErr)
		}
	}
	wait := func(what string, ok func(server.Job) bool) {
		t.Helper()
		for _, s := range []*servertest.Server{one, two} {
			var j server.Job
			for range 100 {
				if j = jobOf(t, s, "purge"); ok(j) {
					break
				}
				time.Sleep(100 * time.Millisecond)
			}
			if !ok(j) {
				t.Errorf("%s: the job is %+v", what, j)
			}
		}
	}
	if out, err := two.Command("jobs", "list", "--dir", two.Dir); err != nil || !strings.Contains(out, "purge | waiting | never run | Removes the key material") {
		t.Errorf("jobs list: %v: %s", err, out)
	}
	order(one, "run", "")
	wait("run", func(j server.Job) bool {
		return j.Runs == 1 && j.State == "waiting" && j.Ended != "" && j.Problem == ""
	})
	order(two, "pause", "")
	wait("pause", func(j server.Job) bool { return j.State == "paused" && j.Runs == 1 })
	order(one, "run", "paused; resume it")
	order(one, "pause", "paused already")
	order(one, "resume", "")
	wait("resume", func(j server.Job) bool { return j.Runs == 2 && j.State == "waiting" })
	order(two, "resume", "not paused")
	if out, err := one.Command("jobs", "show", "none", "--dir", one.Dir); err == nil || !strings.Contains(out, "there is no job none") {
		t.Errorf("jobs show none: %v: %s", err, out)
	}
	if got := records(t, one, "Change Job"); len(got) != 6 {
		t.Errorf("the orders have left %d records: %v", len(got), got)
	}
}
