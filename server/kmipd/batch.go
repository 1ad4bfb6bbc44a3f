package kmipd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"runtime/debug"
	"sync"
	"time"
	"unsafe"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/server/bounds"
)

// batch is one request message being answered (KMIP 1.4 §4, §6, §7; 2.1 §6, §9).
type batch struct {
	*conn
	ctx    context.Context
	caller core.Caller
	req    kmip.Request
	resp   kmip.Response

	placeholder string   // the ID Placeholder
	told        []string // the Unique Identifiers that are in the answer so far, for KMIP 2.x references
	ends        []int    // where those of each item end
	limit       int      // Maximum Response Size in bytes
	item        *kmip.RequestItem
	counted     int             // bytes of the answer that are reserved
	roomFor     func(int) error // the method room, made once

	get core.GetInput
	got core.GetOutput
	id  [16]byte // the request id's text
}

// keptRoom bounds the identifiers whose room is kept for other messages.
const keptRoom = 1024

var batches = sync.Pool{New: func() any {
	b := new(batch)
	b.roomFor = b.answerRoom
	return b
}}

// respond appends the answer to a message to buf.
func (c *conn) respond(ctx context.Context, msg []byte, err error, buf []byte) ([]byte, bool) {
	b := batches.Get().(*batch)
	b.conn, b.ctx = c, ctx
	out, keep := b.run(msg, err, buf)
	if !core.Retire(b.id[:]) {
		return out, keep
	}
	items, told := b.req.Items, b.told
	clear(items[:cap(items)])
	if cap(told) > keptRoom {
		told = nil
	}
	clear(told[:cap(told)])
	*b = batch{req: kmip.Request{Items: items[:0]}, told: told[:0], ends: b.ends[:0], roomFor: b.roomFor}
	batches.Put(b)
	return out, keep
}

// requestID makes an id for the records and the log. Its text lies in the batch
// and ends with it: whoever keeps it longer must copy it, as the record does.
func (b *batch) requestID() string {
	var raw [8]byte
	rand.Read(raw[:])
	hex.Encode(b.id[:], raw[:])
	return unsafe.String(&b.id[0], len(b.id))
}

// run answers a message into buf. keep is false when the connection must end
// because framing is lost.
func (b *batch) run(msg []byte, err error, buf []byte) (out []byte, keep bool) {
	b.caller = core.Caller{Principal: b.principal, Door: core.DoorKMIP, Address: b.peer, RequestID: b.requestID(), Room: b.roomFor}
	if err == nil {
		err = b.req.Parse(msg)
	}
	if err == nil {
		err = b.held.Reserve(b.ctx, b.req.Decoded)
	}
	v := b.answerVersion()
	b.caller.Version = v
	b.limit = kmip.MaxMessageBytes * 4
	b.resp.Begin(buf, v, time.Now().Unix(), b.correlation())
	var answered []kmip.RequestItem
	if err == nil {
		if err = b.refuseWhole(); core.CodeOf(err) != core.InvalidMessage {
			answered = b.req.Items
		}
	}
	if err != nil {
		b.whole(b.server.Engine.Refuse(b.ctx, &b.caller, core.ActionMessage, err), answered)
		return b.resp.End(), msg != nil
	}
	b.items()
	return b.resp.End(), true
}

// answerVersion is the client's version where it is spoken; else the highest of
// its major version, else 1.0, which every client reads.
func (b *batch) answerVersion() core.Version {
	v := b.req.Header.Version
	if kmip.Known(v) {
		return v
	}
	for _, known := range core.Versions {
		if known.Major() == v.Major() {
			return known
		}
	}
	return core.V1_0
}

// correlation is sent to clients of 1.4 and later that sent one of their own:
// others do not know the field, and some break on it.
func (b *batch) correlation() string {
	if b.req.Header.ClientCorrelation == "" {
		return ""
	}
	b.caller.ClientRef = printable(b.req.Header.ClientCorrelation)
	if b.req.Header.Version < core.V1_4 {
		return ""
	}
	return b.caller.RequestID
}

