package uses

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// Encrypt protects data with a key (KMIP 1.4 §4.29, 2.1 §6.1.17).
func (v *Verbs) Encrypt(ctx context.Context, c *core.Caller, in *core.EncryptInput) (core.EncryptOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionEncrypt, in, encrypt)
}

func encrypt(k *engine.Call, in *core.EncryptInput) (core.EncryptOutput, error) {
	r, err := useKey(k, &encryptUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data, IV: in.IV, AAD: in.AAD}})
	if err != nil {
		return core.EncryptOutput{}, err
	}
	return core.EncryptOutput{ID: r.id, Data: r.Data, IV: r.IV, Tag: r.Tag, Correlation: r.correlation}, nil
}

// Decrypt returns the data that Encrypt protected (KMIP 1.4 §4.30, 2.1 §6.1.11).
func (v *Verbs) Decrypt(ctx context.Context, c *core.Caller, in *core.DecryptInput) (core.DecryptOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionDecrypt, in, decrypt)
}

func decrypt(k *engine.Call, in *core.DecryptInput) (core.DecryptOutput, error) {
	r, err := useKey(k, &decryptUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data, IV: in.IV, AAD: in.AAD, Tag: in.Tag}})
	if err != nil {
		return core.DecryptOutput{}, err
	}
	return core.DecryptOutput{ID: r.id, Data: r.Data, Correlation: r.correlation}, nil
}

// Sign signs data or a digest (KMIP 1.4 §4.31, 2.1 §6.1.55).
func (v *Verbs) Sign(ctx context.Context, c *core.Caller, in *core.SignInput) (core.SignOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionSign, in, sign)
}

func sign(k *engine.Call, in *core.SignInput) (core.SignOutput, error) {
	r, err := useKey(k, &signUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data}, digest: in.Digested})
	if err != nil {
		return core.SignOutput{}, err
	}
	return core.SignOutput{ID: r.id, Signature: r.Data, Correlation: r.correlation}, nil
}

// SignatureVerify returns whether a signature is valid (KMIP 1.4 §4.32, 2.1 §6.1.56). An
// invalid one is an answer and not an error.
func (v *Verbs) SignatureVerify(ctx context.Context, c *core.Caller, in *core.SignatureVerifyInput) (core.SignatureVerifyOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionSignatureVerify, in, signatureVerify)
}

func signatureVerify(k *engine.Call, in *core.SignatureVerifyInput) (core.SignatureVerifyOutput, error) {
	r, err := useKey(k, &signatureVerifyUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data}, digest: in.Digested, proof: in.Signature})
	if err != nil {
		return core.SignatureVerifyOutput{}, err
	}
	return core.SignatureVerifyOutput{ID: r.id, Validity: r.validity, Correlation: r.correlation}, nil
}

// MAC makes a message authentication code (KMIP 1.4 §4.33, 2.1 §6.1.32).
func (v *Verbs) MAC(ctx context.Context, c *core.Caller, in *core.MACInput) (core.MACOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionMAC, in, makeMAC)
}

func makeMAC(k *engine.Call, in *core.MACInput) (core.MACOutput, error) {
	r, err := useKey(k, &macUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data}})
	if err != nil {
		return core.MACOutput{}, err
	}
	return core.MACOutput{ID: r.id, MAC: r.Data, Correlation: r.correlation}, nil
}

// MACVerify returns whether a message authentication code is valid (KMIP 1.4 §4.34, 2.1
// §6.1.33). An invalid one is an answer and not an error.
func (v *Verbs) MACVerify(ctx context.Context, c *core.Caller, in *core.MACVerifyInput) (core.MACVerifyOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionMACVerify, in, macVerify)
}

func macVerify(k *engine.Call, in *core.MACVerifyInput) (core.MACVerifyOutput, error) {
	r, err := useKey(k, &macVerifyUse, &request{id: &in.ID, position: engine.StreamPosition{Correlation: in.Correlation, First: in.Init, Last: in.Final}, asked: in.Parameters,
		Cipher: core.Cipher{Data: in.Data}, proof: in.MAC})
	if err != nil {
		return core.MACVerifyOutput{}, err
	}
	return core.MACVerifyOutput{ID: r.id, Validity: r.validity, Correlation: r.correlation}, nil
}
