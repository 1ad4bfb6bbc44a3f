package message

import (
	"bytes"
	"context"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
)

// client talks to a processor without a connection.
type client struct {
	t    *testing.T
	door *door
	v    core.Version
	kmip.RequestOptions
}

func newClient(t *testing.T, v core.Version) *client {
	d, _ := newDoor(t, messagetest.SameStore, audit.New("n"))
	return &client{t: t, door: d, v: v}
}

func (c *client) send(items ...kmip.ClientItem) ([]byte, []kmip.ResponseItem) {
	c.t.Helper()
	msg, err := kmip.AppendRequest(nil, c.v, c.RequestOptions, items...)
	if err != nil {
		c.t.Fatal(err)
	}
	out := c.door.answer(context.Background(), msg, nil)
	r, err := kmip.ParseResponse(out)
	if err != nil {
		c.t.Fatal(err)
	}
	return out, r.Items
}

func do[I, O any](c *client, op *kmip.Operation[I, O], in I) (out O) {
	c.t.Helper()
	saved := c.RequestOptions
	c.RequestOptions = kmip.RequestOptions{}
	_, items := c.send(kmiptest.Item(op, &in))
	c.RequestOptions = saved
	if items[0].Status != core.StatusSuccess {
		c.t.Fatalf("%v: %v: %s", op.Code, items[0].Reason, items[0].Message)
	}
	if err := op.DecodeResponse(items[0].Payload, c.v, &out); err != nil {
		c.t.Fatal(err)
	}
	return out
}

var large = core.Attribute{Vendor: "x", Name: "Large", Value: core.Text(strings.Repeat("a", 2000))}

// everything asks for all attributes of the ID Placeholder's object.
func everything() kmip.ClientItem {
	return kmiptest.Item(&kmip.GetAttributes, &operation.GetAttributesInput{})
}

// References into the batch (KMIP 2.1 §4.58, §11.58) count the identifiers of the
// answer; items whose answer was too large have none.
func TestReferencesBehindATooLargeAnswer(t *testing.T) {
	c := newClient(t, core.V2_1)
	other := do(c, &kmip.Create, *kmiptest.AESKey(256, core.MaskEncrypt, large))
	tooLarge := kmiptest.Item(&kmip.GetAttributes, &operation.GetAttributesInput{ID: core.ID(other.ID)})
	check := func(id core.Identifier) kmip.ClientItem {
		return kmiptest.Item(&kmip.Check, &operation.CheckInput{ID: id})
	}
	c.MaximumResponseSize, c.ErrorOption = 1500, core.BatchErrorContinuationOptionContinue
	last := int32(-1)
	_, items := c.send(kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt)), tooLarge, tooLarge, check(core.Identifier{Nth: new(int32)}), check(core.Identifier{Nth: &last}), check(core.Identifier{Enum: core.UniqueCreate}))
	if len(items) != 6 || items[0].Status != core.StatusSuccess || items[1].Reason != core.ReasonResponseTooLarge {
		t.Fatalf("%+v", items)
	}
	var made operation.CreateOutput
	if err := kmip.Create.DecodeResponse(items[0].Payload, c.v, &made); err != nil {
		t.Fatal(err)
	}
	for _, i := range items[3:] {
		var out operation.CheckOutput
		if i.Status != core.StatusSuccess || kmip.Check.DecodeResponse(i.Payload, c.v, &out) != nil || out.ID != made.ID {
			t.Errorf("Check answers %v %s for %s; want %s", i.Reason, i.Message, out.ID, made.ID)
		}
	}
}