// refuseWhole finds what speaks against the message as a whole.
func (b *batch) refuseWhole() error {
	if b.refusal != nil {
		return b.refusal
	}
	h := &b.req.Header
	if h.MaximumResponseSize != nil {
		if *h.MaximumResponseSize < 0 {
			return core.Errorf(core.InvalidField, "Maximum Response Size is negative")
		}
		b.limit = min(b.limit, int(*h.MaximumResponseSize))
	}
	if h.AsynchronousMandatory {
		return core.Errorf(core.FeatureNotSupported, "operations are answered at once here; Asynchronous Indicator Mandatory cannot be met")
	}
	if err := b.credentials(); err != nil {
		return err
	}
	for i := range b.req.Items {
		it := &b.req.Items[i]
		if it.Critical {
			return core.Errorf(core.UnknownMessageExtension, "a Message Extension is marked critical and none is known here")
		}
		for j := range i {
			if it.BatchID != nil && bytes.Equal(it.BatchID, b.req.Items[j].BatchID) {
				return core.Errorf(core.InvalidMessage, "two batch items have the same Unique Batch Item ID")
			}
		}
	}
	return nil
}

// credentials takes credentials beside the certificate, which many products
// send, and gives them no rights: who asks is who the certificate names
// (docs/KMIP.md). They are noted in the record.
func (b *batch) credentials() error {
	for _, c := range b.req.Header.Credentials {
		if c.Username != "" || len(c.Password) > 0 || c.Value != nil {
			b.caller.ClientRef = printable(fmt.Sprintf("%s credential not verified: %s %s", b.caller.ClientRef, c.Type, c.Username))
		}
	}
	return nil
}

// whole answers a message of which nothing is done: each item with its Operation
// (KMIP 1.4 Table 285, 2.1 §8.6), or what cannot be read, or is no message by the
// rules, by one item without.
func (b *batch) whole(err error, items []kmip.RequestItem) {
	reason, text := b.reason(0, err)
	start, count := b.resp.Mark()
	for i := range items {
		b.resp.Failure(items[i].Operation, items[i].BatchID, core.StatusOperationFailed, reason, text)
	}
	if len(items) == 0 || b.resp.Size() > b.limit {
		b.resp.Truncate(start, count)
		b.resp.Failure(0, nil, core.StatusOperationFailed, reason, text)
	}
}

// items runs the batch: Stop is the default; Continue goes on; Undo takes back.
func (b *batch) items() {
	undo := b.req.Header.ErrorOption == core.BatchErrorContinuationOptionUndo
	if undo {
		b.caller.Undo = &core.Undo{}
	}
	start, count := b.resp.Mark()
	for i := range b.req.Items {
		b.item = &b.req.Items[i]
		b.conn.task.next(i, b.item.Operation)
		mark, n := b.resp.Mark()
		told := len(b.told)
		err := b.abandoned()
		if err == nil && i > 0 {
			err = b.conn.turn.Yield(b.ctx)
		}
		if err == nil {
			err = b.attempt()
		}
		if err != nil {
			b.told = b.told[:told]
		}
		b.ends = append(b.ends, len(b.told))
		b.count()
		if err == nil {
			continue
		}
		b.resp.Truncate(mark, n)
		full := b.failed(err, undo, i, start, count)
		if full || b.ctx.Err() != nil || b.req.Header.ErrorOption != core.BatchErrorContinuationOptionContinue {
			return
		}
	}
	if undo {
		b.server.Engine.Keep(b.ctx, b.caller.Undo)
	}
}

// answerRoom reserves memory for so many bytes of an answer, as values and in the
// message. It is [core.Caller.Room].
func (b *batch) answerRoom(bytes int) error {
	err := b.held.Reserve(b.ctx, 2*bytes)
	if err == nil && 2*bytes > bounds.FreeBytes {
		b.counted += bytes
	}
	return err
}

