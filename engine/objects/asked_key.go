package objects

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// askedKey returns what attributes say about a key: what statements about its parameters judge.
func askedKey(as core.Attributes) core.Asked {
	o := core.ManagedObject{Attributes: as}
	return core.Asked{Parameters: &core.CryptographicParameters{CryptographicAlgorithm: o.Algorithm()},
		Length: int32(as.Num(core.TagCryptographicLength)), UsageMask: o.Mask()}
}

// askedNew returns what attributes say about a key that the server makes, with the length that
// it has if they name none.
func askedNew(as core.Attributes, specOf func(*core.ManagedObject) (core.KeySpec, error)) core.Asked {
	asked := askedKey(as)
	if spec, err := specOf(&core.ManagedObject{Attributes: as}); err == nil {
		asked.Length = int32(spec.Bits)
	}
	return asked
}

// askedRegister returns what a request says about the key that it brings.
func askedRegister(in *operation.RegisterInput) core.Asked {
	kb := &in.Object.KeyBlock
	asked := askedKey(slices.Concat(in.Attributes, kb.Attributes))
	if kb.Algorithm != 0 {
		asked.Parameters.CryptographicAlgorithm = kb.Algorithm
	}
	if kb.Length != 0 {
		asked.Length = kb.Length
	}
	return asked
}

// isSameKey reports whether two requests ask for the same kind of key.
func isSameKey(a, b core.Asked) bool {
	return a.Parameters.CryptographicAlgorithm == b.Parameters.CryptographicAlgorithm && a.Length == b.Length && a.UsageMask == b.UsageMask
}

// decideKey asks the policy whether the caller may make, take or replace a key as it is asked
// for. o is the key that is replaced, or nil.
func decideKey(k *engine.Call, o *core.ManagedObject, asked core.Asked) error {
	return decideAs(k, k.Action, o, asked)
}

// decideAs is decideKey for another action than that of the operation.
func decideAs(k *engine.Call, action core.Action, o *core.ManagedObject, asked core.Asked) error {
	defer func(before core.Asked) { k.Asked = before }(k.Asked)
	k.Asked = asked
	_, err := k.Decide(action, o)
	return err
}

// decideReplacement asks the policy again if the key that replaces o is of another kind than o,
// by which it was first decided. Of a pair, the uses of both halves count for each.
func decideReplacement(k *engine.Call, o *core.ManagedObject, asked core.Asked) error {
	if isSameKey(asked, askedKey(o.Attributes)) {
		return nil
	}
	return decideKey(k, o, asked)
}

// askedPair returns what the attributes of both halves say about a key pair. Its uses are
// those of both.
func askedPair(private, public core.Attributes) core.Asked {
	asked := askedNew(private, func(o *core.ManagedObject) (core.KeySpec, error) { return rules.PairSpec(o, true) })
	asked.UsageMask |= (&core.ManagedObject{Attributes: public}).Mask()
	return asked
}
