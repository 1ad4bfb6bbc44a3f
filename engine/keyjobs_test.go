package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/jobs"
	"github.com/keyreeve/keyreeve/engine/keyjobs"
	"github.com/keyreeve/keyreeve/engine/objects"
)

// mortalStore is the store as one node sees it, which can die at a commit.
type mortalStore struct {
	*memStore
	left   int  // commits until the node dies; negative: it does not
	stored bool // the last commit is stored before the node dies
}

func (s *mortalStore) Commit(ctx context.Context, ch *core.Change) error {
	if s.left == 0 {
		return core.Errorf(core.StoreUnavailable, "the process is dead")
	}
	if s.left--; s.left == 0 {
		if s.stored {
			s.memStore.Commit(ctx, ch)
		}
		return core.Errorf(core.StoreUnavailable, "the process is dead")
	}
	return s.memStore.Commit(ctx, ch)
}

// clockPolicy lets the clock do what is due, but for what is denied.
type clockPolicy struct {
	tenantPolicy
	denies map[string]bool // by Unique Identifier
}

func (p *clockPolicy) Decide(_ context.Context, r *core.AccessRequest) (core.Decision, error) {
	allow := r.Door != core.DoorClock || r.Object != nil && !p.denies[r.Object.ID]
	return core.Decision{Allow: allow, Scope: "own", Reasons: []string{"test"}}, nil
}

// keyNode is a node that runs the jobs of keys.
type keyNode struct {
	*jobNode
	store  *mortalStore
	policy *clockPolicy
}

func newKeyNode(t *testing.T, w *world, name string) *keyNode {
	t.Helper()
	c := &driftingClock{wall: w.clock.Now(), mono: 1e9}
	n := &keyNode{store: &mortalStore{memStore: w.store, left: -1}, policy: &clockPolicy{denies: map[string]bool{}}}
	e := engine.New(engine.Ports{Store: n.store, HSM: w.hsm, Policy: n.policy, Journal: plainJournal{}, Formats: plainFormats{}, Clock: c, Log: slog.New(slog.DiscardHandler), TenantRows: w.Ports.TenantRows}, engine.Settings{})
	n.jobNode = newJobNodeOn(t, n.store, c, name, keyjobs.List(keyjobs.Ports{Engine: e, Objects: objects.New(e)})...)
	return n
}

// lookFor lets nodes look at a job, after they have read what others stored.
func lookFor(t *testing.T, job string, nodes ...*keyNode) {
	t.Helper()
	for _, n := range nodes {
		n.reread()
		for i := range n.Jobs() {
			if j := &n.Jobs()[i]; j.Name == job {
				n.Look(ctx, j)
				n.Look(ctx, j) // it sees its own entry: the time to the next run begins
			}
		}
	}
}

// row returns what a node knows of a job.
func (n *keyNode) row(t *testing.T, job string) jobs.Shown {
	t.Helper()
	all, err := n.All()
	if err != nil {
		t.Fatal(err)
	}
	return all[slices.IndexFunc(all, func(s jobs.Shown) bool { return s.Name == job })]
}

// recordsOf counts the records of an action on an object with an outcome.
func (w *world) recordsOf(what string) (n int) {
	for _, e := range w.store.entries {
		if strings.HasPrefix(string(e.Body), what+" ") {
			n++
		}
	}
	return n
}

func (w *world) isPurged(id string) bool {
	o, err := w.store.Object(ctx, "default", id)
	return err == nil && o.StateAt(w.clock.now) == core.Destroyed && !rules.IsRestorable(o) && o.Material.Blob == nil
}

// Of two nodes one purges what is due, with one record for each key. A key that was restored stays.
// A job without work stores nothing.
func TestPurgeJob(t *testing.T) {
	w := newWorld(t)
	var due []string
	for range 250 { // more than a page
		due = append(due, w.led("soft delete"))
	}
	back := w.led("soft delete", "restore")
	a, b := newKeyNode(t, w, "a"), newKeyNode(t, w, "b")
	lookFor(t, "purge", a, b)
	if a.row(t, "purge").Version != 0 {
		t.Error("a job without work has stored something")
	}
	w.clock.now += 30 * day
	for _, n := range []*keyNode{a, b} {
		n.clock.pass(30 * 24 * time.Hour)
	}
	lookFor(t, "purge", b, a)
	for _, id := range due {
		if !w.isPurged(id) || w.recordsOf("Purge allowed "+id) != 1 {
			t.Fatalf("key %s is purged: %v, with %d records", id, w.isPurged(id), w.recordsOf("Purge allowed "+id))
		}
	}
	if o, _ := w.store.Object(ctx, "default", back); o.StateAt(w.clock.now) != core.Active || w.recordsOf("Purge allowed "+back) != 0 {
		t.Errorf("a key that was restored is %+v", o)
	}
	a.reread()
	if j := a.row(t, "purge"); j.Done != 250 || j.Kept != 0 || j.Epoch != 1 || j.Holder != "" || j.Problem != "" {
		t.Errorf("the job is %+v", j)
	}
	if left, _ := w.store.DueDates(ctx, core.DuePurges, 1<<40, core.FirstDueDate, 10); len(left) != 0 {
		t.Errorf("dates are left: %v", left)
	}
}

