// Package message answers KMIP request messages: bytes and evidence in, bytes out.
//
// It decodes a message, holds it to the rules of messages and batches (KMIP 1.4
// §6 and §7, 2.1 §8 and §9), hands each batch item to the engine and appends the
// answer. It knows no connection, no TLS and no deadline and starts no goroutine,
// so that any door can drive it. What a door gives, it gives as a [origin.Origin].
// Start at [Processor.Answer].
package message

import (
	"context"
	"encoding/binary"
	"log/slog"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/about"
	"github.com/keyreeve/keyreeve/engine/attributes"
	"github.com/keyreeve/keyreeve/engine/objects"
	"github.com/keyreeve/keyreeve/engine/uses"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/server/exchanges"
	"github.com/keyreeve/keyreeve/server/origin"
)

// Verbs are what messages have done.
type Verbs struct {
	Engine     *engine.Engine
	Objects    *objects.Verbs
	Uses       *uses.Verbs
	Attributes *attributes.Verbs
	About      *about.Verbs
}

// VerbsOf returns the verbs of an engine. Doors that share them share their bounds.
func VerbsOf(e *engine.Engine) Verbs {
	return Verbs{e, objects.New(e), uses.New(e), attributes.New(e), about.New(e)}
}

// Settings are what an operator chooses.
type Settings struct {
	Log     *slog.Logger
	Lenient bool                   // ignore unknown fields of requests
	Omit    map[string]core.TagSet // by principal: attributes left out if all are asked for
	Keep    *exchanges.Keeper      // keeps what was refused; nil: nobody does
}

// Processor answers messages. It is safe for concurrent use.
type Processor struct {
	Settings
	engine     *engine.Engine
	operations map[core.Operation]binding
}

// New returns a Processor.
func New(v Verbs, s Settings) *Processor {
	p := &Processor{Settings: s, engine: v.Engine, operations: map[core.Operation]binding{}}
	p.bindOperations(&v)
	return p
}

// Answer appends the answer to a message to buf. msg and what o holds are used
// until it returns and not longer.
func (p *Processor) Answer(ctx context.Context, o *origin.Origin, msg, buf []byte) []byte {
	b := p.borrow(ctx, o)
	out := b.answerMessage(b.request.Parse(msg), buf)
	b.keepRefused(msg)
	b.giveBack()
	return out
}

// AnswerUnread appends the answer to a message that the door could not read, or
// has no room or time for. err says why; it is recorded.
func (p *Processor) AnswerUnread(ctx context.Context, o *origin.Origin, err error, buf []byte) []byte {
	b := p.borrow(ctx, o)
	out := b.answerMessage(err, buf)
	b.keepRefused(nil)
	b.giveBack()
	return out
}

// AnswerRefused returns the answer to a message of a sender who was refused
// before, and recorded then. msg may be the beginning of a message.
func (p *Processor) AnswerRefused(ctx context.Context, o *origin.Origin, msg []byte) []byte {
	b := p.borrow(ctx, o)
	b.setCaller()
	b.limit = kmip.MaxMessageBytes
	if err := b.request.Parse(msg); err != nil {
		b.request.Header.Version, b.request.Items = p.VersionOf(msg), nil
	}
	b.caller.Version = b.answerVersion()
	b.response.Begin(nil, b.caller.Version, time.Now().Unix(), "")
	b.answerWhole(o.Refusal, b.request.Items)
	out := b.response.End()
	b.giveBack()
	return out
}

// AnswerLate returns the answer to an operation that has not ended after so long.
// It is recorded that its outcome is not known.
func (p *Processor) AnswerLate(ctx context.Context, o *origin.Origin, v core.Version, operation core.Operation, after time.Duration) []byte {
	b := p.borrow(ctx, o)
	b.setCaller()
	b.caller.Version = v
	err := p.engine.RecordUnfinished(ctx, &b.caller, core.ActionOf(operation), after)
	reason, text := b.reasonAndText(operation, err)
	b.began = b.began.Add(-after)
	b.noteFailure(0, operation, err, reason, text)
	b.keepRefused(nil)
	b.response.Begin(nil, v, time.Now().Unix(), "")
	b.response.Failure(operation, nil, core.StatusOperationFailed, reason, text)
	out := b.response.End()
	b.giveBack()
	return out
}

// Places of the two numbers of the Protocol Version, in bytes. It is the first
// field of the header, which is the first of the message.
const (
	majorAt = 32
	minorAt = 48
)

// VersionOf returns the version of a message that may not have been read as a
// whole. If there is none that the server speaks, it returns 1.0, which every
// client reads.
func (p *Processor) VersionOf(msg []byte) core.Version {
	if len(msg) < minorAt+4 {
		return core.V1_0
	}
	major, minor := binary.BigEndian.Uint32(msg[majorAt:]), binary.BigEndian.Uint32(msg[minorAt:])
	for _, v := range core.Versions {
		if uint32(v.Major()) == major && uint32(v.Minor()) == minor {
			return v
		}
	}
	return core.V1_0
}