// A change whose answer does not fit is not made: the batch item's id, which is
// echoed, and the attribute that 1.x echoes count as part of the answer.
func TestNothingIsChangedForATooLargeAnswer(t *testing.T) {
	c := newClient(t, core.V1_4)
	made := do(c, &kmip.Create, *kmiptest.AESKey(256, core.MaskEncrypt))
	has := func() bool {
		return len(do(c, &kmip.GetAttributes, operation.GetAttributesInput{ID: core.ID(made.ID), Names: []core.AttributeName{large.Ref()}}).Attributes) > 0
	}
	c.MaximumResponseSize = 1000
	refused := func(what string, i kmip.ClientItem) {
		t.Helper()
		out, items := c.send(i)
		if items[0].Reason != core.ReasonResponseTooLarge || len(out) > 1000 {
			t.Errorf("%s: %d bytes, %v: %s; want ResponseTooLarge", what, len(out), items[0].Reason, items[0].Message)
		}
	}

	create := kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
	create.BatchID = make([]byte, 900)
	refused("Create with a long Unique Batch Item ID", create)
	if n := len(do(c, &kmip.Locate, operation.LocateInput{MaximumItems: -1}).IDs); n != 2 { // newDoor made one
		t.Errorf("%d objects are there, want 2", n)
	}

	add := operation.AddAttributeInput{ID: core.ID(made.ID), Attribute: large}
	refused("Add Attribute", kmiptest.Item(&kmip.AddAttribute, &add))
	if has() {
		t.Error("the attribute was added all the same")
	}
	do(c, &kmip.AddAttribute, add)
	refused("Delete Attribute", kmiptest.Item(&kmip.DeleteAttribute, &operation.DeleteAttributeInput{ID: core.ID(made.ID), Name: large.Ref()}))
	if !has() {
		t.Error("the attribute was deleted all the same")
	}
}

// Answers that only say no keep to Maximum Response Size too: when not even
// those fit, one item without Operation says so, and nothing more is done.
func TestErrorsKeepTheSize(t *testing.T) {
	c := newClient(t, core.V1_4)
	c.MaximumResponseSize, c.ErrorOption = 1500, core.BatchErrorContinuationOptionContinue
	var items []kmip.ClientItem
	for range 60 {
		items = append(items, kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID("nothing")}))
	}
	out, got := c.send(items...)
	if last := got[len(got)-1]; len(out) > 1500+200 || last.Operation != 0 || last.Reason != core.ReasonResponseTooLarge {
		t.Errorf("%d bytes, %d items, the last %+v", len(out), len(got), last)
	}
	single := kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID("nothing")})
	single.BatchID = make([]byte, kmip.MaxBatchIDBytes)
	if out, got := c.send(single); len(out) > 1500 || got[0].Reason != core.ReasonResponseTooLarge {
		t.Errorf("one item with a long id is answered with %d bytes and %v", len(out), got[0].Reason)
	}
}

// Undo takes a batch back whose last answer is too large, and says so of each
// item that was undone (KMIP 1.2 §6.13).
func TestUndoOfATooLargeAnswer(t *testing.T) {
	c := newClient(t, core.V1_4)
	c.MaximumResponseSize, c.ErrorOption = 1000, core.BatchErrorContinuationOptionUndo
	_, items := c.send(kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt, large)), everything())
	if len(items) != 2 || items[0].Status != core.StatusOperationUndone || items[0].Payload == nil || items[1].Reason != core.ReasonResponseTooLarge {
		t.Errorf("%+v", items)
	}
	if n := len(do(c, &kmip.Locate, operation.LocateInput{MaximumItems: -1}).IDs); n != 1 {
		t.Errorf("%d objects are there, want the one that was there before", n)
	}
}

