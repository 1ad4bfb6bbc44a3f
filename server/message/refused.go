package message

import (
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/server/exchanges"
)

// noteFailure notes what was refused, for [batch.keepRefused]. item counts from 1; 0 is the whole
// message.
func (b *batch) noteFailure(item int, operation core.Operation, err error, reason core.ResultReason, text string) {
	if b.processor.Keep == nil {
		return
	}
	if b.refused == nil {
		b.refused = new(exchanges.Exchange)
	}
	b.refused.Fail(exchanges.Failure{Item: item, Operation: operation, Code: core.CodeOf(err), Reason: reason, Text: text})
}

// keepRefused keeps the message if something of it was refused. A message that was done costs
// nothing.
func (b *batch) keepRefused(msg []byte) {
	e, certificate := b.refused, b.origin.Principal
	if e == nil || certificate == nil {
		return
	}
	e.Began, e.Ended = b.began, time.Now()
	e.Address, e.Fingerprint, e.Version, e.RequestID = b.origin.Address, certificate.Fingerprint, b.request.Header.Version, b.caller.RequestID
	if b.caller.Principal != certificate {
		e.Sender = b.caller.Principal.ID
	}
	b.processor.Keep.Keep(certificate.Tenant, certificate.ID, e, msg)
}

// operationOf returns the operation of a message of one item, 0 for others.
func operationOf(items []kmip.RequestItem) core.Operation {
	if len(items) == 1 {
		return items[0].Operation
	}
	return 0
}
