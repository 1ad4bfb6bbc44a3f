package storetest

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// DirectoryEntry returns a version of an entry with a value in each field.
func DirectoryEntry(kind core.EntryKind, tenant, id string, version int64) *core.DirectoryEntry {
	return &core.DirectoryEntry{Kind: kind, Tenant: tenant, ID: id, Version: version, At: 1_700_000_000 + version, Author: tenant + "/admin", Reason: "ticket 7",
		Body: fmt.Appendf(nil, `{"name": %q, "version": %d}`, id, version)}
}

func saveEntries(t *testing.T, s core.Store, entries ...*core.DirectoryEntry) {
	t.Helper()
	for _, e := range entries {
		mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.SaveDirectoryEntry{Entry: e})))
	}
}

// changesAfter reads all changes after a number, two at a time.
func changesAfter(t *testing.T, s core.Store, after int64) (all []*core.DirectoryEntry, last int64) {
	t.Helper()
	for {
		page, err := s.DirectoryChanges(ctx, after, 2)
		mustSucceed(t, err)
		if len(page.Tampered) > 0 {
			t.Fatalf("%v are tampered", page.Tampered)
		}
		all = append(all, page.Entries...)
		if len(page.Entries) > 0 {
			after = page.Change
		}
		if !page.More {
			return all, after
		}
	}
}

// Each version is kept as it was stored, in the history, in the list of the newest
// versions and in the list of changes.
func directory(t *testing.T, s core.Store) {
	before, err := s.DirectoryChange(ctx)
	mustSucceed(t, err)
	p1, p2, other := DirectoryEntry(core.EntryPolicy, "dir", "p", 1), DirectoryEntry(core.EntryPolicy, "dir", "p", 2), DirectoryEntry(core.EntryPolicy, "dir 2", "p", 1)
	user, whole, gone := DirectoryEntry(core.EntryUser, "dir", "p", 1), DirectoryEntry(core.EntryRole, "", "dir role", 1), DirectoryEntry(core.EntryPolicy, "dir", "p", 3)
	gone.Deleted, gone.Body, gone.Author, gone.Reason = true, nil, "", ""
	stored := []*core.DirectoryEntry{p1, p2, user, other, whole, gone}
	saveEntries(t, s, stored...)
	history, err := s.DirectoryHistory(ctx, p1.Name(), 0, 10)
	mustSucceed(t, err)
	wantEntries(t, "the history", history, gone, p2, p1)
	history, err = s.DirectoryHistory(ctx, p1.Name(), 3, 1)
	mustSucceed(t, err)
	wantEntries(t, "the history below version 3", history, p2)
	all, last := changesAfter(t, s, before)
	wantEntries(t, "the changes", all, stored...)
	if now, err := s.DirectoryChange(ctx); err != nil || now != last || now != before+int64(len(stored)) {
		t.Errorf("the last change is %d, %v; %d were stored after %d, and the last one read is %d", now, err, len(stored), before, last)
	}
	newest := newestOf(t, s)
	for _, want := range []*core.DirectoryEntry{gone, user, other, whole} {
		if !reflect.DeepEqual(newest[want.Name()], want) {
			t.Errorf("the newest version of %v is %+v, want %+v", want.Name(), newest[want.Name()], want)
		}
	}
	if none, err := s.DirectoryHistory(ctx, core.DirectoryName{Tenant: "dir", Kind: core.EntryUser, ID: "nobody"}, 0, 10); err != nil || len(none) > 0 {
		t.Errorf("the history of an entry that does not exist: %v, %v", none, err)
	}
}

func wantEntries(t *testing.T, what string, got []*core.DirectoryEntry, want ...*core.DirectoryEntry) {
	t.Helper()
	if len(got) != len(want) {
		t.Fatalf("%s has %d versions, want %d", what, len(got), len(want))
	}
	for i := range got {
		if !reflect.DeepEqual(got[i], want[i]) {
			t.Errorf("%s has\n%+v, want\n%+v", what, got[i], want[i])
		}
	}
}

