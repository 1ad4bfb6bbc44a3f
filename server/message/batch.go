package message

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"sync"
	"time"
	"unsafe"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/server/exchanges"
	"github.com/keyreeve/keyreeve/server/origin"
)

// batch is one request message while it is answered (KMIP 1.4 §4, §6, §7; 2.1 §6, §9).
type batch struct {
	processor *Processor
	origin    *origin.Origin
	ctx       context.Context
	caller    core.Caller
	request   kmip.Request
	response  kmip.Response

	placeholder  string   // the ID Placeholder
	answeredIDs  []string // the Unique Identifiers that the answer holds so far, for references of 2.x
	answeredEnds []int    // where those of each item end
	limit        int      // Maximum Response Size in bytes
	item         *kmip.RequestItem
	loginRefused bool // the credentials of the header were refused
	began        time.Time
	refused      *exchanges.Exchange // what of the message was refused so far; nil: nothing
	countedBytes int                 // of the answer: those that are reserved
	room         func(int) error     // the method reserveAnswer, made once

	getInput  operation.GetInput
	getOutput operation.GetOutput
	id        [16]byte // the text of the request ID
}

// maxKeptIDs bounds the identifiers whose memory is kept for other messages.
const maxKeptIDs = 1024

var batches = sync.Pool{New: func() any {
	b := new(batch)
	b.room = b.reserveAnswer
	return b
}}

// borrow lends a batch until giveBack.
func (p *Processor) borrow(ctx context.Context, o *origin.Origin) *batch {
	b := batches.Get().(*batch)
	b.processor, b.origin, b.ctx, b.began = p, o, ctx, time.Now()
	return b
}

func (b *batch) giveBack() {
	if !core.Retire(b.id[:]) {
		return
	}
	items, ids := b.request.Items, b.answeredIDs
	clear(items[:cap(items)])
	if cap(ids) > maxKeptIDs {
		ids = nil
	}
	clear(ids[:cap(ids)])
	*b = batch{request: kmip.Request{Items: items[:0]}, answeredIDs: ids[:0], answeredEnds: b.answeredEnds[:0], room: b.room}
	batches.Put(b)
}

// setCaller names the caller to the engine.
func (b *batch) setCaller() {
	o := b.origin
	b.caller = core.Caller{Principal: o.Principal, Door: o.Door, Address: o.Address, RequestID: b.requestID(), Room: b.room}
}

// requestID returns a new ID for the records and the log. Its text lies in the
// batch and ends with it. Anyone who keeps it longer must copy it, as the record does.
func (b *batch) requestID() string {
	var raw [8]byte
	rand.Read(raw[:])
	hex.Encode(b.id[:], raw[:])
	return unsafe.String(&b.id[0], len(b.id))
}

// reserveAnswer reserves memory for so many bytes of an answer, as values and in the
// message. It is [core.Caller.Room].
func (b *batch) reserveAnswer(bytes int) error {
	err := b.origin.Memory.ReserveBytes(b.ctx, 2*bytes)
	if err == nil && 2*bytes > b.origin.Memory.FreeBytes {
		b.countedBytes += bytes
	}
	return err
}

// countAnswer counts what many small answers have made of the message.
func (b *batch) countAnswer() {
	if more := b.response.Size() - b.countedBytes; more > b.origin.Memory.FreeBytes {
		b.origin.Memory.CountBytes(more)
		b.countedBytes += more
	}
}

// refuse records an item that never reached the engine.
func (b *batch) refuse(err error) error {
	return b.processor.engine.RecordRefused(b.ctx, &b.caller, core.ActionOf(b.item.Operation), err)
}