// count counts what many small answers have made of the message.
func (b *batch) count() {
	if more := b.resp.Size() - b.counted; more > bounds.FreeBytes {
		b.held.Take(more)
		b.counted += more
	}
}

// abandoned refuses an item that would begin after the connection has ended.
func (b *batch) abandoned() error {
	if b.ctx.Err() == nil {
		return nil
	}
	return b.refuse(core.Errorf(core.Busy, "the connection ended before this item was begun; nothing was done"))
}

// attempt answers the current item. How large an attribute is that the answer
// shows is known only afterwards: the change is undone if it does not fit.
func (b *batch) attempt() error {
	row := kmip.RowOf(b.item.Operation)
	alone := row != nil && row.Change == kmip.ChangesAndShows && b.caller.Undo == nil
	if alone {
		b.caller.Undo = &core.Undo{}
		defer func() { b.caller.Undo = nil }()
	}
	err := b.guarded()
	if err != nil || b.resp.Size() <= b.limit {
		return err
	}
	if alone {
		if err := b.server.Engine.Undo(b.ctx, &b.caller, b.caller.Undo); err != nil {
			return err
		}
	}
	return core.Errorf(core.ResponseTooLarge, "the answer is larger than the Maximum Response Size of %d bytes", b.limit)
}

// failed answers item i with an error, and those before it with Operation
// Undone where that was asked for. When not even that fits, it says so without
// the item's operation and id, and the answer is full.
func (b *batch) failed(err error, undo bool, i, start, count int) (full bool) {
	if row := kmip.RowOf(b.item.Operation); row != nil && row.Placeholder != kmip.KeepsPlaceholder {
		b.placeholder = "" // so that a later item cannot hit an older object
	}
	reason, text := b.reason(b.item.Operation, err)
	if undo && len(b.caller.Undo.Steps) > 0 {
		if uerr := b.server.Engine.Undo(b.ctx, &b.caller, b.caller.Undo); uerr != nil {
			b.server.Log.Error("undo", "request", b.caller.RequestID, "error", uerr)
			text += "; the items before it could not be undone"
			undo = false
		}
	}
	if undo {
		b.resp.Undo(start)
	}
	mark, n := b.resp.Mark()
	b.resp.Failure(b.item.Operation, b.item.BatchID, core.StatusOperationFailed, reason, text)
	if full = b.resp.Size() > b.limit && (i > 0 || len(b.item.BatchID) > longID); full {
		b.resp.Truncate(mark, n)
		b.resp.Failure(0, nil, core.StatusOperationFailed, reasonOf(0, core.ResponseTooLarge, b.caller.Version), "the answer is larger than the Maximum Response Size")
	}
	return full
}

// smallestAnswer is what the answer of an operation that changes something
// takes, in bytes, with its item around it but without what is echoed.
const smallestAnswer = 320

// longID is a Unique Batch Item ID, in bytes, that no client needs: the first
// failure is answered with a shorter one even where it does not fit.
const longID = 64

// room is what the answer of the current item, which changes something, takes
// at most, in bytes: it must be there before the change is made.
func (b *batch) room(row *kmip.Row) int {
	n := smallestAnswer + len(b.item.BatchID)
	if b.caller.Version < core.V2_0 && row.Change == kmip.ChangesAndRepeats {
		n += len(b.item.Payload)
	}
	return n
}