// newestOf reads the newest version of each entry, three at a time, and compares the
// list of versions with it.
func newestOf(t *testing.T, s core.Store) map[core.DirectoryName]*core.DirectoryEntry {
	t.Helper()
	newest := map[core.DirectoryName]*core.DirectoryEntry{}
	for after, more := (core.DirectoryName{}), true; more; {
		page, err := s.DirectoryEntries(ctx, after, 3)
		mustSucceed(t, err)
		for _, e := range page.Entries {
			if newest[e.Name()] != nil {
				t.Fatalf("%v is listed twice", e.Name())
			}
			newest[e.Name()] = e
		}
		after, more = page.Last, page.More
	}
	listed := 0
	for after := (core.DirectoryName{}); ; {
		versions, err := s.DirectoryVersions(ctx, after, 3)
		mustSucceed(t, err)
		if len(versions) == 0 {
			break
		}
		for _, v := range versions {
			listed++
			if e := newest[v.Name]; e == nil || e.Version != v.Version {
				t.Errorf("version %d of %v is listed as the newest, which is %+v", v.Version, v.Name, e)
			}
			after = v.Name
		}
	}
	if listed != len(newest) {
		t.Errorf("%d versions are listed, and there are %d entries", listed, len(newest))
	}
	return newest
}

// A version is stored only if it is the next one, and a change that fails stores nothing.
func directoryConflicts(t *testing.T, s core.Store) {
	entry := func(version int64) *core.DirectoryEntry {
		return DirectoryEntry(core.EntryUser, "dir conflict", "u", version)
	}
	wantCode(t, "version 2 of no entry", s.Commit(ctx, core.ChangeOf(core.SaveDirectoryEntry{Entry: entry(2)})), core.Conflict)
	saveEntries(t, s, entry(1), entry(2))
	before, err := s.DirectoryChange(ctx)
	mustSucceed(t, err)
	for _, version := range []int64{1, 2, 4, 1 << 62} {
		record := core.AppendEntry{Entry: &core.Entry{Tenant: "dir conflict", Time: 1, Body: []byte("lost")}}
		wantCode(t, fmt.Sprintf("version %d after 2", version), s.Commit(ctx, core.ChangeOf(core.SaveDirectoryEntry{Entry: entry(version)}, record)), core.Conflict)
	}
	records, err := s.Records(ctx, core.RecordQuery{Tenant: "dir conflict"})
	mustSucceed(t, err)
	if after, err := s.DirectoryChange(ctx); err != nil || after != before || len(records) > 0 {
		t.Errorf("changes that failed moved the number from %d to %d, %v, and left %d records", before, after, err, len(records))
	}
	two := core.ChangeOf(core.SaveDirectoryEntry{Entry: entry(3)}, core.SaveDirectoryEntry{Entry: entry(4)})
	mustSucceed(t, s.Commit(ctx, two))
}

// Many writers store versions at once. Of each version one is stored, and a follower that
// reads meanwhile sees every version exactly once.
func directoryRaces(t *testing.T, s core.Store) {
	const writers, versions = 6, 8
	before, err := s.DirectoryChange(ctx)
	mustSucceed(t, err)
	var all sync.WaitGroup
	var mu sync.Mutex
	stored := map[int64]int{}
	for i := range writers {
		all.Go(func() {
			for version := int64(1); version <= versions; version++ {
				own := DirectoryEntry(core.EntryGroup, "dir race", fmt.Sprint("own", i), version)
				if err := s.Commit(ctx, core.ChangeOf(core.SaveDirectoryEntry{Entry: own})); err != nil {
					t.Errorf("an entry that nobody else writes: %v", err)
				}
				err := s.Commit(ctx, core.ChangeOf(core.SaveDirectoryEntry{Entry: DirectoryEntry(core.EntryGroup, "dir race", "shared", version)}))
				mu.Lock()
				if err == nil {
					stored[version]++
				} else if core.CodeOf(err) != core.Conflict {
					t.Errorf("a lost race: %v", err)
				}
				mu.Unlock()
			}
		})
	}
	ended := make(chan struct{})
	go func() { all.Wait(); close(ended) }()
	seen := map[core.DirectoryVersion]int{}
	for after, over := before, false; !over; {
		select {
		case <-ended:
			over = true // and read once more
		default:
		}
		var entries []*core.DirectoryEntry
		entries, after = changesAfter(t, s, after)
		for _, e := range entries {
			seen[core.DirectoryVersion{Name: e.Name(), Version: e.Version}]++
		}
	}
	if len(seen) != (writers+1)*versions {
		t.Errorf("a follower saw %d versions, want %d", len(seen), (writers+1)*versions)
	}
	for v, n := range seen {
		if n != 1 {
			t.Errorf("a follower saw %v %d times", v, n)
		}
	}
	for version, n := range stored {
		if n != 1 {
			t.Errorf("%d writers stored version %d of one entry", n, version)
		}
	}
}

