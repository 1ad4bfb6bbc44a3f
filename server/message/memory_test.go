package message

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
)

// What reading a message makes is counted, by its items and its texts. It is not waited
// for, because the message holds memory itself.
func TestReadingAMessageCountsMemory(t *testing.T) {
	c := newClient(t, core.V1_4)
	counted := func(attributes int) (bytes int) {
		msg, err := kmip.AppendRequest(nil, c.v, kmip.RequestOptions{}, kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, vendors(attributes, core.Text("a text of 22 characters"))...)))
		if err != nil {
			t.Fatal(err)
		}
		c.door.origin.Memory = core.MessageMemory{Count: func(n int) {
			if bytes == 0 { // later ones are of the answer
				bytes = n
			}
		}}
		defer func() { c.door.origin.Memory = core.MessageMemory{} }()
		c.door.answer(context.Background(), msg, nil)
		return bytes
	}
	few, many := counted(10), counted(110)
	if least := 100 * 3 * 100; few <= 0 || many-few < least {
		t.Errorf("messages with 10 and 110 attributes count %d and %d bytes; want at least %d more", few, many, least)
	}
}

// A refused client is told why, even if there is no memory.
func TestRefusalNeedsNoMemory(t *testing.T) {
	c := newClient(t, core.V1_4)
	msg, err := kmip.AppendRequest(nil, c.v, kmip.RequestOptions{}, kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, vendors(50, core.Text("a text of 22 characters"))...)))
	if err != nil {
		t.Fatal(err)
	}
	c.door.origin.Refusal = core.Errorf(core.AuthenticationNotSuccessful, "revoked")
	c.door.origin.Memory = core.MessageMemory{FreeBytes: bounds.FreeBytes, Reserve: func(_ context.Context, bytes int) error {
		if bytes > bounds.FreeBytes {
			return core.Errorf(core.Busy, "full")
		}
		return nil
	}}
	r, err := kmip.ParseResponse(c.door.answer(context.Background(), msg, nil))
	if err != nil || r.Items[0].Reason != core.ReasonAuthenticationNotSuccessful {
		t.Errorf("a revoked client was answered %v %q, %v", r.Items[0].Reason, r.Items[0].Message, err)
	}
}

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
