package engine_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/rowsealer"
)

// keptRecords is a journal that keeps the records themselves.
type keptRecords struct{ all []core.Record }

func (j *keptRecords) Seal(r *core.Record) core.Entry {
	kept := *r
	kept.Changes = append([]core.RowChange(nil), r.Changes...)
	kept.Involved = slices.Clone(r.Involved)
	j.all = append(j.all, kept)
	return core.Entry{Tenant: r.Tenant, Time: r.Time, Body: []byte(r.Action.String())}
}

func (j *keptRecords) last() core.Record { return j.all[len(j.all)-1] }

// The record of every change names the version and the hash of each row that was
// stored with it; a record of anything else names none.
func TestRecordsNameRowVersions(t *testing.T) {
	w := newWorld(t)
	j := &keptRecords{}
	w.Ports.Journal = j
	id := w.aesKey()
	want := func(what string, version int64) {
		t.Helper()
		o, err := w.store.Object(ctx, "default", id)
		if err != nil {
			t.Fatal(err)
		}
		hash, _ := w.store.RowHash(o)
		got := j.last().Changes
		if len(got) != 1 || got[0].Object != id || got[0].Version != version || !bytes.Equal(got[0].Hash, hash) {
			t.Errorf("the record of %s names %+v; want version %d, hash %x", what, got, version, hash)
		}
	}
	want("the birth", 1)
	if err := w.step(w.alice, "destroy", id); err != nil {
		t.Fatal(err)
	}
	want("the Destroy", 2)
	if err := w.step(w.alice, "destroy", id); err == nil || len(j.last().Changes) != 0 {
		t.Errorf("the record of a Destroy that failed (%v) names %+v", err, j.last().Changes)
	}
	w.store.refuse = core.Errorf(core.StoreUnavailable, "away")
	id = ""
	if _, err := w.createResident(); err == nil || len(j.last().Changes) != 0 {
		t.Errorf("the record of a birth that was not stored (%v) names %+v", err, j.last().Changes)
	}
}

// keylessSealer knows an epoch only once the tenant's keys have been loaded.
type keylessSealer struct {
	core.Sealer
	loads func() int
	known int // loads after which the epoch is known; -1: never
}

func (s keylessSealer) Seal(string, []byte) ([]byte, error) {
	if s.known < 0 {
		return nil, nil
	}
	return nil, core.Errorf(core.TokenUnavailable, "no keys")
}
func (s keylessSealer) CheckSeal(string, []byte, []byte) error {
	if s.known < 0 || s.loads() < s.known {
		return core.Errorf(core.TokenUnavailable, "no such epoch")
	}
	return nil
}

// A seal of an epoch that is not loaded has the tenant's keys loaded once; one that
// the tenant does not have is wrong. Reading makes no keys.
func TestUnknownEpochLoadsOnce(t *testing.T) {
	for known, code := range map[int]core.Code{1: 0, -1: core.CryptographicFailure} {
		w := newWorld(t)
		w.aesKey()
		loads := 0
		w.hsm.loading = func() { loads++ }
		s := rowsealer.New(keylessSealer{loads: func() int { return loads }, known: known})
		if err := s.CheckSeal("default", nil, nil); core.CodeOf(err) != core.TokenUnavailable {
			t.Errorf("before there is an engine: %v", err)
		}
		s.UseEngine(w.Engine)
		if err := s.CheckSeal("default", nil, nil); (err == nil) != (code == 0) || (err != nil && core.CodeOf(err) != code) || loads != 1 {
			t.Errorf("after %d loads: %v; want the code %v after 1", loads, err, code)
		}
		if err := s.CheckSeal("", nil, nil); known < 0 && core.CodeOf(err) != core.CryptographicFailure || loads != 1 {
			t.Errorf("an epoch that the system set does not have, after %d loads: %v", loads, err)
		}
		sets := len(w.store.sets)
		if s.CheckSeal("nobody", nil, nil); len(w.store.sets) != sets {
			t.Error("reading a row of an unknown tenant made keys")
		}
	}
}