// The ID Placeholder is empty at the start of each message, whatever message
// the same room served before, and after a failure of what sets it.
func TestPlaceholderIsOfOneMessage(t *testing.T) {
	c := newClient(t, core.V1_4)
	c.ErrorOption = core.BatchErrorContinuationOptionContinue
	create := kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
	noMask := kmiptest.Item(&kmip.Create, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey})
	get := kmiptest.Item(&kmip.Get, &operation.GetInput{})
	if _, items := c.send(create, get); items[1].Status != core.StatusSuccess {
		t.Fatalf("%+v", items)
	}
	for range 20 {
		if _, items := c.send(get); items[0].Status == core.StatusSuccess {
			t.Fatal("a Get without id got the object of an earlier message")
		}
	}
	if _, items := c.send(create, noMask, get); items[1].Status == core.StatusSuccess || items[2].Status == core.StatusSuccess {
		t.Errorf("behind a Create that failed: %+v", items)
	}
}

// What does not come to the engine is answered with its operation and id.
func TestUnknownOperationIsEchoed(t *testing.T) {
	c := newClient(t, core.V1_0)
	c.ErrorOption = core.BatchErrorContinuationOptionContinue
	unknown := kmip.ClientItem{Operation: 0x8000_0001, BatchID: []byte("u"), Payload: func(dst []byte, _ core.Version) ([]byte, error) { return dst, nil }}
	later := kmiptest.Item(&kmip.Encrypt, &operation.EncryptInput{Data: []byte("d")}) // not in 1.0
	_, items := c.send(unknown, later)
	for i, want := range []core.Operation{0x8000_0001, core.OperationEncrypt} {
		if items[i].Operation != want || items[i].Reason != core.ReasonOperationNotSupported {
			t.Errorf("%+v", items[i])
		}
	}
	if !bytes.Equal(items[0].BatchID, []byte("u")) {
		t.Error("the id is not echoed")
	}
}

// KMIP 1.4 §11.1, 2.1 §8.6: the answers of what was undone are returned, with their
// payloads; the failure alone has none.
func TestUndoneItemsKeepTheirPayload(t *testing.T) {
	for _, v := range core.Versions {
		c := newClient(t, v)
		c.ErrorOption = core.BatchErrorContinuationOptionUndo
		_, items := c.send(kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt)), kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID("nothing")}))
		if len(items) != 2 || items[0].Status != core.StatusOperationUndone || items[1].Status != core.StatusOperationFailed || items[1].Payload != nil {
			t.Fatalf("KMIP %v: %+v", v, items)
		}
		var out operation.CreateOutput
		if err := kmip.Create.DecodeResponse(items[0].Payload, v, &out); err != nil || out.ID == "" || out.ObjectType != core.ObjectTypeSymmetricKey {
			t.Errorf("KMIP %v: the undone Create answers %+v, %v", v, out, err)
		}
	}
}

// A Link that is changed or deleted may refer into the batch, in the value that it
// has as in the value that it gets (KMIP 2.1 §4.31).
func TestLinksReferIntoTheBatch(t *testing.T) {
	c := newClient(t, core.V2_1)
	link := func(to core.Value) core.Attribute {
		return core.Attribute{Tag: core.TagLink, Value: core.Structure(
			core.Field{Tag: core.TagLinkType, Value: core.Enum(core.LinkTypeParentLink)},
			core.Field{Tag: core.TagLinkedObjectIdentifier, Value: to})}
	}
	other := do(c, &kmip.Create, *kmiptest.AESKey(256, core.MaskEncrypt))
	create := kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
	first, second := core.Int(0), core.Enum(core.UniqueCreate)
	value := func(a core.Attribute) *core.Value { return &a.Value }
	name := core.AttributeName{Tag: core.TagLink}
	_, items := c.send(create,
		kmiptest.Item(&kmip.AddAttribute, &operation.AddAttributeInput{Attribute: link(first)}),
		kmiptest.Item(&kmip.ModifyAttribute, &operation.ModifyAttributeInput{Name: name, CurrentValue: value(link(second)), New: link(core.Text(other.ID))}),
		kmiptest.Item(&kmip.ModifyAttribute, &operation.ModifyAttributeInput{Name: name, CurrentValue: value(link(core.Text(other.ID))), New: link(second)}),
		kmiptest.Item(&kmip.DeleteAttribute, &operation.DeleteAttributeInput{Name: name, CurrentValue: value(link(first))}))
	if len(items) != 5 {
		t.Errorf("%d items are answered, want 5", len(items))
	}
	for _, i := range items {
		if i.Status != core.StatusSuccess {
			t.Errorf("%v: %v: %s", i.Operation, i.Reason, i.Message)
		}
	}
}

