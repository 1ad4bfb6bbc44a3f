package message

import (
	"context"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
)

// keeper is a journal that keeps a text of a record without copying it.
type keeper struct{ kept *string }

func (k keeper) Seal(r *core.Record) core.Entry {
	*k.kept = r.RequestID
	return core.Entry{Tenant: "default", Time: 1, Body: body}
}

// Anyone who keeps what a batch lends sees the pattern afterwards, if there is
// one, and nothing of the next message. A test that plants such a fault finds it.
func TestLentBatchIsRetired(t *testing.T) {
	var kept string
	d, msg := newDoor(t, messagetest.SameStore, keeper{&kept})
	out := d.answer(context.Background(), msg, nil)
	want := strings.Repeat("\x00", len(kept))
	if core.Poison {
		want = strings.Repeat(string(rune(core.PoisonByte)), len(kept))
	}
	if len(out) == 0 || kept == "" || kept != want {
		t.Errorf("the request ID of a batch that is over is %q; want %q", kept, want)
	}
}