// A key whose purge the policy denies stays, and is counted in each run. The denial is recorded once.
// When the policy permits the purge, the next run does it.
func TestPurgeThatIsDenied(t *testing.T) {
	w := newWorld(t)
	kept, other := w.led("soft delete"), w.led("soft delete")
	n := newKeyNode(t, w, "a")
	n.policy.denies[kept] = true
	w.clock.now += 30 * day
	n.clock.pass(30 * 24 * time.Hour)
	for range 3 {
		lookFor(t, "purge", n)
		j := n.row(t, "purge")
		if j.Kept != 1 || j.Problem != "" || len(j.Notes) != 1 || !strings.Contains(j.Notes[0], kept) {
			t.Errorf("the job is %+v", j)
		}
		n.clock.pass(10 * time.Minute)
	}
	if w.isPurged(kept) || !w.isPurged(other) || w.recordsOf("Purge denied "+kept) != 1 {
		t.Errorf("purged: the denied key %v, the other one %v; %d denials are recorded", w.isPurged(kept), w.isPurged(other), w.recordsOf("Purge denied "+kept))
	}
	n.policy.denies[kept] = false
	lookFor(t, "purge", n)
	if j := n.row(t, "purge"); !w.isPurged(kept) || j.Done != 1 || j.Kept != 0 || w.recordsOf("Purge allowed "+kept) != 1 {
		t.Errorf("purged when it is permitted: %v; the job is %+v", w.isPurged(kept), j)
	}
}

// A key whose tenant is disabled stays, without a record. When the HSM or the database fails, the
// dates stay for the next run.
func TestPurgeThatFails(t *testing.T) {
	w := newWorld(t)
	w.lay(&core.Tenant{State: core.TenantActive})
	id := w.led("soft delete")
	n := newKeyNode(t, w, "a")
	w.clock.now += 30 * day
	n.clock.pass(30 * 24 * time.Hour)
	w.lay(&core.Tenant{State: core.TenantDisabled})
	n = newKeyNode(t, w, "b")
	lookFor(t, "purge", n)
	if j := n.row(t, "purge"); w.isPurged(id) || j.Kept != 1 || w.recordsOf("Purge denied "+id) != 0 {
		t.Errorf("of a disabled tenant: purged %v; the job is %+v", w.isPurged(id), j)
	}
	w.lay(&core.Tenant{State: core.TenantActive})
	w.clock.now += 600
	n = newKeyNode(t, w, "c")
	w.store.forged = id
	lookFor(t, "purge", n)
	if j := n.row(t, "purge"); w.isPurged(id) || j.Problem == "" {
		t.Errorf("a row that was changed behind the server: purged %v; the job is %+v", w.isPurged(id), j)
	}
	w.store.forged = ""
	n.clock.pass(10 * time.Minute)
	lookFor(t, "purge", n)
	if !w.isPurged(id) {
		t.Error("the key is not purged when the row is good again")
	}
}

// A node that is killed at any commit, before or after it is stored, leaves nothing half done: the
// other node takes the job over and each key is purged once.
func TestKillsInThePurge(t *testing.T) {
	for _, stored := range []bool{false, true} {
		for at := 1; ; at++ {
			w := newWorld(t)
			keys := []string{w.led("soft delete"), w.led("soft delete"), w.led("soft delete")}
			resident := w.resident()
			if err := w.step(w.alice, "soft delete", resident.ID); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, resident.ID)
			a, b := newKeyNode(t, w, "a"), newKeyNode(t, w, "b")
			w.clock.now += 30 * day
			a.clock.pass(30 * 24 * time.Hour)
			b.clock.pass(30 * 24 * time.Hour)
			a.store.left, a.store.stored = at+1, stored // one is that of reread
			lookFor(t, "purge", a)
			died := a.store.left == 0
			for range 40 {
				lookFor(t, "purge", b)
				b.clock.pass(time.Second)
			}
			what := fmt.Sprintf("killed at commit %d, stored %v", at, stored)
			for _, id := range keys {
				if !w.isPurged(id) || w.recordsOf("Purge allowed "+id) != 1 {
					t.Errorf("%s: key %s is purged: %v, with %d records", what, id, w.isPurged(id), w.recordsOf("Purge allowed "+id))
				}
			}
			if j := b.row(t, "purge"); j.Holder != "" || j.Problem != "" {
				t.Errorf("%s: the job is %+v", what, j)
			}
			if !died {
				if at < 6 {
					t.Errorf("the job has only %d commits", at)
				}
				break
			}
		}
	}
}
