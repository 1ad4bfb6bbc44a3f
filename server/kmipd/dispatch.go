package kmipd

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/engine"
	"github.com/keyreeve/keyreeve/kmip"
)

// handler answers the batch's current item; what it returns as an error is
// recorded already.
type handler func(b *batch) error

// on pairs an operation's payloads with the engine's method at compile time.
func on[I, O any](op *kmip.Op[I, O], do func(*engine.Engine, context.Context, *core.Caller, *I) (O, error), after ...func(*batch, *I, *O)) handler {
	return func(b *batch) error {
		var in I
		if err := op.DecodeRequest(b.item.Payload, b.caller.Version, b.server.Lenient, &in); err != nil {
			return b.refuse(err)
		}
		if op.ID != nil {
			if err := b.resolve(op.ID(&in)); err != nil {
				return b.refuse(err)
			}
		}
		if b.caller.Version >= core.V2_0 {
			if err := b.resolveLinks(&in); err != nil {
				return b.refuse(err)
			}
		}
		out, err := do(b.server.Engine, b.ctx, &b.caller, &in)
		if err != nil {
			return err
		}
		if op.Made != nil {
			b.placeholder = op.Made(&out)
		}
		switch {
		case op.Told != nil:
			b.told = append(b.told, op.Told(&out)...)
		case op.Made != nil:
			b.told = append(b.told, b.placeholder)
		case op.ID != nil:
			b.told = append(b.told, op.ID(&in).Text)
		}
		for _, f := range after {
			f(b, &in, &out)
		}
		return kmip.Succeed(&b.resp, b.item.BatchID, op, &out)
	}
}

var operations map[core.Operation]handler

func init() {
	operations = map[core.Operation]handler{
		core.OperationDiscoverVersions: on(&kmip.DiscoverVersions, (*engine.Engine).DiscoverVersions),
		core.OperationQuery:            on(&kmip.Query, (*engine.Engine).Query),
		core.OperationCreate:           on(&kmip.Create, (*engine.Engine).Create),
		core.OperationCreateKeyPair:    on(&kmip.CreateKeyPair, (*engine.Engine).CreateKeyPair),
		core.OperationRegister:         on(&kmip.Register, (*engine.Engine).Register),
		core.OperationReKey:            on(&kmip.ReKey, (*engine.Engine).ReKey),
		core.OperationLocate:           on(&kmip.Locate, (*engine.Engine).Locate, locateEmpties),
		core.OperationCheck:            on(&kmip.Check, (*engine.Engine).Check),
		core.OperationGet:              getThenZero,
		core.OperationGetAttributes:    on(&kmip.GetAttributes, (*engine.Engine).GetAttributes, trim),
		core.OperationGetAttributeList: on(&kmip.GetAttributeList, (*engine.Engine).GetAttributeList),
		core.OperationAddAttribute:     on(&kmip.AddAttribute, (*engine.Engine).AddAttribute),
		core.OperationModifyAttribute:  on(&kmip.ModifyAttribute, (*engine.Engine).ModifyAttribute),
		core.OperationSetAttribute:     on(&kmip.SetAttribute, (*engine.Engine).SetAttribute),
		core.OperationDeleteAttribute:  on(&kmip.DeleteAttribute, (*engine.Engine).DeleteAttribute),
		core.OperationActivate:         on(&kmip.Activate, (*engine.Engine).Activate),
		core.OperationRevoke:           on(&kmip.Revoke, (*engine.Engine).Revoke),
		core.OperationDestroy:          on(&kmip.Destroy, (*engine.Engine).Destroy),
		core.OperationEncrypt:          on(&kmip.Encrypt, (*engine.Engine).Encrypt),
		core.OperationDecrypt:          on(&kmip.Decrypt, (*engine.Engine).Decrypt),
		core.OperationSign:             on(&kmip.Sign, (*engine.Engine).Sign),
		core.OperationSignatureVerify:  on(&kmip.SignatureVerify, (*engine.Engine).SignatureVerify),
		core.OperationMAC:              on(&kmip.MAC, (*engine.Engine).MAC),
		core.OperationMACVerify:        on(&kmip.MACVerify, (*engine.Engine).MACVerify),
		core.OperationHash:             on(&kmip.Hash, (*engine.Engine).Hash),
		core.OperationRNGRetrieve:      on(&kmip.RNGRetrieve, (*engine.Engine).RNGRetrieve),
		core.OperationRNGSeed:          on(&kmip.RNGSeed, (*engine.Engine).RNGSeed),
	}
}

// getThenZero is Get, whose answer's key bytes are zeroed as soon as they are
// in the message; the message itself is zeroed when it has been written. Input
// and output have their room in the batch.
func getThenZero(b *batch) error {
	b.get, b.got = core.GetInput{}, core.GetOutput{}
	if err := kmip.Get.DecodeRequest(b.item.Payload, b.caller.Version, b.server.Lenient, &b.get); err != nil {
		return b.refuse(err)
	}
	if err := b.resolve(&b.get.ID); err != nil {
		return b.refuse(err)
	}
	var err error
	if b.got, err = b.server.Engine.Get(b.ctx, &b.caller, &b.get); err != nil {
		return err
	}
	defer b.got.Secret.Release()
	b.told = append(b.told, b.get.ID.Text)
	return kmip.Succeed(&b.resp, b.item.BatchID, &kmip.Get, &b.got)
}

// locateEmpties: more than one match, when the client did not bound the answer
// to one, empties the ID Placeholder; on does so already for none.
func locateEmpties(b *batch, in *core.LocateInput, out *core.LocateOutput) {
	if len(out.IDs) != 1 {
		b.placeholder = ""
	}
}

// trim leaves out of "all attributes" what the operator says that this client
// cannot read.
func trim(b *batch, in *core.GetAttributesInput, out *core.GetAttributesOutput) {
	drop := b.server.Compat[b.principal.ID]
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

// setsPlaceholder lists the operations that set the ID Placeholder.
var setsPlaceholder = map[core.Operation]bool{core.OperationCreate: true, core.OperationCreateKeyPair: true, core.OperationRegister: true,
	core.OperationReKey: true, core.OperationLocate: true, core.OperationCheck: true}

// operationOf tells which operation's answer a Unique Identifier enumeration of
// KMIP 2.x means (2.1 §11.58), and which of its identifiers: every one, or from 1
// on that one.
var operationOf = map[core.UniqueIdentifierEnum]struct {
	op  core.Operation
	nth int
}{
	core.UniqueCreate: {core.OperationCreate, 0}, core.UniqueCreateKeyPair: {core.OperationCreateKeyPair, 0},
	core.UniqueCreateKeyPairPrivateKey: {core.OperationCreateKeyPair, 1}, core.UniqueCreateKeyPairPublicKey: {core.OperationCreateKeyPair, 2},
	core.UniqueLocate: {core.OperationLocate, 0}, core.UniqueRegister: {core.OperationRegister, 0}, core.UniqueReKey: {core.OperationReKey, 0},
}
