package engine_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/jobs"
	"github.com/keyreeve/keyreeve/engine/keyjobs"
	"github.com/keyreeve/keyreeve/engine/objects"
)

// mortalStore is the store as one node sees it, which can die at a commit.
type mortalStore struct {
	*memStore
	left   int    // commits until the node dies; negative: it does not
	stored bool   // the last commit is stored before the node dies
	broken string // a tenant whose rows cannot be read
}

func (s *mortalStore) Object(ctx context.Context, tenant, id string) (*core.ManagedObject, error) {
	if tenant == s.broken {
		return nil, core.Errorf(core.Tampered, "the row of %s was changed", id)
	}
	return s.memStore.Object(ctx, tenant, id)
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

// Keys of one tenant that fail again and again do not keep the clock from those of another one.
func TestPurgeBesideATenantThatFails(t *testing.T) {
	w := newWorld(t)
	for range 12 {
		w.led("soft delete")
	}
	w.clock.now++
	made, err := w.Create(ctx, w.out, aesInput())
	if err != nil {
		t.Fatal(err)
	}
	if err := w.step(w.out, "soft delete", made.ID); err != nil {
		t.Fatal(err)
	}
	n := newKeyNode(t, w, "a")
	n.store.broken = "default"
	w.clock.now += 30 * day
	n.clock.pass(30 * 24 * time.Hour)
	lookFor(t, "purge", n)
	if o, err := w.store.Object(ctx, w.out.Principal.Tenant, made.ID); err != nil || rules.IsRestorable(o) {
		t.Errorf("the key of the other tenant is %+v, %v", o, err)
	}
	if j := n.row(t, "purge"); j.Done != 1 || !strings.Contains(j.Problem, "10 keys failed") {
		t.Errorf("the job is %+v", j)
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

// setRotation says when the clock rotates a key of alice's.
func (w *world) setRotation(id, every, before string) (*core.ManagedObject, error) {
	out, err := w.SetRotation(ctx, w.alice, &operation.SetRotationInput{ID: core.ID(id), Every: every, Before: before})
	return out.Changed, err
}

// versionsOf returns all versions of a key in order.
func (w *world) versionsOf(id string) []*core.ManagedObject {
	var all []*core.ManagedObject
	for _, o := range w.store.objects {
		if o.Family() == id {
			all = append(all, o)
		}
	}
	slices.SortFunc(all, func(a, b *core.ManagedObject) int { return cmp.Compare(a.FamilyVersion(), b.FamilyVersion()) })
	return all
}

// Ten years of monthly rotation on two nodes: each month one of them makes one version of each key, on the
// planned day of the calendar, with one record. Every version stays, and the tables of dates and jobs
// do not grow.
func TestTenYearsOfRotation(t *testing.T) {
	const keys, years = 20, 10
	w := newWorld(t)
	w.clock.now = time.Date(2027, 1, 31, 10, 0, 0, 0, time.UTC).Unix()
	a, b := newKeyNode(t, w, "a"), newKeyNode(t, w, "b")
	var ids []string
	for range keys {
		id := w.inState(core.Active)
		if _, err := w.setRotation(id, "1mo", ""); err != nil {
			t.Fatal(err)
		}
		ids = append(ids, id)
	}
	began := time.Unix(w.clock.now, 0).UTC()
	for now := began; now.Before(began.AddDate(years, 0, 2)); now = now.Add(12 * time.Hour) {
		lookFor(t, "rotate", a, b)
		for _, n := range []*keyNode{a, b} {
			n.clock.pass(12 * time.Hour)
		}
	}
	for _, id := range ids {
		versions := w.versionsOf(id)
		if len(versions) != 12*years+1 {
			t.Fatalf("after %d years there are %d versions", years, len(versions))
		}
		for n, o := range versions {
			planned := time.Date(2027, time.January+time.Month(n), 31, 10, 0, 0, 0, time.UTC)
			if last := time.Date(2027, time.February+time.Month(n), 0, 10, 0, 0, 0, time.UTC); planned.After(last) {
				planned = last
			}
			made, _ := o.Attributes.Date(core.TagInitialDate)
			if late := time.Unix(made, 0).Sub(planned); n > 0 && (late < 0 || late > 12*time.Hour) {
				t.Errorf("version %d was made at %v, planned for %v", n+1, time.Unix(made, 0).UTC(), planned)
			}
			if o.Material.Blob == nil || o.StateAt(a.clock.Now()) != core.Active || (o.Attributes.Find(core.RotationAttribute) >= 0) != (n == 12*years) {
				t.Errorf("version %d is %+v", n+1, o.Attributes)
			}
		}
	}
	if n := w.recordsOf("Re-key allowed"); n != keys*12*years {
		t.Errorf("%d rotations are recorded; want %d", n, keys*12*years)
	}
	due, _ := w.store.DueDates(ctx, core.DueRotations, 1<<40, core.FirstDueDate, 1000)
	if len(due) != keys {
		t.Errorf("%d dates are stored; want one for each key", len(due))
	}
}

// Dates that were missed count once, and the plan stays where it was. A rotation can be changed and
// ended, and one that is asked for in between changes nothing of the plan.
func TestRotationPlans(t *testing.T) {
	w := newWorld(t)
	n := newKeyNode(t, w, "a")
	id := w.inState(core.Active)
	set, err := w.setRotation(id, "30d", "")
	if err != nil {
		t.Fatal(err)
	}
	planned := func(o *core.ManagedObject) int64 {
		at, _ := rules.DateOf(o, core.RotateAtAttribute)
		return at - w.clock.now
	}
	if got := planned(set); got != 30*day {
		t.Errorf("the first date is %d seconds away", got)
	}
	n.clock.pass(100 * 24 * time.Hour) // three dates
	lookFor(t, "rotate", n)
	versions := w.versionsOf(id)
	if len(versions) != 2 || planned(versions[1]) != 120*day {
		t.Fatalf("after three missed dates there are %d versions, the next date is %d", len(versions), planned(versions[len(versions)-1])/day)
	}
	before := w.clock.now
	w.clock.now += 110 * day
	last := w.rekey(versions[1].ID)
	w.clock.now = before
	if o, _ := w.store.Object(ctx, "default", last); planned(o) != 120*day {
		t.Errorf("after a Re-key the next date is %d", planned(o)/day)
	}
	if _, err := w.setRotation(id, "1d", ""); core.CodeOf(err) != core.IllegalOperation {
		t.Errorf("a rotation of an old version: %v", err)
	}
	if o, err := w.setRotation(last, "", ""); err != nil || o.Attributes.Find(core.RotationAttribute) >= 0 || o.Attributes.Find(core.RotateAtAttribute) >= 0 {
		t.Errorf("a rotation that was ended: %v", err)
	}
	n.clock.pass(100 * 24 * time.Hour)
	lookFor(t, "rotate", n)
	if got := len(w.versionsOf(id)); got != 3 {
		t.Errorf("a key whose rotation was ended has %d versions; want 3", got)
	}
	for what, c := range map[string]struct {
		every, before string
		want          core.Code
	}{"too often": {"59m", "", core.InvalidField}, "no span": {"monthly", "", core.InvalidField}, "no end": {"", "7d", core.InvalidField}} {
		if _, err := w.setRotation(last, c.every, c.before); core.CodeOf(err) != c.want || err == nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, id := range map[string]string{"a key that has ended": w.inState(core.Deactivated), "a destroyed key": w.inState(core.Destroyed)} {
		if _, err := w.setRotation(id, "1d", ""); core.CodeOf(err) != core.WrongState {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := w.SetRotation(ctx, w.eve, &operation.SetRotationInput{ID: core.ID(last), Every: "1d"}); core.CodeOf(err) != core.PermissionDenied {
		t.Errorf("a stranger: %v", err)
	}
}

// A key is replaced before it ends. Its replacement has the same length of life.
func TestRotationBeforeTheEnd(t *testing.T) {
	w := newWorld(t)
	n := newKeyNode(t, w, "a")
	id := w.aesKey(core.TagActivationDate, core.Date(w.clock.now), core.TagDeactivationDate, core.Date(w.clock.now+90*day))
	if _, err := w.setRotation(id, "", "7d"); err != nil {
		t.Fatal(err)
	}
	for range 200 {
		lookFor(t, "rotate", n)
		n.clock.pass(24 * time.Hour)
	}
	versions := w.versionsOf(id)
	if len(versions) != 3 {
		t.Fatalf("after 200 days there are %d versions; want 3", len(versions))
	}
	for v, want := range []int64{90, 173, 256} {
		if ends, _ := versions[v].Attributes.Date(core.TagDeactivationDate); (ends-w.clock.now)/day != want {
			t.Errorf("version %d ends on day %d; want %d", v+1, (ends-w.clock.now)/day, want)
		}
	}
}

// What cannot be rotated stays and is counted, and is rotated when that is over. A key that has ended
// is not rotated any more.
func TestRotationThatIsNotPossible(t *testing.T) {
	w := newWorld(t)
	n := newKeyNode(t, w, "a")
	steps := map[string][2]string{"disabled": {"disable", "enable"}, "archived": {"archive", "recover"}, "deleted": {"soft delete", "restore"}, "denied": {}, "ended": {"cease"}}
	ids := map[string]string{}
	for what, step := range steps {
		ids[what] = w.inState(core.Active)
		if _, err := w.setRotation(ids[what], "1d", ""); err != nil {
			t.Fatal(err)
		}
		if step[0] != "" {
			if err := w.step(w.alice, step[0], ids[what]); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.policy.denies[ids["denied"]] = true
	for range 3 {
		w.clock.now += day
		n.clock.pass(24 * time.Hour)
		lookFor(t, "rotate", n)
	}
	for what, id := range ids {
		if got := len(w.versionsOf(id)); got != 1 {
			t.Errorf("%s: there are %d versions", what, got)
		}
	}
	if j := n.row(t, "rotate"); j.Kept != 3 || j.Problem != "" || w.recordsOf("Re-key denied "+ids["denied"]) != 1 {
		t.Errorf("the job is %+v, with %d records of the denial", j, w.recordsOf("Re-key denied "+ids["denied"]))
	}
	n.policy.denies = map[string]bool{}
	for what, step := range steps {
		if step[1] != "" {
			if err := w.step(w.alice, step[1], ids[what]); err != nil {
				t.Fatal(err)
			}
		}
	}
	w.clock.now += day
	n.clock.pass(24 * time.Hour)
	lookFor(t, "rotate", n)
	for what, id := range ids {
		if got := len(w.versionsOf(id)); got != 2 && what != "ended" || got != 1 && what == "ended" {
			t.Errorf("%s, afterwards: there are %d versions", what, got)
		}
	}
}

// A node that is killed at any commit of a rotation leaves one new version of each key, after
// another node has taken over.
func TestKillsInTheRotation(t *testing.T) {
	for _, stored := range []bool{false, true} {
		for at := 1; ; at++ {
			w := newWorld(t)
			keys := []string{w.inState(core.Active), w.inState(core.Active), w.inState(core.Active)}
			for _, id := range keys {
				if _, err := w.setRotation(id, "1d", ""); err != nil {
					t.Fatal(err)
				}
			}
			a, b := newKeyNode(t, w, "a"), newKeyNode(t, w, "b")
			a.clock.pass(24 * time.Hour)
			b.clock.pass(24 * time.Hour)
			a.store.left, a.store.stored = at+1, stored // one is that of reread
			lookFor(t, "rotate", a)
			died := a.store.left == 0
			for range 40 {
				lookFor(t, "rotate", b)
				b.clock.pass(time.Second)
			}
			for _, id := range keys {
				if got, records := len(w.versionsOf(id)), w.recordsOf("Re-key allowed "+id); got != 2 || records != 1 {
					t.Errorf("killed at commit %d, stored %v: %d versions, %d records", at, stored, got, records)
				}
			}
			if !died {
				if at < 5 {
					t.Errorf("the job has only %d commits", at)
				}
				break
			}
		}
	}
}

// The clock purges the version whose retention is over, and no other one of its key.
func TestPurgeOfOneVersion(t *testing.T) {
	w := newWorld(t)
	first := w.led()
	out, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(first)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.SoftDelete(ctx, w.alice, &operation.SoftDeleteInput{ID: core.ID(first)}); err != nil {
		t.Fatal(err)
	}
	n := newKeyNode(t, w, "a")
	lookFor(t, "purge", n)
	w.clock.now += 30 * day
	n.clock.pass(30 * 24 * time.Hour)
	lookFor(t, "purge", n)
	if !w.isPurged(first) || w.recordsOf("Purge allowed "+first) != 1 {
		t.Error("the deleted version is not purged")
	}
	if o, err := w.store.Object(ctx, "default", out.ID); err != nil || o.Material.Blob == nil || o.StateAt(w.clock.now) != core.Active {
		t.Errorf("the other version is %+v, %v", o, err)
	}
}
