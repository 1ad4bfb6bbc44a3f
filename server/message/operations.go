package message

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
)

// binding ties an operation's row to the engine's verb. What answer returns as
// an error is recorded already.
type binding struct {
	row    *kmip.Row
	answer func(b *batch) error
}

// bindOperation adds the binding of an operation; the compiler checks that the method takes
// and returns what the payloads hold. adjust may change the answer before it is
// written.
func bindOperation[I, O any](p *Processor, op *kmip.Operation[I, O], do func(context.Context, *core.Caller, *I) (O, error), adjust ...func(*batch, *I, *O)) {
	p.operations[op.Code] = binding{&op.Row, func(b *batch) error { return answer(b, op, do, new(I), new(O), adjust...) }}
}

// answer decodes the request of the batch's current item, has the verb do it
// and appends the answer. in and out are where both have their room.
func answer[I, O any](b *batch, op *kmip.Operation[I, O], do func(context.Context, *core.Caller, *I) (O, error), in *I, out *O, adjust ...func(*batch, *I, *O)) error {
	if err := decode(b, op, in); err != nil {
		return b.refuse(err)
	}
	var err error
	if *out, err = do(b.ctx, &b.caller, in); err != nil {
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
	if err := b.resolveSources(op.Code, op.Sources(in)); err != nil {
		return err
	}
	if b.caller.Version < core.V2_0 {
		return nil
	}
	return b.resolveLinks(op.Links(in))
}

// bindOperations binds every operation that has a row.
func (p *Processor) bindOperations(v *Verbs) {
	bindOperation(p, &kmip.DiscoverVersions, v.About.DiscoverVersions)
	bindOperation(p, &kmip.Query, v.About.Query, listOperations)
	bindOperation(p, &kmip.Create, v.Objects.Create)
	bindOperation(p, &kmip.CreateKeyPair, v.Objects.CreateKeyPair)
	bindOperation(p, &kmip.Register, v.Objects.Register)
	bindOperation(p, &kmip.DeriveKey, v.Objects.DeriveKey)
	bindOperation(p, &kmip.ReKey, v.Objects.ReKey)
	bindOperation(p, &kmip.ReKeyKeyPair, v.Objects.ReKeyKeyPair)
	bindOperation(p, &kmip.Locate, v.Attributes.Locate)
	bindOperation(p, &kmip.Check, v.Uses.Check)
	get := v.Objects.Get
	p.operations[core.OperationGet] = binding{&kmip.Get.Row, func(b *batch) error { return answerGet(b, get) }}
	bindOperation(p, &kmip.GetAttributes, v.Attributes.GetAttributes, omitAttributes)
	bindOperation(p, &kmip.GetAttributeList, v.Attributes.GetAttributeList)
	bindOperation(p, &kmip.AddAttribute, v.Attributes.AddAttribute)
	bindOperation(p, &kmip.ModifyAttribute, v.Attributes.ModifyAttribute)
	bindOperation(p, &kmip.SetAttribute, v.Attributes.SetAttribute)
	bindOperation(p, &kmip.DeleteAttribute, v.Attributes.DeleteAttribute)
	bindOperation(p, &kmip.Activate, v.Objects.Activate)
	bindOperation(p, &kmip.Revoke, v.Objects.Revoke)
	bindOperation(p, &kmip.Destroy, v.Objects.Destroy)
	bindOperation(p, &kmip.Archive, v.Objects.Archive)
	bindOperation(p, &kmip.Recover, v.Objects.Recover)
	bindOperation(p, &kmip.Encrypt, v.Uses.Encrypt)
	bindOperation(p, &kmip.Decrypt, v.Uses.Decrypt)
	bindOperation(p, &kmip.Sign, v.Uses.Sign)
	bindOperation(p, &kmip.SignatureVerify, v.Uses.SignatureVerify)
	bindOperation(p, &kmip.MAC, v.Uses.MAC)
	bindOperation(p, &kmip.MACVerify, v.Uses.MACVerify)
	bindOperation(p, &kmip.Hash, v.Uses.Hash)
	bindOperation(p, &kmip.RNGRetrieve, v.Uses.RNGRetrieve)
	bindOperation(p, &kmip.RNGSeed, v.Uses.RNGSeed)
}

// answerGet answers Get. Input and output have their room in the batch. The key
// bytes are zeroed as soon as they are in the message, which is zeroed when it has
// been written.
func answerGet(b *batch, get func(context.Context, *core.Caller, *operation.GetInput) (operation.GetOutput, error)) error {
	b.getInput, b.getOutput = operation.GetInput{}, operation.GetOutput{}
	defer func() { b.getOutput.Secret.Release() }()
	return answer(b, &kmip.Get, get, &b.getInput, &b.getOutput)
}

// listOperations adds the operations that the client's version has to the answer of
// Query.
func listOperations(b *batch, in *operation.QueryInput, out *operation.QueryOutput) {
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
func omitAttributes(b *batch, in *operation.GetAttributesInput, out *operation.GetAttributesOutput) {
	drop := b.processor.Omit[b.caller.Principal.ID]
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
