package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// What Locate asks for: memory for so many identifiers, of so many bytes each.
const (
	locatedStep  = 512
	locatedBytes = 64
)

// Locate asks for memory as its answer grows, once for each step, and no more when
// the answer is complete and only counted on.
func TestLocateAsksForRoom(t *testing.T) {
	w := newWorld(t)
	w.store.fill(w.alice, locatedStep+40)
	for _, most := range []int32{-1, locatedStep} {
		asked := 0
		asking := *w.alice
		asking.Room = func(bytes int) error { asked += bytes; return nil }
		out, err := w.Locate(ctx, &asking, &core.LocateInput{MaximumItems: most, OffsetItems: 1})
		if err != nil || len(out.IDs) < locatedStep {
			t.Fatalf("%d identifiers, %v", len(out.IDs), err)
		}
		if asked != locatedStep*locatedBytes {
			t.Errorf("Maximum Items %d: %d bytes were asked for, want %d", most, asked, locatedStep*locatedBytes)
		}
		asking.Room = func(int) error { return core.Errorf(core.Busy, "there is none") }
		if _, err := w.Locate(ctx, &asking, &core.LocateInput{MaximumItems: most, OffsetItems: 1}); core.CodeOf(err) != core.Busy {
			t.Errorf("without memory Locate answers %v", err)
		}
	}
}
