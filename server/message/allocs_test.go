package message

import (
	"context"
	"log/slog"
	"testing"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
)

// unwritten leaves out the record of a use: what is left is codec, lookup,
// policy and checks.
type unwritten struct{ core.Store }

func (s unwritten) Commit(ctx context.Context, c *core.Change) error {
	for _, w := range c.Writes {
		if _, record := w.(core.AppendEntry); !record {
			return s.Store.Commit(ctx, c)
		}
	}
	return nil
}

type unsealed struct{ core.Journal }

var body = []byte("x")

func (unsealed) Seal(*core.Record) core.Entry {
	return core.Entry{Tenant: "default", Time: 1, Body: body}
}

// door drives a processor as a door does, without a connection.
type door struct {
	processor *Processor
	origin    core.Origin
	hsm       *messagetest.Exchange
}

// newDoor returns a door and the request of a Get.
func newDoor(t testing.TB, wrapStore func(core.Store) core.Store, j core.Journal) (*door, []byte) {
	w := messagetest.New(t, wrapStore, j)
	return &door{New(VerbsOf(w.Engine), Settings{Log: slog.New(slog.DiscardHandler)}), core.Origin{Door: core.DoorKMIP, Address: "127.0.0.1", Principal: w.Principal}, w.HSM}, w.Get
}

func (d *door) answer(ctx context.Context, msg, buf []byte) []byte {
	return d.processor.Answer(ctx, &d.origin, msg, buf)
}

// open is a context that can be cancelled, as a connection's is.
var open, _ = context.WithCancel(context.Background())

func (d *door) once(t testing.TB, ctx context.Context, msg, buf []byte) {
	if out := d.answer(ctx, msg, buf[:0]); len(out) < 250 {
		t.Fatalf("the answer is %x", out)
	}
}

// A Get of a key in memory allocates nothing beside TLS and the record, whose way
// through database/sql takes ten; with several callers they share most of them.
func TestGetAllocates(t *testing.T) {
	if core.Poison {
		t.Skip("nothing that was lent is used again in this build: run this without -race and without the tag poison")
	}
	for what, c := range map[string]struct {
		store func(core.Store) core.Store
		j     core.Journal
		most  float64
	}{
		"codec, lookup and checks": {func(s core.Store) core.Store { return unwritten{s} }, unsealed{}, 0},
		"with the record":          {messagetest.SameStore, audit.New("n"), 10},
	} {
		d, msg := newDoor(t, c.store, c.j)
		buf := make([]byte, 0, 4096)
		ctx := core.OnBehalfOf(open, d.origin.Principal) // as a connection does it, once
		d.once(t, ctx, msg, buf)
		if got := testing.AllocsPerRun(500, func() { d.once(t, ctx, msg, buf) }); got > c.most {
			t.Errorf("%s: %.1f allocations, at most %.0f", what, got, c.most)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	d, msg := newDoor(b, func(s core.Store) core.Store { return unwritten{s} }, unsealed{})
	benchmark(b, d, msg)
}

func BenchmarkGetRecorded(b *testing.B) {
	d, msg := newDoor(b, messagetest.SameStore, audit.New("n"))
	benchmark(b, d, msg)
}

func benchmark(b *testing.B, d *door, msg []byte) {
	buf := make([]byte, 0, 4096)
	ctx := core.OnBehalfOf(open, d.origin.Principal)
	b.ReportAllocs()
	for b.Loop() {
		d.once(b, ctx, msg, buf)
	}
}
