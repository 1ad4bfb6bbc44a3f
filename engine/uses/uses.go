// Package uses has the operations that use keys or random bytes: Encrypt, Decrypt, Sign,
// Signature Verify, MAC, MAC Verify, Hash, RNG Retrieve, RNG Seed and Check; and those on
// envelopes, which KMIP does not have.
//
// They run on the road of package engine, and never see key bytes: the HSM port uses
// the key. A use first asks the policy, then checks the key's state, dates and usage
// mask, then draws on its Usage Limits. Start at [Verbs.Encrypt] or [Verbs.EncryptEnvelope].
package uses

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Bounds of the random operations, in bytes.
const (
	maxRandom = 64 * 1024
	maxSeed   = 64 * 1024
)

// Verbs has one method for each operation. It is safe for concurrent use.
type Verbs struct {
	engine *engine.Engine
	nonces *nonceTable

	runEncrypt func(*engine.Call, *operation.EncryptInput) (operation.EncryptOutput, error) // encrypt, bound once so that a use allocates nothing
}

// New returns the verbs of an engine.
func New(e *engine.Engine) *Verbs {
	v := &Verbs{engine: e, nonces: newNonceTable()}
	v.runEncrypt = v.encrypt
	return v
}

// Encrypt protects data with a key (KMIP 1.4 §4.29, 2.1 §6.1.17).
func (v *Verbs) Encrypt(ctx context.Context, c *core.Caller, in *operation.EncryptInput) (operation.EncryptOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionEncrypt, in, v.runEncrypt)
}

func (v *Verbs) encrypt(k *engine.Call, in *operation.EncryptInput) (operation.EncryptOutput, error) {
	r, err := useKey(k, &encryptUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data, IV: in.IV, AAD: in.AAD}, nonces: v.nonces})
	if err != nil {
		return operation.EncryptOutput{}, err
	}
	return operation.EncryptOutput{ID: r.id, Data: r.Data, IV: r.IV, Tag: r.Tag, Correlation: r.correlation}, nil
}

// Decrypt returns the data that Encrypt protected (KMIP 1.4 §4.30, 2.1 §6.1.11).
func (v *Verbs) Decrypt(ctx context.Context, c *core.Caller, in *operation.DecryptInput) (operation.DecryptOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionDecrypt, in, decrypt)
}

func decrypt(k *engine.Call, in *operation.DecryptInput) (operation.DecryptOutput, error) {
	r, err := useKey(k, &decryptUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data, IV: in.IV, AAD: in.AAD, Tag: in.Tag}})
	if err != nil {
		return operation.DecryptOutput{}, err
	}
	return operation.DecryptOutput{ID: r.id, Data: r.Data, Correlation: r.correlation}, nil
}

// Sign signs data or a digest (KMIP 1.4 §4.31, 2.1 §6.1.55).
func (v *Verbs) Sign(ctx context.Context, c *core.Caller, in *operation.SignInput) (operation.SignOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionSign, in, sign)
}

func sign(k *engine.Call, in *operation.SignInput) (operation.SignOutput, error) {
	r, err := useKey(k, &signUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data}, digest: in.Digested})
	if err != nil {
		return operation.SignOutput{}, err
	}
	return operation.SignOutput{ID: r.id, Signature: r.Data, Correlation: r.correlation}, nil
}

// SignatureVerify returns whether a signature is valid (KMIP 1.4 §4.32, 2.1 §6.1.56). An
// invalid one is an answer and not an error.
func (v *Verbs) SignatureVerify(ctx context.Context, c *core.Caller, in *operation.SignatureVerifyInput) (operation.SignatureVerifyOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionSignatureVerify, in, signatureVerify)
}

func signatureVerify(k *engine.Call, in *operation.SignatureVerifyInput) (operation.SignatureVerifyOutput, error) {
	r, err := useKey(k, &signatureVerifyUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data}, digest: in.Digested, proof: in.Signature})
	if err != nil {
		return operation.SignatureVerifyOutput{}, err
	}
	return operation.SignatureVerifyOutput{ID: r.id, Validity: r.validity, Correlation: r.correlation}, nil
}

// MAC makes a message authentication code (KMIP 1.4 §4.33, 2.1 §6.1.32).
func (v *Verbs) MAC(ctx context.Context, c *core.Caller, in *operation.MACInput) (operation.MACOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionMAC, in, makeMAC)
}

func makeMAC(k *engine.Call, in *operation.MACInput) (operation.MACOutput, error) {
	r, err := useKey(k, &macUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data}})
	if err != nil {
		return operation.MACOutput{}, err
	}
	return operation.MACOutput{ID: r.id, MAC: r.Data, Correlation: r.correlation}, nil
}

// MACVerify returns whether a message authentication code is valid (KMIP 1.4 §4.34, 2.1
// §6.1.33). An invalid one is an answer and not an error.
func (v *Verbs) MACVerify(ctx context.Context, c *core.Caller, in *operation.MACVerifyInput) (operation.MACVerifyOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionMACVerify, in, macVerify)
}

func macVerify(k *engine.Call, in *operation.MACVerifyInput) (operation.MACVerifyOutput, error) {
	r, err := useKey(k, &macVerifyUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data}, proof: in.MAC})
	if err != nil {
		return operation.MACVerifyOutput{}, err
	}
	return operation.MACVerifyOutput{ID: r.id, Validity: r.validity, Correlation: r.correlation}, nil
}

