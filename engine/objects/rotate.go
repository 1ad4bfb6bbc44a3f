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
	offset := int64(0) // the dates of the key move with its activation
	if in.ActivateAt != 0 {
		if offset = in.ActivateAt - k.Now; offset < 0 {
			return out, core.Errorf(core.InvalidField, "the time at which the new version becomes Active has passed; leave it out for a key that is Active now")
		}
	}
	if isPair(k, in.ID) {
		k.Action, k.Record.Action = core.ActionReKeyKeyPair, core.ActionReKeyKeyPair
		made, err := reKeyKeyPair(k, &operation.RekeyKeyPairInput{ID: in.ID, Offset: &offset})
		return operation.RotateOutput{Made: made.Private, PublicID: made.PublicID}, err
	}
	made, err := reKey(k, &operation.RekeyInput{ID: in.ID, Offset: &offset})
	return operation.RotateOutput{Made: made.Made}, err
}

// isPair reports whether a request names a private key. It does not ask the policy: Re-key and
// Re-key Key Pair do.
func isPair(k *engine.Call, id core.Identifier) bool {
	find := func() (*core.ManagedObject, error) { return k.LoadObject(id.Text) }
	if id.Family {
		find = func() (*core.ManagedObject, error) { return engine.FindVersion(k, id, false) }
	}
	o, err := find()
	return err == nil && o.Type == core.ObjectTypePrivateKey
}
