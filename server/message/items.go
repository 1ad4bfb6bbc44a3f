package message

import (
	"fmt"
	"runtime/debug"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/batchundo"
	"github.com/keyreeve/keyreeve/kmip"
)

// answerItems runs the batch. After a failure it stops, unless the option is
// Continue; the option Undo undoes the items before it.
func (b *batch) answerItems() {
	undo := b.request.Header.ErrorOption == core.BatchErrorContinuationOptionUndo
	if undo {
		b.caller.Undo = &core.Undo{}
	}
	start, count := b.response.Mark()
	for i := range b.request.Items {
		b.item = &b.request.Items[i]
		if b.origin.Begin != nil {
			b.origin.Begin(i, b.item.Operation)
		}
		mark, n := b.response.Mark()
		answered := len(b.answeredIDs)
		err := b.refuseIfEnded()
		if err == nil && i > 0 && b.origin.Yield != nil {
			err = b.origin.Yield(b.ctx)
		}
		if err == nil {
			err = b.answerItem()
		}
		if err != nil {
			b.answeredIDs = b.answeredIDs[:answered]
		}
		b.answeredEnds = append(b.answeredEnds, len(b.answeredIDs))
		b.countAnswer()
		if err == nil {
			continue
		}
		b.response.Truncate(mark, n)
		full := b.answerFailure(err, undo, i, start, count)
		if full || b.ctx.Err() != nil || b.request.Header.ErrorOption != core.BatchErrorContinuationOptionContinue {
			return
		}
	}
	if undo {
		batchundo.Finish(b.ctx, b.processor.engine, b.caller.Undo)
	}
}

// refuseIfEnded refuses an item that would begin after the connection has ended.
func (b *batch) refuseIfEnded() error {
	if b.ctx.Err() == nil {
		return nil
	}
	return b.refuse(core.Errorf(core.Busy, "the connection ended before this item began; nothing was done"))
}

// answerItem answers the current item. How large an attribute is that the answer
// shows is known only afterwards: the change is undone if it does not fit.
func (b *batch) answerItem() error {
	row := kmip.RowOf(b.item.Operation)
	alone := row != nil && row.Change == kmip.ChangesAndShows && b.caller.Undo == nil
	if alone {
		b.caller.Undo = &core.Undo{}
		defer func() { b.caller.Undo = nil }()
	}
	err := b.answerSafely()
	if err != nil || b.response.Size() <= b.limit {
		return err
	}
	if alone {
		if err := batchundo.Undo(b.ctx, b.processor.engine, &b.caller, b.caller.Undo); err != nil {
			return err
		}
	}
	return core.Errorf(core.ResponseTooLarge, "the answer is larger than the Maximum Response Size of %d bytes", b.limit)
}

// answerSafely runs one item; a panic in it is a General Failure of that item alone.
func (b *batch) answerSafely() (err error) {
	defer func() {
		if p := recover(); p != nil {
			b.processor.Log.Error("operation", "operation", b.item.Operation, "request", b.caller.RequestID, "panic", p, "stack", string(debug.Stack()))
			err = fmt.Errorf("panic: %v", p)
			if rerr := b.processor.engine.RecordRefused(b.ctx, &b.caller, core.ActionOf(b.item.Operation), err); rerr != nil {
				err = rerr
			}
		}
	}()
	op, ok := b.processor.operations[b.item.Operation]
	if !ok || !op.row.In(b.caller.Version) {
		return b.refuse(core.Errorf(core.OperationNotSupported, "the server has no operation %v in KMIP %v", b.item.Operation, b.caller.Version))
	}
	if op.row.Change != kmip.ChangesNothing && b.response.Size()+b.largestAnswer(op.row) > b.limit {
		return b.refuse(core.Errorf(core.ResponseTooLarge, "the answer could be larger than the Maximum Response Size of %d bytes, so nothing was done", b.limit))
	}
	if b.item.Ephemeral {
		return b.refuse(core.Errorf(core.FeatureNotSupported, "Ephemeral items are not supported"))
	}
	return op.answer(b)
}

// smallestAnswer is the size of the answer of an operation that changes something,
// in bytes, with its batch item but without what is echoed.
const smallestAnswer = 320

// longID is the length of a Unique Batch Item ID, in bytes, that no client needs.
// The first failure is answered with a shorter one even if it does not fit.
const longID = 64

// largestAnswer returns the largest size of the answer of the current item, in bytes,
// if the item changes something. It must fit before the change is made.
func (b *batch) largestAnswer(row *kmip.Row) int {
	n := smallestAnswer + len(b.item.BatchID)
	if b.caller.Version < core.V2_0 && row.Change == kmip.ChangesAndRepeats {
		n += len(b.item.Payload)
	}
	return n
}

// answerFailure answers item i with an error. With the option Undo it undoes the
// items before it and marks them as undone. If the answer does not fit, it says so
// without the item's operation and ID, and returns true: the answer is full.
func (b *batch) answerFailure(err error, undo bool, i, start, count int) (full bool) {
	if row := kmip.RowOf(b.item.Operation); row != nil && row.Placeholder != kmip.KeepsPlaceholder {
		b.placeholder = "" // so that a later item cannot hit an older object
	}
	reason, text := b.reasonAndText(b.item.Operation, err)
	b.noteFailure(i+1, b.item.Operation, err, reason, text)
	if undo && len(b.caller.Undo.Steps) > 0 {
		if uerr := batchundo.Undo(b.ctx, b.processor.engine, &b.caller, b.caller.Undo); uerr != nil {
			b.processor.Log.Error("undo", "request", b.caller.RequestID, "error", uerr)
			text += "; the items before it could not be undone"
			undo = false
		}
	}
	if undo {
		b.response.Undo(start)
	}
	mark, n := b.response.Mark()
	b.response.Failure(b.item.Operation, b.item.BatchID, core.StatusOperationFailed, reason, text)
	if full = b.response.Size() > b.limit && (i > 0 || len(b.item.BatchID) > longID); full {
		b.response.Truncate(mark, n)
		b.response.Failure(0, nil, core.StatusOperationFailed, reasonOf(0, core.ResponseTooLarge, b.caller.Version), "the answer is larger than the Maximum Response Size")
	}
	return full
}
