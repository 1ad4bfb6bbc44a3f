package directory

import (
	"fmt"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// tokenEntry is a version of a token; body is nil for one that is deleted.
func tokenEntry(t *testing.T, tenant, id string, version int64, body *core.AccessToken) *core.DirectoryEntry {
	t.Helper()
	e := &core.DirectoryEntry{Kind: core.EntryToken, Tenant: tenant, ID: id, Version: version, At: 1_700_000_000, Author: tenant + "/alice", Deleted: body == nil}
	if body != nil {
		var err error
		if e.Body, err = core.EncodeBody(body); err != nil {
			t.Fatal(err)
		}
	}
	return e
}

func tokenOf(principal string, expires int64) *core.AccessToken {
	return &core.AccessToken{SecretHash: make([]byte, 32), Principal: principal, Issued: 1_700_000_000, Expires: expires}
}

func (s *site) nodeWithTokens() (*Directory, *Tokens) {
	s.t.Helper()
	d := s.unopened()
	tokens := NewTokens(d)
	if err := d.Open(ctx); err != nil {
		s.t.Fatal(err)
	}
	return d, tokens
}

// A token is found by its ID alone, counted and listed for its tenant and its principal, and
// is gone on another node as soon as that has read that it was revoked.
func TestTokensAreFoundByTheirID(t *testing.T) {
	s := newSite(t, true)
	one, of := s.nodeWithTokens()
	two, there := s.nodeWithTokens()
	const end = 1_700_000_900
	s.save(one, tokenEntry(t, "alpha", "a", 1, tokenOf("alice", end)), tokenEntry(t, "alpha", "b", 1, tokenOf("alice", end+100)), tokenEntry(t, "alpha", "c", 1, tokenOf("bob", end)), tokenEntry(t, "beta", "d", 1, tokenOf("alice", end)))
	s.read(two)
	for id, tenant := range map[string]string{"a": "alpha", "c": "alpha", "d": "beta"} {
		got, version, err := there.Find(id)
		if body, berr := there.Token(tenant, id); got != tenant || version != 1 || err != nil || berr != nil || body.Expires != end {
			t.Errorf("token %s: %s, version %d, %v, %+v, %v; want tenant %s", id, got, version, err, body, berr, tenant)
		}
	}
	for now, want := range map[int64]string{end - 1: "2 3 [a b] [b c]", end: "1 1 [b] [b]", end + 100: "0 0 [] []"} {
		mine, all := of.Count("alpha", "alice", now)
		if got := fmt.Sprint(mine.Living, all.Living, of.IDs("alpha", "alice", "", now, 10), of.IDs("alpha", "", "a", now, 10)); got != want {
			t.Errorf("at %d: %s; want %s", now, got, want)
		}
	}
	if page := of.IDs("alpha", "", "", end-1, 2); fmt.Sprint(page) != "[a b]" {
		t.Errorf("a page of two has %v", page)
	}
	s.save(one, tokenEntry(t, "alpha", "a", 2, nil))
	s.read(two)
	for where, tokens := range map[string]*Tokens{"this node": of, "another node": there, "a new node": second(s.nodeWithTokens())} {
		if _, _, err := tokens.Find("a"); core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("a revoked token on %s: %v; want ItemNotFound", where, err)
		}
		mine, all := tokens.Count("alpha", "alice", end-1)
		if mine.Living != 1 || all.Living != 2 || all.Kept != 3 {
			t.Errorf("on %s alice has %+v tokens and the tenant %+v after one was revoked; want 1 of 2 that live, and 3 that are kept", where, mine, all)
		}
	}
	if _, _, err := of.Find("nothing"); core.CodeOf(err) != core.ItemNotFound {
		t.Errorf("an unknown token: %v; want ItemNotFound", err)
	}
}

func second(_ *Directory, t *Tokens) *Tokens { return t }

// Tokens can be pruned when they have expired, and revoked ones when they would have, or, on a
// node that has started since, when the longest life is over: until then an older version that
// someone puts back would give rights.
func TestEndedTokens(t *testing.T) {
	s := newSite(t, true)
	d, tokens := s.nodeWithTokens()
	const end, longest = 1_700_000_900, 1_700_000_000 + 12*3600
	s.save(d, tokenEntry(t, "alpha", "a", 1, tokenOf("alice", end)), tokenEntry(t, "alpha", "b", 1, tokenOf("alice", end)), tokenEntry(t, "alpha", "b", 2, nil))
	_, later := s.nodeWithTokens()
	for now, want := range map[int64][2]int{end - 1: {0, 0}, end: {2, 1}, longest - 1: {2, 1}, longest: {2, 2}} {
		if got, there := tokens.Ended(now, 10), later.Ended(now, 10); len(got) != want[0] || len(there) != want[1] {
			t.Errorf("at %d %v can be pruned, and %v by a node that has started later; want %v", now, got, there, want)
		}
	}
	if got := tokens.Ended(longest, 1); len(got) != 1 {
		t.Errorf("%v can be pruned at once; want 1", got)
	}
	for _, name := range tokens.Ended(longest, 10) {
		if !tokens.IsStored(name) {
			t.Errorf("%v is not stored before it is pruned", name)
		}
		if err := d.Commit(ctx, core.ChangeOf(core.PruneDirectoryEntry{Name: name})); err != nil {
			t.Fatal(err)
		}
		if tokens.IsStored(name) {
			t.Errorf("%v is still stored after it was pruned", name)
		}
		tokens.Forget(name)
	}
	if got := tokens.Ended(longest, 10); len(got) != 0 {
		t.Errorf("%v can be pruned again", got)
	}
}

// If the directory may have missed a revocation, no token is found, and none is called unknown.
func TestTokensOfAStaleDirectory(t *testing.T) {
	s := newSite(t, true)
	d, tokens := s.nodeWithTokens()
	s.save(d, tokenEntry(t, "alpha", "a", 1, tokenOf("alice", 1_700_000_900)))
	s.clock.mono.Add((core.SnapshotLeaseMS + 1) * 1000)
	for _, id := range []string{"a", "nothing"} {
		if _, _, err := tokens.Find(id); core.CodeOf(err) != core.StoreUnavailable {
			t.Errorf("token %s in a stale directory: %v; want StoreUnavailable", id, err)
		}
	}
}
