package engine

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Locate asks for memory as its answer grows, once for each step, and no more when
// the answer is complete and only counted on.
func TestLocateAsksForRoom(t *testing.T) {
	w := newWorld(t)
	w.store.fill(w.alice, roomStep+40)
	for _, most := range []int32{-1, roomStep} {
		asked := 0
		asking := *w.alice
		asking.Room = func(bytes int) error { asked += bytes; return nil }
		out, err := w.Locate(ctx, &asking, &core.LocateInput{MaximumItems: most, OffsetItems: 1})
		if err != nil || len(out.IDs) < roomStep {
			t.Fatalf("%d identifiers, %v", len(out.IDs), err)
		}
		if asked != roomStep*locatedBytes {
			t.Errorf("Maximum Items %d: %d bytes were asked for, want %d", most, asked, roomStep*locatedBytes)
		}
		asking.Room = func(int) error { return core.Errorf(core.Busy, "there is none") }
		if _, err := w.Locate(ctx, &asking, &core.LocateInput{MaximumItems: most, OffsetItems: 1}); core.CodeOf(err) != core.Busy {
			t.Errorf("without memory Locate answers %v", err)
		}
	}
}
