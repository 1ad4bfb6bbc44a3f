package message

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/engine"
	"github.com/keyreeve/keyreeve/kmip"
)

// binding ties an operation's row to the engine's method. What answer returns as
// an error is recorded already.
type binding struct {
	row    *kmip.Row
	answer func(b *batch) error
}

var operations = map[core.Operation]binding{}

// bindOperation adds the binding of an operation; the compiler checks that the method takes
// and returns what the payloads hold. adjust may change the answer before it is
// written.
func bindOperation[I, O any](op *kmip.Operation[I, O], do func(*engine.Engine, context.Context, *core.Caller, *I) (O, error), adjust ...func(*batch, *I, *O)) {
	operations[op.Code] = binding{&op.Row, func(b *batch) error { return answer(b, op, do, new(I), new(O), adjust...) }}
}

// answer decodes the request of the batch's current item, lets the engine do it
// and appends the answer. in and out are where both have their room.
func answer[I, O any](b *batch, op *kmip.Operation[I, O], do func(*engine.Engine, context.Context, *core.Caller, *I) (O, error), in *I, out *O, adjust ...func(*batch, *I, *O)) error {
	if err := decode(b, op, in); err != nil {
		return b.refuse(err)
	}
	var err error
	if *out, err = do(b.processor.Engine, b.ctx, &b.caller, in); err != nil {
		return err
	}
	if op.Placeholder == kmip.SetsPlaceholder {
		b.placeholder = op.NextPlaceholder(out)
	}
	b.answeredIDs = op.AnsweredIDs(b.answeredIDs, in, out)
	for _, f := range adjust {
		f(b, in, out)
	}
	return kmip.Succeed(&b.response, b.item.BatchID, op, out)
}

// decode reads a request payload and resolves its references into the batch.
func decode[I, O any](b *batch, op *kmip.Operation[I, O], in *I) error {
	if err := op.DecodeRequest(b.item.Payload, b.caller.Version, b.processor.Lenient, in); err != nil {
		return err
	}
	if id := op.Target(in); id != nil {
		if err := b.resolveIdentifier(id); err != nil {
			return err
		}
	}
	if b.caller.Version < core.V2_0 {
		return nil
	}
	return b.resolveLinks(op.Links(in))
}

func init() {
	bindOperation(&kmip.DiscoverVersions, (*engine.Engine).DiscoverVersions)
	bindOperation(&kmip.Query, (*engine.Engine).Query, listOperations)
	bindOperation(&kmip.Create, (*engine.Engine).Create)
	bindOperation(&kmip.CreateKeyPair, (*engine.Engine).CreateKeyPair)
	bindOperation(&kmip.Register, (*engine.Engine).Register)
	bindOperation(&kmip.ReKey, (*engine.Engine).ReKey)
	bindOperation(&kmip.Locate, (*engine.Engine).Locate)
	bindOperation(&kmip.Check, (*engine.Engine).Check)
	operations[core.OperationGet] = binding{&kmip.Get.Row, answerGet}
	bindOperation(&kmip.GetAttributes, (*engine.Engine).GetAttributes, omitAttributes)
	bindOperation(&kmip.GetAttributeList, (*engine.Engine).GetAttributeList)
	bindOperation(&kmip.AddAttribute, (*engine.Engine).AddAttribute)
	bindOperation(&kmip.ModifyAttribute, (*engine.Engine).ModifyAttribute)
	bindOperation(&kmip.SetAttribute, (*engine.Engine).SetAttribute)
	bindOperation(&kmip.DeleteAttribute, (*engine.Engine).DeleteAttribute)
	bindOperation(&kmip.Activate, (*engine.Engine).Activate)
	bindOperation(&kmip.Revoke, (*engine.Engine).Revoke)
	bindOperation(&kmip.Destroy, (*engine.Engine).Destroy)
	bindOperation(&kmip.Encrypt, (*engine.Engine).Encrypt)
	bindOperation(&kmip.Decrypt, (*engine.Engine).Decrypt)
	bindOperation(&kmip.Sign, (*engine.Engine).Sign)
	bindOperation(&kmip.SignatureVerify, (*engine.Engine).SignatureVerify)
	bindOperation(&kmip.MAC, (*engine.Engine).MAC)
	bindOperation(&kmip.MACVerify, (*engine.Engine).MACVerify)
	bindOperation(&kmip.Hash, (*engine.Engine).Hash)
	bindOperation(&kmip.RNGRetrieve, (*engine.Engine).RNGRetrieve)
	bindOperation(&kmip.RNGSeed, (*engine.Engine).RNGSeed)
}

// answerGet answers Get. Input and output have their room in the batch. The key
// bytes are zeroed as soon as they are in the message, which is zeroed when it has
// been written.
func answerGet(b *batch) error {
	b.getInput, b.getOutput = core.GetInput{}, core.GetOutput{}
	defer func() { b.getOutput.Secret.Release() }()
	return answer(b, &kmip.Get, (*engine.Engine).Get, &b.getInput, &b.getOutput)
}

// listOperations adds the operations that the client's version has to the answer of
// Query.
func listOperations(b *batch, in *core.QueryInput, out *core.QueryOutput) {
	if !slices.Contains(in.Functions, core.QueryFunctionQueryOperations) {
		return
	}
	for _, row := range kmip.Operations() {
		if row.In(b.caller.Version) {
			out.Operations = append(out.Operations, row.Code)
		}
	}
}

// omitAttributes removes from "all attributes" those that this client cannot read
// by the server's settings.
func omitAttributes(b *batch, in *core.GetAttributesInput, out *core.GetAttributesOutput) {
	drop := b.processor.Omit[b.origin.Principal.ID]
	if len(in.Names) > 0 || drop == nil {
		return
	}
	kept := out.Attributes[:0]
	for _, a := range out.Attributes {
		if !drop[a.Tag] {
			kept = append(kept, a)
		}
	}
	out.Attributes = kept
}