// Items of a batch are not begun after the client has gone, and those before
// are taken back if the client asked for that.
func TestBatchEndsWithItsClient(t *testing.T) {
	for _, option := range []core.BatchErrorContinuationOption{core.BatchErrorContinuationOptionStop, core.BatchErrorContinuationOptionContinue, core.BatchErrorContinuationOptionUndo} {
		d, _ := newDoor(t, messagetest.SameStore, audit.New("n"))
		create := kmiptest.Item(&kmip.Create, kmiptest.AESKey(256, core.MaskEncrypt))
		msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{ErrorOption: option}, create, create, create)
		if err != nil {
			t.Fatal(err)
		}
		ctx, leave := context.WithCancel(context.Background())
		made := 0
		d.hsm.HSM = leaving{leave: leave, made: &made}
		out := d.answer(ctx, msg, nil)
		r, err := kmip.ParseResponse(out)
		if err != nil {
			t.Fatal(err)
		}
		last := r.Items[len(r.Items)-1]
		if made != 1 || len(r.Items) != 2 || last.Status != core.StatusOperationFailed {
			t.Errorf("%v: %d keys were made; the answer is %+v", option, made, r.Items)
		}
		want := core.StatusSuccess
		if option == core.BatchErrorContinuationOptionUndo {
			want = core.StatusOperationUndone
		}
		if r.Items[0].Status != want {
			t.Errorf("%v: the first item is %v, want %v", option, r.Items[0].Status, want)
		}
	}
}

// leaving is an HSM whose client goes away with the first key made.
type leaving struct {
	messagetest.HSM
	leave func()
	made  *int
}

func (h leaving) Generate(ctx context.Context, k core.Key, s core.KeySpec) (core.Material, core.KeyFacts, error) {
	h.leave()
	*h.made++
	h.Key = make([]byte, 32)
	return h.HSM.Generate(ctx, k, s)
}

// echoing is an HSM that answers Encrypt with the data.
type echoing struct{ core.HSM }

func (echoing) Encrypt(_ context.Context, _ core.Key, c *core.Cipher) (core.Ciphered, error) {
	return core.Ciphered{Data: append([]byte(nil), c.Data...), ExecutedIn: "token"}, nil
}

// A later part of a stream names no object: its answer does, and later items of the
// batch may refer to it.
func TestReferenceToALaterPart(t *testing.T) {
	d, _ := newDoor(t, messagetest.SameStore, audit.New("n"))
	c := &client{t: t, door: d, v: core.V2_1}
	made := do(c, &kmip.Create, *kmiptest.AESKey(256, core.MaskEncrypt, core.Attribute{Tag: core.TagActivationDate, Value: core.Date(1)}))
	d.hsm.HSM = echoing{d.hsm.HSM}
	yes := true
	p := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeECB}
	first := do(c, &kmip.Encrypt, operation.EncryptInput{ID: core.ID(made.ID), Parameters: p, Data: make([]byte, 16), Init: &yes})
	last := int32(-1)
	_, items := c.send(
		kmiptest.Item(&kmip.Encrypt, &operation.EncryptInput{Correlation: first.Correlation, Data: make([]byte, 16), Final: &yes}),
		kmiptest.Item(&kmip.GetAttributeList, &operation.GetAttributeListInput{ID: core.Identifier{Nth: &last}}))
	for i, it := range items {
		if it.Status != core.StatusSuccess {
			t.Errorf("item %d: %v %v %q", i, it.Status, it.Reason, it.Message)
		}
	}
}
