package admin

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// A tenant has a bounded number of entries and bytes, which every node has in memory.
func TestRoomOfATenant(t *testing.T) {
	ch := &change{kind: core.EntryPolicy, tenant: "t", id: "p", body: make([]byte, 100)}
	for what, c := range map[string]struct {
		entries, bytes int
		code           core.Code
	}{
		"room for both":   {maxTenantEntries - 1, maxTenantBytes - 100, 0},
		"no more entries": {maxTenantEntries, 0, core.QuotaExceeded},
		"no more bytes":   {0, maxTenantBytes - 99, core.QuotaExceeded},
	} {
		if err := roomBeside(ch, c.entries, c.bytes); (err != nil) != (c.code != 0) || err != nil && core.CodeOf(err) != c.code {
			t.Errorf("%s: %v; want %v", what, err, c.code)
		}
	}
	for what, ch := range map[string]*change{"a deletion": {kind: core.EntryPolicy, deleted: true}, "a token": {kind: core.EntryToken}} {
		if err := new(entries).checkRoom(ch); err != nil {
			t.Errorf("%s: %v; it must not need room", what, err)
		}
	}
}
