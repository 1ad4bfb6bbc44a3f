package directory

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

func (s *site) nodeWithCodes() *UsedCodes {
	s.t.Helper()
	d := s.unopened()
	codes := NewUsedCodes(d)
	if err := d.Open(ctx); err != nil {
		s.t.Fatal(err)
	}
	return codes
}

// A code is used once, whichever node is asked, also one that has not read of it yet and one that
// starts later. Codes of others and of other times are not used by it. After its time it is pruned.
func TestCodeIsUsedOnceOnAllNodes(t *testing.T) {
	s := newSite(t, true)
	one := s.nodeWithCodes()
	two := s.nodeWithCodes()
	use := func(what string, codes *UsedCodes, tenant, user string, step int64, want bool) {
		t.Helper()
		if first, err := codes.UseCode(ctx, tenant, user, step); first != want || err != nil {
			t.Errorf("%s: first is %v, %v; want %v", what, first, err, want)
		}
	}
	use("the first time", one, "t", "alice", 7, true)
	use("again on the node", one, "t", "alice", 7, false)
	use("on another node", two, "t", "alice", 7, false)
	three := s.nodeWithCodes()
	use("on a node that has started since", three, "t", "alice", 7, false)
	use("another step", two, "t", "alice", 8, true)
	use("another user", two, "t", "bob", 7, true)
	use("another tenant", two, "u", "alice", 7, true)
	now := s.clock.Now()
	if early, late := one.Ended(now+usedCodeLifetime-1, 10), one.Ended(now+usedCodeLifetime, 10); len(early) != 0 || len(late) != 1 {
		t.Errorf("before its time %v have ended, and then %v; want none, and the one of this node", early, late)
	}
	s.clock.mono.Add(core.SnapshotLeaseMS*1000 + 1)
	s.store.down.Store(true)
	if first, err := one.UseCode(ctx, "t", "alice", 9); first || core.CodeOf(err) != core.StoreUnavailable {
		t.Errorf("on a node whose directory is stale: %v, %v; want StoreUnavailable", first, err)
	}
}

// A node that has seen the use of a code refuses the code although its row is gone: after it was used
// there, on another node, or before a restart. A node that has not seen it accepts it.
func TestUsedCodeIsKnownWithoutItsRow(t *testing.T) {
	s := newSite(t, true)
	user, reader := s.nodeWithCodes(), s.nodeWithCodes()
	const step = 7
	if first, err := user.UseCode(ctx, "t", "alice", step); !first || err != nil {
		t.Fatalf("the first use: %v, %v", first, err)
	}
	s.read(reader.directory)
	restarted := s.nodeWithCodes()
	s.attack("DELETE FROM directory_entry")
	for what, node := range map[string]*UsedCodes{"the node where it was used": user, "a node that has read of it": reader, "a node that has started since": restarted} {
		s.compare(node.directory) // it notices that the row is gone
		if first, err := node.UseCode(ctx, "t", "alice", step); first || err != nil {
			t.Errorf("%s, without the row: first is %v, %v; want a refusal", what, first, err)
		}
	}
	if first, err := s.nodeWithCodes().UseCode(ctx, "t", "alice", step); !first || err != nil {
		t.Errorf("a node that cannot know it: first is %v, %v; docs/authentication.md says that it accepts the code", first, err)
	}
}
