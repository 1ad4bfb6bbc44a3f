package message

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine/objects"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
	"github.com/keyreeve/keyreeve/server/origin"
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
		c.door.origin.Memory = origin.MessageMemory{Count: func(n int) {
			if bytes == 0 { // later ones are of the answer
				bytes = n
			}
		}}
		defer func() { c.door.origin.Memory = origin.MessageMemory{} }()
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
	c.door.origin.Memory = origin.MessageMemory{FreeBytes: bounds.FreeBytes, Reserve: func(_ context.Context, bytes int) error {
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
	origin    origin.Origin
	hsm       *messagetest.Exchange
}

// newDoor returns a door and the request of a Get.
func newDoor(t testing.TB, wrapStore func(core.Store) core.Store, j core.Journal) (*door, []byte) {
	w := messagetest.New(t, wrapStore, j)
	return doorOf(w), w.Get
}

func doorOf(w messagetest.World) *door {
	return &door{New(VerbsOf(w.Engine), Settings{Log: slog.New(slog.DiscardHandler)}), origin.Origin{Door: core.DoorKMIP, Address: "127.0.0.1", Principal: w.Principal}, w.HSM}
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
	unrecorded := func(s core.Store) core.Store { return unwritten{s} }
	for what, c := range map[string]struct {
		made  func(testing.TB, func(core.Store) core.Store, core.Journal) (*door, []byte)
		store func(core.Store) core.Store
		j     core.Journal
		most  float64
	}{
		"codec, lookup and checks": {newDoor, unrecorded, unsealed{}, 0},
		"with the record":          {newDoor, messagetest.SameStore, audit.New("n"), 10},
		"with a password":          {withPassword, unrecorded, unsealed{}, 3}, // the list of credentials, the name, the context of the user
	} {
		d, msg := c.made(t, c.store, c.j)
		buf := make([]byte, 0, 4096)
		ctx := core.OnBehalfOf(open, d.origin.Principal) // as a connection does it, once
		d.once(t, ctx, msg, buf)
		if got := testing.AllocsPerRun(500, func() { d.once(t, ctx, msg, buf) }); got > c.most {
			t.Errorf("%s: %.1f allocations, at most %.0f", what, got, c.most)
		}
	}
}

// BenchmarkGet has the cost of a Get with and without its record, by certificate and by
// password.
func BenchmarkGet(b *testing.B) {
	unrecorded := func(s core.Store) core.Store { return unwritten{s} }
	for what, made := range map[string]func(b *testing.B) (*door, []byte){
		"unrecorded":         func(b *testing.B) (*door, []byte) { return newDoor(b, unrecorded, unsealed{}) },
		"recorded":           func(b *testing.B) (*door, []byte) { return newDoor(b, messagetest.SameStore, audit.New("n")) },
		"password":           func(b *testing.B) (*door, []byte) { return withPassword(b, unrecorded, unsealed{}) },
		"password, recorded": func(b *testing.B) (*door, []byte) { return withPassword(b, messagetest.SameStore, audit.New("n")) },
	} {
		b.Run(what, func(b *testing.B) {
			d, msg := made(b)
			benchmark(b, d, msg)
		})
	}
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

func vendors(n int, value core.Value) (as core.Attributes) {
	for i := range n {
		as = append(as, core.Attribute{Vendor: "x", Name: fmt.Sprintf("n%d", i), Value: value})
	}
	return as
}

func names(n int) (as core.Attributes) {
	for i := range n {
		as = append(as, kmiptest.Name(fmt.Sprintf("name %d", i)))
	}
	return as
}

func repeated(n int, i kmip.ClientItem) (out []kmip.ClientItem) {
	for range n {
		out = append(out, i)
	}
	return out
}

// A message that holds as much as every bound allows, in each list there is, takes
// not much more work from its first byte to its answer than a plain message of as
// many operations and bytes. Those that hold more are refused at once.
func TestFullMessagesAreCheap(t *testing.T) {
	if core.Poison {
		t.Skip("the race detector makes work of its own; run this test without -race")
	}
	c := newClient(t, core.V1_4)
	rich := do(c, &kmip.Create, *kmiptest.AESKey(256, core.MaskEncrypt, vendors(200, core.Int(1))...))
	work := func(what string, items []kmip.ClientItem) time.Duration {
		msg, err := kmip.AppendRequest(nil, c.v, kmip.RequestOptions{ErrorOption: core.BatchErrorContinuationOptionContinue}, items...)
		if err != nil {
			t.Fatal(err)
		}
		if len(msg) > kmip.MaxMessageBytes {
			t.Fatalf("%s has %d bytes", what, len(msg))
		}
		least := time.Hour
		for range 3 {
			began := coretest.ProcessorTime(t)
			c.door.answer(context.Background(), msg, nil)
			least = min(least, coretest.ProcessorTime(t)-began)
		}
		return least
	}
	text := core.Attribute{Vendor: "x", Name: "Text", Value: core.Text(strings.Repeat("a", 15<<10))}
	plain := work("plain", repeated(64, kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, text))))
	create := func(as core.Attributes) kmip.ClientItem {
		return kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, as...))
	}
	ask := func(id string, n int) kmip.ClientItem {
		in := operation.GetAttributesInput{ID: core.ID(id)}
		for _, a := range vendors(n, core.Int(1)) {
			in.Names = append(in.Names, a.Ref())
		}
		return kmiptest.Item(&kmip.GetAttributes, &in)
	}
	same := vendors(25_000, core.Int(1))
	for i := range same {
		same[i].Name = "n"
	}
	locate := func(n int) kmip.ClientItem {
		return kmiptest.Item(&kmip.Locate, &operation.LocateInput{MaximumItems: -1, Attributes: vendors(n, core.Int(1))})
	}
	few := work("Locate", repeated(64, locate(4))) // as many as clients send
	for _, c := range []struct {
		what  string
		plain time.Duration
		items []kmip.ClientItem
	}{
		{"filters", few, repeated(64, locate(kmip.MaxLocateFilters))}, // first: others make objects
		{"attributes", plain, repeated(25, create(vendors(200, core.Int(1))))},
		{"one attribute", plain, repeated(25, create(same[:200]))},
		{"names", plain, repeated(25, create(names(120)))},
		{"names asked for", plain, repeated(60, ask(rich.ID, 256))},
		{"attributes to no end", plain, []kmip.ClientItem{create(vendors(15_000, core.Int(1)))}},
		{"one attribute to no end", plain, []kmip.ClientItem{create(same[:12_000])}},
		{"attributes, a batch of", plain, repeated(60, create(vendors(256, core.Int(1))))},
		{"names to no end", plain, []kmip.ClientItem{create(names(5_000))}},
		{"names asked for to no end", plain, []kmip.ClientItem{ask(rich.ID, 30_000)}},
		{"filters to no end", few, []kmip.ClientItem{locate(10_000)}},
		{"attributes in a Key Value", plain, []kmip.ClientItem{kmiptest.Item(&kmip.Register, &operation.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey,
			Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: make([]byte, 16), Attributes: same[:12_000]}}})}},
	} {
		took := work(c.what, c.items)
		t.Logf("%s: %.2f of a plain message", c.what, float64(took)/float64(c.plain))
		if took > 8*c.plain {
			t.Errorf("%s: %v of work, a plain message %v", c.what, took, c.plain)
		}
	}
}