// guarded runs one item; a panic in it is a General Failure of that item alone.
func (b *batch) guarded() (err error) {
	defer func() {
		if p := recover(); p != nil {
			b.server.Log.Error("operation", "operation", b.item.Operation, "request", b.caller.RequestID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
			if rerr := b.server.Engine.Refuse(b.ctx, &b.caller, core.ActionOf(b.item.Operation), err); rerr != nil {
				err = rerr
			}
		}
	}()
	op, ok := operations[b.item.Operation]
	if !ok || !op.row.In(b.caller.Version) {
		return b.refuse(core.Errorf(core.OperationNotSupported, "KMIP %v has no operation %v here", b.caller.Version, b.item.Operation))
	}
	if op.row.Change != kmip.ChangesNothing && b.resp.Size()+b.room(op.row) > b.limit {
		return b.refuse(core.Errorf(core.ResponseTooLarge, "the answer could be larger than the Maximum Response Size of %d bytes, so nothing was done", b.limit))
	}
	if b.item.Ephemeral {
		return b.refuse(core.Errorf(core.FeatureNotSupported, "Ephemeral items are not supported"))
	}
	return op.answer(b)
}

// refuse records an item that never reached the engine.
func (b *batch) refuse(err error) error {
	return b.server.Engine.Refuse(b.ctx, &b.caller, core.ActionOf(b.item.Operation), err)
}

// resolve turns a reference into the batch into a Unique Identifier.
func (b *batch) resolve(id *core.Identifier) (err error) {
	switch {
	case id.Text != "":
	case id.Nth != nil:
		id.Text, err = b.nth(int(*id.Nth))
	case id.Enum != 0 && id.Enum != core.UniqueIDPlaceholder:
		id.Text, err = b.byOperation(id.Enum)
	default:
		id.Text = b.placeholder
	}
	return err
}

// nth finds the nth Unique Identifier of the answer so far, from 0 on; negative
// ones count backwards from this item (KMIP 2.1 §4.58).
func (b *batch) nth(n int) (string, error) {
	at := n
	if n < 0 {
		at = len(b.told) + n
	}
	if at < 0 || at >= len(b.told) {
		return "", core.Errorf(core.InvalidField, "Unique Identifier %d refers into the answer, which has %d identifiers so far", n, len(b.told))
	}
	return b.told[at], nil
}

// byOperation finds what the last item of the operation that an enumeration
// names has answered. The standard repeats an operation for each of several
// identifiers; here there must be one.
func (b *batch) byOperation(e core.UniqueIdentifierEnum) (string, error) {
	want, ok := references[e]
	for i := len(b.ends) - 1; ok && i >= 0; i-- {
		start := 0
		if i > 0 {
			start = b.ends[i-1]
		}
		ids := b.told[start:b.ends[i]]
		switch {
		case b.req.Items[i].Operation != want.operation || len(ids) == 0:
		case want.which != kmip.EveryID:
			return ids[want.which-1], nil
		case len(ids) > 1:
			return "", core.Errorf(core.FeatureNotSupported, "%v stands for %d objects here; an operation is not repeated for several, so name each", e, len(ids))
		default:
			return ids[0], nil
		}
	}
	return "", core.Errorf(core.InvalidField, "no earlier item of the batch is %v", e)
}

// resolveLinks makes Linked Object Identifiers, which may be references likewise
// (KMIP 2.1 §4.31), Unique Identifiers. The values are the decoder's own, which
// nobody else has yet.
func (b *batch) resolveLinks(attributes core.Attributes) error {
	for _, a := range attributes {
		if a.Tag != core.TagLink {
			continue
		}
		for i := range a.Value.Fields {
			if f := &a.Value.Fields[i]; f.Tag == core.TagLinkedObjectIdentifier && f.Value.Kind != core.KindTextString {
				if err := b.resolveLink(&f.Value); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

func (b *batch) resolveLink(v *core.Value) error {
	id, n := core.Identifier{Enum: core.UniqueIdentifierEnum(v.Uint())}, int32(v.Num)
	if v.Kind == core.KindInteger {
		id = core.Identifier{Nth: &n}
	}
	if err := b.resolve(&id); err != nil {
		return err
	}
	if id.Text == "" {
		return core.Errorf(core.InvalidField, "a Linked Object Identifier is the ID Placeholder, which is empty")
	}
	*v = core.Text(id.Text)
	return nil
}