// Tokens and approvals can be removed with all their versions. Other entries can only with their
// tenant, and those of the server never.
func directoryPrunes(t *testing.T, s core.Store) {
	for _, kind := range []core.EntryKind{core.EntryToken, core.EntryApproval} {
		a, b := DirectoryEntry(kind, "dir prune", "a", 1), DirectoryEntry(kind, "dir prune", "b", 1)
		saveEntries(t, s, a, b, DirectoryEntry(kind, "dir prune", "a", 2))
		mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.PruneDirectoryEntry{Name: a.Name()})))
		if left, err := s.DirectoryHistory(ctx, a.Name(), 0, 10); err != nil || len(left) > 0 {
			t.Errorf("%s: %d versions are left, %v", kind, len(left), err)
		}
		if left, err := s.DirectoryHistory(ctx, b.Name(), 0, 10); err != nil || len(left) != 1 {
			t.Errorf("%s: %d versions of another entry are left, %v", kind, len(left), err)
		}
	}
	for _, kind := range []core.EntryKind{core.EntryPolicy, core.EntryUser, core.EntryRole, core.EntryGroup, core.EntryTenant, core.EntryAttachment, core.EntryServerPolicy, "", "other"} {
		name := core.DirectoryName{Tenant: "dir prune", Kind: kind, ID: "a"}
		wantCode(t, "to prune a "+string(kind), s.Commit(ctx, core.ChangeOf(core.PruneDirectoryEntry{Name: name})), core.IllegalOperation)
		name.Tenant = ""
		wantCode(t, "to prune a "+string(kind)+" of the server", s.Commit(ctx, core.ChangeOf(core.PruneDirectoryEntry{Name: name, TenantDeleted: true})), core.IllegalOperation)
	}
	user, other := DirectoryEntry(core.EntryUser, "dir gone", "u", 1), DirectoryEntry(core.EntryUser, "dir prune", "u", 1)
	saveEntries(t, s, user, other, DirectoryEntry(core.EntryUser, "dir gone", "u", 2))
	before, err := s.DirectoryChange(ctx)
	mustSucceed(t, err)
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.PruneDirectoryEntry{Name: user.Name(), TenantDeleted: true})))
	for name, want := range map[core.DirectoryName]int{user.Name(): 0, other.Name(): 1} {
		if left, err := s.DirectoryHistory(ctx, name, 0, 10); err != nil || len(left) != want {
			t.Errorf("%v: %d versions are left, %v; want %d", name, len(left), err, want)
		}
	}
	if after, err := s.DirectoryChange(ctx); err != nil || after != before+1 {
		t.Errorf("the removal is change %d after %d, %v; want the next one", after, before, err)
	}
}

// Of each entry the newest versions are kept. What was removed cannot be stored again.
func directoryKeepsVersions(t *testing.T, s core.Store) {
	entry := func(id string, version int64) *core.DirectoryEntry {
		return DirectoryEntry(core.EntryPolicy, "dir kept", id, version)
	}
	saveEntries(t, s, entry("beside", 1), entry("long", 1))
	const last = core.KeptVersions + 13
	ch := core.ChangeOf()
	for version := int64(2); version <= last; version++ {
		ch.Add(core.SaveDirectoryEntry{Entry: entry("long", version)})
	}
	mustSucceed(t, s.Commit(ctx, ch))
	kept := []int64{}
	for below := int64(0); ; {
		page, err := s.DirectoryHistory(ctx, entry("long", 1).Name(), below, 40)
		mustSucceed(t, err)
		if len(page) == 0 {
			break
		}
		for _, e := range page {
			kept, below = append(kept, e.Version), e.Version
		}
	}
	if len(kept) != core.KeptVersions || kept[0] != last || kept[len(kept)-1] != last-core.KeptVersions+1 {
		t.Errorf("%d versions are kept: %v; want the newest %d", len(kept), kept, core.KeptVersions)
	}
	for _, version := range []int64{1, last - core.KeptVersions, last} {
		wantCode(t, fmt.Sprintf("version %d after %d", version, last), s.Commit(ctx, core.ChangeOf(core.SaveDirectoryEntry{Entry: entry("long", version)})), core.Conflict)
	}
	saveEntries(t, s, entry("long", last+1), entry("beside", 2))
	if beside, err := s.DirectoryHistory(ctx, entry("beside", 1).Name(), 0, 10); err != nil || len(beside) != 2 {
		t.Errorf("an entry beside it has %d versions, %v; want 2", len(beside), err)
	}
}

