package storetest

import (
	"fmt"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

func records(t *testing.T, s core.Store) {
	for i := range 7 {
		mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "rec", Time: int64(100 + i), Body: fmt.Appendf(nil, "r%d", i)}})))
	}
	page, err := s.Records(ctx, core.RecordQuery{Tenant: "rec", Since: 101, Limit: 3})
	mustSucceed(t, err)
	if len(page) != 3 || string(page[0].Body) != "r6" {
		t.Fatalf("the newest page is %v", page)
	}
	rest, err := s.Records(ctx, core.RecordQuery{Tenant: "rec", Since: 101, Before: page[2].Number})
	mustSucceed(t, err)
	if len(rest) != 3 || string(rest[2].Body) != "r1" {
		t.Errorf("the rest is %v", rest)
	}
}

// If many callers write at once, everything is stored, and no version is used twice.
func manyWriters(t *testing.T, s core.Store) {
	o := Object("many", "counter")
	insert(t, s, o)
	var wg sync.WaitGroup
	for w := range 32 {
		wg.Go(func() {
			for i := range 10 {
				mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.AppendEntry{Entry: &core.Entry{Tenant: "many", Time: int64(w*10 + i + 1), Body: []byte{byte(w), byte(i)}}})))
			}
			for {
				now, err := s.Object(ctx, "many", "counter")
				if err != nil {
					t.Error(err)
					return
				}
				next := *now
				next.Version++
				if err := s.Commit(ctx, core.ChangeOf(core.UpdateObject{Object: &next})); err == nil {
					return
				} else if core.CodeOf(err) != core.Conflict {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	now, err := s.Object(ctx, "many", "counter")
	mustSucceed(t, err)
	if now.Version != 33 {
		t.Errorf("32 changes made version %d, want 33", now.Version)
	}
	got, err := s.Records(ctx, core.RecordQuery{Tenant: "many"})
	mustSucceed(t, err)
	if len(got) != 320 {
		t.Errorf("%d records are stored, want 320", len(got))
	}
}
