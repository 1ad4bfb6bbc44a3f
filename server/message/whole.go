package message

import (
	"bytes"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip"
)

// answerMessage appends the answer to the message that was parsed to buf. err says
// why it could not be read.
func (b *batch) answerMessage(err error, buf []byte) []byte {
	b.setCaller()
	if err == nil {
		b.origin.Memory.CountBytes(b.request.Decoded) // without waiting, because the message holds memory already
	}
	b.caller.Version = b.answerVersion()
	b.limit = kmip.MaxMessageBytes * 4
	correlation := b.correlation()
	var answered []kmip.RequestItem
	if err == nil {
		if err = b.checkMessage(); core.CodeOf(err) != core.InvalidMessage {
			answered = b.request.Items
		}
	}
	var proof []byte
	if err == nil {
		proof = b.serverHash() // a refusal does not tell whether the hash was right
	}
	b.response.BeginProved(buf, b.caller.Version, time.Now().Unix(), correlation, proof)
	if err != nil {
		b.answerWhole(b.recordRefused(err), answered)
		return b.response.End()
	}
	b.answerItems()
	return b.response.End()
}

// answerVersion returns the client's version if the server speaks it, otherwise
// the highest of its major version, otherwise 1.0, which every client reads.
func (b *batch) answerVersion() core.Version {
	v := b.request.Header.Version
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

// correlation returns the Server Correlation Value. Only clients of 1.4 and later
// that sent a value of their own get one: others do not know the field, and some
// break on it.
func (b *batch) correlation() string {
	if b.request.Header.ClientCorrelation == "" {
		return ""
	}
	b.caller.ClientRef = printable(b.request.Header.ClientCorrelation)
	if b.request.Header.Version < core.V1_4 {
		return ""
	}
	return b.caller.RequestID
}

// checkMessage returns an error if the message as a whole must be refused.
func (b *batch) checkMessage() error {
	if b.origin.Refusal != nil {
		return b.origin.Refusal
	}
	h := &b.request.Header
	if h.MaximumResponseSize != nil {
		if *h.MaximumResponseSize < 0 {
			return core.Errorf(core.InvalidField, "Maximum Response Size is negative")
		}
		b.limit = min(b.limit, int(*h.MaximumResponseSize))
	}
	if h.AsynchronousMandatory {
		return core.Errorf(core.FeatureNotSupported, "the server answers synchronously; it does not support Asynchronous Indicator Mandatory")
	}
	if err := b.identifySender(); err != nil {
		return err
	}
	return b.checkItems()
}

// checkItems returns an error if an item alone makes the whole message wrong.
func (b *batch) checkItems() error {
	for i := range b.request.Items {
		it := &b.request.Items[i]
		if it.Critical {
			return core.Errorf(core.UnknownMessageExtension, "a Message Extension is marked critical, and the server supports none")
		}
		for j := range i {
			if it.BatchID != nil && bytes.Equal(it.BatchID, b.request.Items[j].BatchID) {
				return core.Errorf(core.InvalidMessage, "two batch items have the same Unique Batch Item ID")
			}
		}
	}
	return nil
}

// answerWhole answers a message of which nothing is done. Each item is answered with
// its Operation (KMIP 1.4 Table 285, 2.1 §8.6). If there are none, because the
// message cannot be read or breaks the rules, one item without Operation answers.
func (b *batch) answerWhole(err error, items []kmip.RequestItem) {
	reason, text := b.reasonAndText(0, err)
	b.noteFailure(0, operationOf(items), err, reason, text)
	start, count := b.response.Mark()
	for i := range items {
		b.response.Failure(items[i].Operation, items[i].BatchID, core.StatusOperationFailed, reason, text)
	}
	if len(items) == 0 || b.response.Size() > b.limit {
		b.response.Truncate(start, count)
		b.response.Failure(0, nil, core.StatusOperationFailed, reason, text)
	}
}
