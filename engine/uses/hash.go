package uses

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Bounds of the random operations, in bytes.
const (
	maxRandom = 64 * 1024
	maxSeed   = 64 * 1024
)

// Hash hashes data in software, because no key is involved (KMIP 1.4 §4.37, 2.1 §6.1.24).
func (v *Verbs) Hash(ctx context.Context, c *core.Caller, in *core.HashInput) (core.HashOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionHash, in, hashData)
}

func hashData(k *engine.Call, in *core.HashInput) (out core.HashOutput, err error) {
	if _, err := k.Decide(k.Action, nil); err != nil {
		return out, err
	}
	s, err := k.JoinStream(nil, engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, in.Parameters)
	if err != nil {
		return out, err
	}
	defer s.Release()
	in.Parameters = s.FirstParameters(in.Parameters)
	if in.Parameters == nil || in.Parameters.HashingAlgorithm == 0 {
		return out, core.Errorf(core.InvalidMessage, "Hash needs Cryptographic Parameters with a Hashing Algorithm")
	}
	if err := rules.SchemeHash.CheckAsked(in.Parameters, nil); err != nil {
		return out, err
	}
	if ready, correlation, err := s.Collect("", &in.Data); !ready {
		return core.HashOutput{Correlation: correlation}, err
	}
	k.Record.ExecutedIn = "software"
	out.Data, err = k.Ports.Formats.Digest(in.Parameters.HashingAlgorithm, in.Data)
	return out, err
}

// RNGRetrieve returns random bytes of the token (KMIP 1.4 §4.35, 2.1 §6.1.49).
func (v *Verbs) RNGRetrieve(ctx context.Context, c *core.Caller, in *core.RNGRetrieveInput) (core.RNGRetrieveOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionRNGRetrieve, in, rngRetrieve)
}

func rngRetrieve(k *engine.Call, in *core.RNGRetrieveInput) (out core.RNGRetrieveOutput, err error) {
	if _, err := k.Decide(k.Action, nil); err != nil {
		return out, err
	}
	if in.Length < 1 || in.Length > maxRandom {
		return out, core.Errorf(core.InvalidField, "Data Length is %d; RNG Retrieve gives 1 to %d bytes", in.Length, maxRandom)
	}
	out.Data = make([]byte, in.Length)
	k.Record.ExecutedIn = "token"
	return out, k.Ports.HSM.Random(k.Ctx, out.Data)
}

// RNGSeed adds the client's bytes to the token's random pool (KMIP 1.4 §4.36,
// 2.1 §6.1.50). It returns the number of bytes that were used, which is all of them.
func (v *Verbs) RNGSeed(ctx context.Context, c *core.Caller, in *core.RNGSeedInput) (core.RNGSeedOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionRNGSeed, in, rngSeed)
}

func rngSeed(k *engine.Call, in *core.RNGSeedInput) (out core.RNGSeedOutput, err error) {
	if _, err := k.Decide(k.Action, nil); err != nil {
		return out, err
	}
	if len(in.Data) == 0 || len(in.Data) > maxSeed {
		return out, core.Errorf(core.InvalidField, "the seed has %d bytes; RNG Seed takes 1 to %d", len(in.Data), maxSeed)
	}
	k.Record.ExecutedIn = "token"
	if err := k.Ports.HSM.Seed(k.Ctx, in.Data); err != nil {
		return out, err
	}
	return core.RNGSeedOutput{Amount: int32(len(in.Data))}, nil
}