// isCheckable returns nil for an object to which Check applies.
func isCheckable(o *core.ManagedObject, now int64) error {
	if o.Type == core.ObjectTypeTemplate {
		return core.Errorf(core.IllegalOperation, "object %s is a Template, which Check does not apply to", o.ID)
	}
	if o.StateAt(now).Gone() {
		return core.Errorf(core.ObjectDestroyed, "object %s is destroyed", o.ID)
	}
	if o.Disabled() {
		return core.Errorf(core.WrongState, "object %s is disabled; enable it first", o.ID)
	}
	return nil
}

// Check fails if the caller may not use an object as the request describes (KMIP 1.4
// §4.10, 2.1 §6.1.7).
func (v *Verbs) Check(ctx context.Context, c *core.Caller, in *operation.CheckInput) (operation.CheckOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionCheck, in, checkUse)
}

func checkUse(k *engine.Call, in *operation.CheckInput) (out operation.CheckOutput, err error) {
	k.StateCheck = isCheckable
	o, err := k.FindObject(in.ID)
	if err != nil {
		return out, err
	}
	if err := isCheckable(o, k.Now); err != nil {
		return out, err
	}
	if in.Mask != nil {
		if err := rules.CheckMask(o, *in.Mask); err != nil {
			return out, err
		}
	}
	if in.UsageLimitsCount != nil {
		if v, ok := o.Attributes.Get(core.TagUsageLimits); ok && core.UsageLimitsOf(v).Count < *in.UsageLimitsCount {
			return out, core.Errorf(core.UsageLimitExceeded, "the Usage Limits of object %s leave less than %d", o.ID, *in.UsageLimitsCount)
		}
	}
	if in.LeaseTime != nil && int64(*in.LeaseTime) > o.Attributes.Num(core.TagLeaseTime) {
		return out, core.Errorf(core.PermissionDenied, "a lease of %d seconds is longer than object %s allows", *in.LeaseTime, o.ID)
	}
	return operation.CheckOutput{ID: o.ID}, nil
}

// Hash hashes data in software, because no key is involved (KMIP 1.4 §4.37, 2.1 §6.1.24).
func (v *Verbs) Hash(ctx context.Context, c *core.Caller, in *operation.HashInput) (operation.HashOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionHash, in, hashData)
}

func hashData(k *engine.Call, in *operation.HashInput) (out operation.HashOutput, err error) {
	s, err := k.JoinStream(nil, engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, in.Parameters)
	if err != nil {
		return out, err
	}
	defer s.Release()
	in.Parameters = s.FirstParameters(in.Parameters)
	k.Asked.Parameters = in.Parameters
	if _, err := k.Decide(k.Action, nil); err != nil {
		return out, err
	}
	if in.Parameters == nil || in.Parameters.HashingAlgorithm == 0 {
		return out, core.Errorf(core.InvalidMessage, "Hash needs Cryptographic Parameters with a Hashing Algorithm")
	}
	if err := rules.SchemeHash.CheckAsked(in.Parameters, nil); err != nil {
		return out, err
	}
	if ready, correlation, err := s.Collect("", &in.Data); !ready {
		return operation.HashOutput{Correlation: correlation}, err
	}
	k.Record.ExecutedIn = "software"
	out.Data, err = k.Ports.Formats.Digest(in.Parameters.HashingAlgorithm, in.Data)
	return out, err
}

// RNGRetrieve returns random bytes of the token (KMIP 1.4 §4.35, 2.1 §6.1.49).
func (v *Verbs) RNGRetrieve(ctx context.Context, c *core.Caller, in *operation.RNGRetrieveInput) (operation.RNGRetrieveOutput, error) {
	return engine.RunPermitted(v.engine, ctx, c, core.ActionRNGRetrieve, in, rngRetrieve)
}

func rngRetrieve(k *engine.Call, in *operation.RNGRetrieveInput) (out operation.RNGRetrieveOutput, err error) {
	if in.Length < 1 || in.Length > maxRandom {
		return out, core.Errorf(core.InvalidField, "Data Length is %d; RNG Retrieve gives 1 to %d bytes", in.Length, maxRandom)
	}
	out.Data = make([]byte, in.Length)
	k.Record.ExecutedIn = "token"
	return out, k.Ports.HSM.Random(k.Ctx, out.Data)
}

// RNGSeed adds the client's bytes to the token's random pool (KMIP 1.4 §4.36,
// 2.1 §6.1.50). It returns the number of bytes that were used, which is all of them.
func (v *Verbs) RNGSeed(ctx context.Context, c *core.Caller, in *operation.RNGSeedInput) (operation.RNGSeedOutput, error) {
	return engine.RunPermitted(v.engine, ctx, c, core.ActionRNGSeed, in, rngSeed)
}

func rngSeed(k *engine.Call, in *operation.RNGSeedInput) (out operation.RNGSeedOutput, err error) {
	if len(in.Data) == 0 || len(in.Data) > maxSeed {
		return out, core.Errorf(core.InvalidField, "the seed has %d bytes; RNG Seed takes 1 to %d", len(in.Data), maxSeed)
	}
	k.Record.ExecutedIn = "token"
	if err := k.Ports.HSM.Seed(k.Ctx, in.Data); err != nil {
		return out, err
	}
	return operation.RNGSeedOutput{Amount: int32(len(in.Data))}, nil
}
