package message

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
)

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
		in := core.GetAttributesInput{ID: core.ID(id)}
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
		return kmiptest.Item(&kmip.Locate, &core.LocateInput{MaximumItems: -1, Attributes: vendors(n, core.Int(1))})
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
		{"attributes in a Key Value", plain, []kmip.ClientItem{kmiptest.Item(&kmip.Register, &core.RegisterInput{ObjectType: core.ObjectTypeSymmetricKey,
			Object: core.ObjectBody{Type: core.ObjectTypeSymmetricKey, KeyBlock: core.KeyBlock{Format: core.KeyFormatTypeRaw, Material: make([]byte, 16), Attributes: same[:12_000]}}})}},
	} {
		took := work(c.what, c.items)
		t.Logf("%s: %.2f of a plain message", c.what, float64(took)/float64(c.plain))
		if took > 8*c.plain {
			t.Errorf("%s: %v of work, a plain message %v", c.what, took, c.plain)
		}
	}
}
