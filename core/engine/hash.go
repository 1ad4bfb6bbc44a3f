package engine

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of the random operations, in bytes.
const (
	maxRandom = 64 * 1024
	maxSeed   = 64 * 1024
)

// Hash hashes data, in software: there is no secret in it (KMIP 1.4 §4.37, 2.1 §6.1.24).
func (e *Engine) Hash(ctx context.Context, c *core.Caller, in *core.HashInput) (core.HashOutput, error) {
	return run(e, ctx, c, core.ActionHash, in, (*call).hash)
}

func (k *call) hash(in *core.HashInput) (out core.HashOutput, err error) {
	if _, err := k.decide(k.action, nil); err != nil {
		return out, err
	}
	s, err := k.stream(nil, place{in.Correlation, in.Init, in.Final}, in.Parameters)
	if err != nil {
		return out, err
	}
	defer s.release()
	in.Parameters = s.asked(in.Parameters)
	if in.Parameters == nil || in.Parameters.HashingAlgorithm == 0 {
		return out, core.Errorf(core.InvalidMessage, "Hash needs Cryptographic Parameters with a Hashing Algorithm")
	}
	if err := schemeHash.checkAsked(in.Parameters, nil); err != nil {
		return out, err
	}
	if ready, correlation, err := s.whole("", &in.Data); !ready {
		return core.HashOutput{Correlation: correlation}, err
	}
	k.record.Where = "software"
	out.Data, err = k.ports.Formats.Digest(in.Parameters.HashingAlgorithm, in.Data)
	return out, err
}

// RNGRetrieve gives random bytes of the token (KMIP 1.4 §4.35, 2.1 §6.1.49).
func (e *Engine) RNGRetrieve(ctx context.Context, c *core.Caller, in *core.RNGRetrieveInput) (core.RNGRetrieveOutput, error) {
	return run(e, ctx, c, core.ActionRNGRetrieve, in, (*call).rngRetrieve)
}

func (k *call) rngRetrieve(in *core.RNGRetrieveInput) (out core.RNGRetrieveOutput, err error) {
	if _, err := k.decide(k.action, nil); err != nil {
		return out, err
	}
	if in.Length < 1 || in.Length > maxRandom {
		return out, core.Errorf(core.InvalidField, "Data Length is %d; RNG Retrieve gives 1 to %d bytes", in.Length, maxRandom)
	}
	out.Data = make([]byte, in.Length)
	k.record.Where = "token"
	return out, k.ports.HSM.Random(k.ctx, out.Data)
}

// RNGSeed adds the client's bytes to the token's random pool (KMIP 1.4 §4.36,
// 2.1 §6.1.50). It answers how many bytes were taken: all.
func (e *Engine) RNGSeed(ctx context.Context, c *core.Caller, in *core.RNGSeedInput) (core.RNGSeedOutput, error) {
	return run(e, ctx, c, core.ActionRNGSeed, in, (*call).rngSeed)
}

func (k *call) rngSeed(in *core.RNGSeedInput) (out core.RNGSeedOutput, err error) {
	if _, err := k.decide(k.action, nil); err != nil {
		return out, err
	}
	if len(in.Data) == 0 || len(in.Data) > maxSeed {
		return out, core.Errorf(core.InvalidField, "the seed has %d bytes; RNG Seed takes 1 to %d", len(in.Data), maxSeed)
	}
	k.record.Where = "token"
	if err := k.ports.HSM.Seed(k.ctx, in.Data); err != nil {
		return out, err
	}
	return core.RNGSeedOutput{Amount: int32(len(in.Data))}, nil
}