// instantHSM encrypts in no time.
type instantHSM struct{ core.HSM }

func (instantHSM) Encrypt(_ context.Context, _ core.Key, c *core.Cipher) (core.Ciphered, error) {
	return core.Ciphered{Data: c.Data, IV: body, Tag: body, ExecutedIn: "memory"}, nil
}

// BenchmarkEncrypt has the cost of an Encrypt in GCM with an IV of the server, without the
// cipher itself and without the record. The count of such encryptions is a part of it.
func BenchmarkEncrypt(b *testing.B) {
	w := messagetest.New(b, func(s core.Store) core.Store { return unwritten{s} }, unsealed{})
	w.HSM.HSM = instantHSM{w.HSM.HSM}
	key := kmiptest.AESKey(256, core.MaskEncrypt, core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)})
	made, err := objects.New(w.Engine).Create(context.Background(), &core.Caller{Principal: w.Principal, Door: core.DoorKMIP, Version: core.V1_4}, key)
	if err != nil {
		b.Fatal(err)
	}
	msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, kmiptest.Item(&kmip.Encrypt, &operation.EncryptInput{ID: core.ID(made.ID),
		Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}, Data: make([]byte, 1024)}))
	if err != nil {
		b.Fatal(err)
	}
	benchmark(b, doorOf(w), msg)
}
