package objects

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// Rotate is [Verbs.ReKey] for a symmetric key and [Verbs.ReKeyKeyPair] for a private key, for a
// caller who need not know which of them it is. It is decided and recorded as that operation.
func (v *Verbs) Rotate(ctx context.Context, c *core.Caller, in *operation.RotateInput) (operation.RotateOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionReKey, in, rotate)
}

func rotate(k *engine.Call, in *operation.RotateInput) (out operation.RotateOutput, err error) {
	if o, err := engine.PeekKey(k, in.ID); err == nil && o.Type == core.ObjectTypePrivateKey { // an error is that of Re-key too
		k.Action, k.Record.Action = core.ActionReKeyKeyPair, core.ActionReKeyKeyPair
		made, err := reKeyKeyPair(k, &operation.RekeyKeyPairInput{ID: in.ID, Offset: in.Offset})
		return operation.RotateOutput{Made: made.Private, PublicID: made.PublicID}, err
	}
	made, err := reKey(k, &operation.RekeyInput{ID: in.ID, Offset: in.Offset})
	return operation.RotateOutput{Made: made.Made}, err
}