// What is over a bound, or what one database could not store, is refused by both.
func directoryBounds(t *testing.T, s core.Store) {
	largest := DirectoryEntry(core.EntryPolicy, "dir bounds", strings.Repeat("i", core.MaxDirectoryID), 1)
	largest.Author, largest.Reason, largest.Body = strings.Repeat("a", core.MaxDirectoryAuthor), strings.Repeat("r", core.MaxDirectoryReason), make([]byte, core.MaxDirectoryBody)
	saveEntries(t, s, largest)
	got, err := s.DirectoryHistory(ctx, largest.Name(), 0, 1)
	mustSucceed(t, err)
	wantEntries(t, "the largest entry", got, largest)
	for what, change := range map[string]func(e *core.DirectoryEntry){
		"an unknown kind": func(e *core.DirectoryEntry) { e.Kind = "polices" }, "no kind": func(e *core.DirectoryEntry) { e.Kind = "" },
		"no id": func(e *core.DirectoryEntry) { e.ID = "" }, "a long id": func(e *core.DirectoryEntry) { e.ID += largest.ID }, "an id with NUL": func(e *core.DirectoryEntry) { e.ID = "a\x00" },
		"a long tenant": func(e *core.DirectoryEntry) { e.Tenant = strings.Repeat("t", 513) }, "a tenant that is no UTF-8": func(e *core.DirectoryEntry) { e.Tenant = "\xff" },
		"version 0": func(e *core.DirectoryEntry) { e.Version = 0 }, "version -1": func(e *core.DirectoryEntry) { e.Version = -1 },
		"a long author": func(e *core.DirectoryEntry) { e.Author = largest.Author + "a" }, "an author with NUL": func(e *core.DirectoryEntry) { e.Author = "\x00" },
		"a long reason": func(e *core.DirectoryEntry) { e.Reason = largest.Reason + "r" }, "a reason that is no UTF-8": func(e *core.DirectoryEntry) { e.Reason = "\xc3(" },
		"a large body": func(e *core.DirectoryEntry) { e.Body = make([]byte, core.MaxDirectoryBody+1) },
	} {
		e := DirectoryEntry(core.EntryPolicy, "dir bounds", "p", 1)
		change(e)
		wantCode(t, what, s.Commit(ctx, core.ChangeOf(core.SaveDirectoryEntry{Entry: e})), core.InvalidField)
	}
}

// A change that requires a version of an entry is stored as long as that version is the newest, and
// not after another one was stored, however they race.
func directoryFences(t *testing.T, s core.Store) {
	const rounds = 10
	name := core.DirectoryName{Kind: core.EntryJob, ID: "fenced"}
	fenced := func(version int64, at int) error {
		return s.Commit(ctx, core.ChangeOf(core.RequireEntry{Name: name, Version: version}, core.AppendEntry{Entry: &core.Entry{Tenant: "fenced", Time: int64(at), Body: []byte("x")}}))
	}
	if err := fenced(1, 1); core.CodeOf(err) != core.Conflict || !errors.Is(err, core.ErrFenced) {
		t.Errorf("version 1 of no entry: %v; want Conflict with ErrFenced", err)
	}
	var mu sync.Mutex
	stored := 0
	for version := int64(1); version < 2*rounds; version += 2 {
		saveEntries(t, s, DirectoryEntry(core.EntryJob, "", "fenced", version))
		mustSucceed(t, fenced(version, int(version)))
		stored++
		if err := fenced(version-1, 1); !errors.Is(err, core.ErrFenced) {
			t.Errorf("version %d when %d is the newest: %v; want ErrFenced", version-1, version, err)
		}
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				for range 5 {
					err := fenced(version, int(version))
					mu.Lock()
					if err == nil {
						stored++
					} else if !errors.Is(err, core.ErrFenced) {
						t.Error(err)
					}
					mu.Unlock()
				}
			})
		}
		all.Go(func() { saveEntries(t, s, DirectoryEntry(core.EntryJob, "", "fenced", version+1)) })
		all.Wait()
		if err := fenced(version, 1); !errors.Is(err, core.ErrFenced) {
			t.Errorf("version %d when there is a later one: %v; want ErrFenced", version, err)
		}
	}
	records, err := s.Records(ctx, core.RecordQuery{Tenant: "fenced"})
	mustSucceed(t, err)
	if len(records) != stored {
		t.Errorf("%d fenced changes were stored, with %d records", stored, len(records))
	}
}
