package engine_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// reached lists the records of dates: object and date.
func reached(j *keptRecords) (out []string) {
	for _, r := range j.all {
		if r.Action == core.ActionDateReached {
			if r.Door != core.DoorClock || r.Tenant != "default" || r.Outcome != core.Allowed {
				out = append(out, fmt.Sprintf("wrong: %+v", r))
			}
			out = append(out, r.Object+" "+r.Detail)
		}
	}
	return out
}

// Each date of a key that the clock reaches leaves one record, also if another
// engine looks for it, or this one was started again; none is left before, for a
// date that was moved, and for a key that was destroyed before.
func TestReachedDatesAreRecorded(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	now := w.clock.Now()
	dated := w.aesKey(core.TagActivationDate, core.Date(now+100), core.TagProcessStartDate, core.Date(now+100), core.TagProtectStopDate, core.Date(now+200), core.TagDeactivationDate, core.Date(now+300))
	moved := w.aesKey(core.TagDeactivationDate, core.Date(now+100))
	gone := w.aesKey(core.TagDeactivationDate, core.Date(now+100))
	link := core.Attribute{Tag: core.TagDeactivationDate, Value: core.Date(now + 400)}
	if _, err := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(moved), Name: link.Ref(), New: link}); err != nil {
		t.Fatal(err)
	}
	if err := w.step(w.alice, "destroy", gone); err != nil {
		t.Fatal(err)
	}
	want := 0
	for _, c := range []struct {
		after int64
		more  []string
	}{
		{99, nil},
		{100, []string{dated + " Activation Date 2023-11-14T22:15:00Z: it is Active, if it was Pre-Active", dated + " Process Start Date 2023-11-14T22:15:00Z: it may be used"}},
		{260, []string{dated + " Protect Stop Date 2023-11-14T22:16:40Z: it no longer encrypts, signs or wraps"}},
		{300, []string{dated + " Deactivation Date 2023-11-14T22:18:20Z: it is Deactivated"}},
		{1000, []string{moved + " Deactivation Date 2023-11-14T22:20:00Z: it is Deactivated"}},
	} {
		w.clock.now = now + c.after
		w.store.refuse = core.Errorf(core.StoreUnavailable, "away")
		if err := w.RecordReachedDates(ctx); c.more != nil && err == nil {
			t.Errorf("after %d s: a record that could not be stored is passed over", c.after)
		}
		w.store.refuse = nil
		j.all = nil
		again := newNode(engine.New(engine.Ports{Store: w.store, HSM: w.hsm, Policy: tenantPolicy{}, Journal: j, Formats: plainFormats{}, Clock: w.clock}, engine.Settings{}))
		for _, e := range []node{w.node, again, w.node} {
			if err := e.RecordReachedDates(ctx); err != nil {
				t.Fatal(err)
			}
		}
		got := reached(j)
		slices.Sort(got)
		if !slices.Equal(got, c.more) {
			t.Errorf("after %d s there are the records %q; want %q", c.after, got, c.more)
		}
		want += len(c.more)
	}
	if want != 5 {
		t.Errorf("%d dates were tried", want)
	}
}

// A row that was changed behind the server leaves no record of its date, and does
// not keep others from theirs. A line that no object has is passed over.
func TestReachedDateOfAChangedRow(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	now := w.clock.Now()
	forged, good := w.aesKey(core.TagDeactivationDate, core.Date(now+1)), w.aesKey(core.TagDeactivationDate, core.Date(now+2))
	w.store.due[core.DueDate{Tenant: "default", ID: good, Tag: core.TagDeactivationDate, At: now}] = false
	w.store.due[core.DueDate{Tenant: "default", ID: "nobody", Tag: core.TagDeactivationDate, At: now}] = false
	w.store.forged = forged
	w.clock.now += 10
	if err := w.RecordReachedDates(ctx); core.CodeOf(err) != core.Tampered {
		t.Errorf("a changed row: %v", err)
	}
	if got := reached(j); len(got) != 1 || got[0][:len(good)] != good {
		t.Errorf("the records are %q; want one of %s", got, good)
	}
	w.store.forged = ""
	if err := w.RecordReachedDates(ctx); err != nil || len(reached(j)) != 2 {
		t.Errorf("with the row as it was: %v, %q", err, reached(j))
	}
}
