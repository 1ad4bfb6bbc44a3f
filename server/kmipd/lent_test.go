package kmipd

import (
	"context"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// keeper is a journal that keeps a text of a record without copying it.
type keeper struct{ kept *string }

func (k keeper) Seal(r *core.Record) core.Entry {
	*k.kept = r.RequestID
	return core.Entry{Tenant: "default", Time: 1, Body: body}
}

// Whoever keeps what a batch or a connection lends sees the pattern afterwards,
// where there is one, and nothing of the next message: a test that plants such a
// fault finds it.
func TestLentMemoryIsRetired(t *testing.T) {
	var kept string
	c, msg := door(t, func(s core.Store) core.Store { return s }, keeper{&kept})
	out, _ := c.respond(context.Background(), msg, nil, nil)
	want := strings.Repeat("\x00", len(kept))
	if core.Poison {
		want = strings.Repeat(string(rune(core.PoisonByte)), len(kept))
	}
	if len(out) == 0 || kept == "" || kept != want {
		t.Errorf("the request id of a batch that is over is %q; want %q", kept, want)
	}
	b := buffers.Get().(*[]byte)
	*b = append((*b)[:0], "a message"...)
	alias := *b
	putBuffer(b)
	if got := string(alias); got != strings.Repeat(want[:1], len(got)) {
		t.Errorf("a buffer that was put back holds %q", got)
	}
	if next := buffers.Get().(*[]byte); core.Poison && next == b {
		t.Error("a buffer that holds the pattern is used again")
	}
}
