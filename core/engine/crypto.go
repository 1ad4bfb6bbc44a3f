package engine

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

// Encrypt protects data with a key (KMIP 1.4 §4.29, 2.1 §6.1.17).
func (e *Engine) Encrypt(ctx context.Context, c *core.Caller, in *core.EncryptInput) (core.EncryptOutput, error) {
	return run(e, ctx, c, core.ActionEncrypt, in, (*call).encrypt)
}

func (k *call) encrypt(in *core.EncryptInput) (out core.EncryptOutput, err error) {
	s, err := k.stream(&in.ID, place{in.Correlation, in.Init, in.Final}, in.Parameters)
	if err != nil {
		return out, err
	}
	defer s.release()
	o, err := k.use(in.ID, core.MaskEncrypt, true)
	if err != nil {
		return out, err
	}
	c := &core.Cipher{Data: in.Data, IV: in.IV, AAD: in.AAD}
	if err := k.settle(s.asked(in.Parameters), o, c); err != nil {
		return out, err
	}
	if err := k.consume(o, len(in.Data), s); err != nil {
		return out, err
	}
	r, correlation, err := k.cipher(s, o, c, true)
	if err != nil {
		return out, err
	}
	return core.EncryptOutput{ID: o.ID, Data: r.Data, IV: r.IV, Tag: r.Tag, Correlation: correlation}, nil
}

// Decrypt is the reverse (KMIP 1.4 §4.30, 2.1 §6.1.11).
func (e *Engine) Decrypt(ctx context.Context, c *core.Caller, in *core.DecryptInput) (core.DecryptOutput, error) {
	return run(e, ctx, c, core.ActionDecrypt, in, (*call).decrypt)
}

func (k *call) decrypt(in *core.DecryptInput) (out core.DecryptOutput, err error) {
	s, err := k.stream(&in.ID, place{in.Correlation, in.Init, in.Final}, in.Parameters)
	if err != nil {
		return out, err
	}
	defer s.release()
	o, err := k.use(in.ID, core.MaskDecrypt, false)
	if err != nil {
		return out, err
	}
	c := &core.Cipher{Data: in.Data, IV: in.IV, AAD: in.AAD, Tag: in.Tag}
	if err := k.settle(s.asked(in.Parameters), o, c); err != nil {
		return out, err
	}
	r, correlation, err := k.cipher(s, o, c, false)
	if err != nil {
		return out, err
	}
	return core.DecryptOutput{ID: o.ID, Data: r.Data, Correlation: correlation}, nil
}

// Sign signs data or a digest (KMIP 1.4 §4.31, 2.1 §6.1.55).
func (e *Engine) Sign(ctx context.Context, c *core.Caller, in *core.SignInput) (core.SignOutput, error) {
	return run(e, ctx, c, core.ActionSign, in, (*call).sign)
}

func (k *call) sign(in *core.SignInput) (out core.SignOutput, err error) {
	s, err := k.stream(&in.ID, place{in.Correlation, in.Init, in.Final}, in.Parameters)
	if err != nil {
		return out, err
	}
	defer s.release()
	data, digested, err := toSign(in.Data, in.Digested, s)
	if err != nil {
		return out, err
	}
	o, err := k.use(in.ID, core.MaskSign, true)
	if err != nil {
		return out, err
	}
	p, err := k.settled(s.asked(in.Parameters), o, signScheme)
	if err != nil {
		return out, err
	}
	if err := k.consume(o, len(data), s); err != nil {
		return out, err
	}
	if ready, correlation, err := s.whole(o.ID, &data); !ready {
		return core.SignOutput{ID: o.ID, Correlation: correlation}, err
	}
	sig, where, err := k.ports.HSM.Sign(k.ctx, o.Key(), p, data, digested)
	k.record.Where = where
	if err != nil {
		return out, err
	}
	return core.SignOutput{ID: o.ID, Signature: sig}, nil
}

// SignatureVerify tells whether a signature is good (KMIP 1.4 §4.32, 2.1 §6.1.56).
func (e *Engine) SignatureVerify(ctx context.Context, c *core.Caller, in *core.SignatureVerifyInput) (core.SignatureVerifyOutput, error) {
	return run(e, ctx, c, core.ActionSignatureVerify, in, (*call).signatureVerify)
}

func (k *call) signatureVerify(in *core.SignatureVerifyInput) (out core.SignatureVerifyOutput, err error) {
	s, err := k.stream(&in.ID, place{in.Correlation, in.Init, in.Final}, in.Parameters)
	if err != nil {
		return out, err
	}
	defer s.release()
	data, digested, err := toSign(in.Data, in.Digested, s)
	if err != nil {
		return out, err
	}
	o, err := k.use(in.ID, core.MaskVerify, false)
	if err != nil {
		return out, err
	}
	p, err := k.settled(s.asked(in.Parameters), o, signScheme)
	if err != nil {
		return out, err
	}
	if err := s.remember(&s.orNone().proof, &in.Signature, "Signature Data"); err != nil {
		return out, err
	}
	if ready, correlation, err := s.whole(o.ID, &data); !ready {
		return core.SignatureVerifyOutput{ID: o.ID, Correlation: correlation}, err
	}
	if in.Signature == nil {
		return out, core.Errorf(core.InvalidMessage, "Signature Verify has no Signature Data")
	}
	ok, where, err := k.ports.HSM.Verify(k.ctx, o.Key(), p, data, digested, in.Signature)
	k.record.Where = where
	if err != nil {
		return out, err
	}
	k.record.Detail = validity(ok).String()
	return core.SignatureVerifyOutput{ID: o.ID, Validity: validity(ok)}, nil
}

// MAC makes a message authentication code (KMIP 1.4 §4.33, 2.1 §6.1.32).
func (e *Engine) MAC(ctx context.Context, c *core.Caller, in *core.MACInput) (core.MACOutput, error) {
	return run(e, ctx, c, core.ActionMAC, in, (*call).mac)
}

func (k *call) mac(in *core.MACInput) (out core.MACOutput, err error) {
	s, err := k.stream(&in.ID, place{in.Correlation, in.Init, in.Final}, in.Parameters)
	if err != nil {
		return out, err
	}
	defer s.release()
	o, err := k.use(in.ID, core.MaskMACGenerate, true)
	if err != nil {
		return out, err
	}
	p, err := k.settleMAC(s.asked(in.Parameters), o)
	if err != nil {
		return out, err
	}
	if err := k.consume(o, len(in.Data), s); err != nil {
		return out, err
	}
	if ready, correlation, err := s.whole(o.ID, &in.Data); !ready {
		return core.MACOutput{ID: o.ID, Correlation: correlation}, err
	}
	mac, where, err := k.ports.HSM.MAC(k.ctx, o.Key(), p, in.Data)
	k.record.Where = where
	if err != nil {
		return out, err
	}
	return core.MACOutput{ID: o.ID, MAC: mac}, nil
}

// MACVerify tells whether a code is good (KMIP 1.4 §4.34, 2.1 §6.1.33).
func (e *Engine) MACVerify(ctx context.Context, c *core.Caller, in *core.MACVerifyInput) (core.MACVerifyOutput, error) {
	return run(e, ctx, c, core.ActionMACVerify, in, (*call).macVerify)
}

func (k *call) macVerify(in *core.MACVerifyInput) (out core.MACVerifyOutput, err error) {
	s, err := k.stream(&in.ID, place{in.Correlation, in.Init, in.Final}, in.Parameters)
	if err != nil {
		return out, err
	}
	defer s.release()
	o, err := k.use(in.ID, core.MaskMACVerify, false)
	if err != nil {
		return out, err
	}
	p, err := k.settleMAC(s.asked(in.Parameters), o)
	if err != nil {
		return out, err
	}
	if err := s.remember(&s.orNone().proof, &in.MAC, "MAC Data"); err != nil {
		return out, err
	}
	if ready, correlation, err := s.whole(o.ID, &in.Data); !ready {
		return core.MACVerifyOutput{ID: o.ID, Correlation: correlation}, err
	}
	ok, where, err := k.ports.HSM.MACVerify(k.ctx, o.Key(), p, in.Data, in.MAC)
	k.record.Where = where
	if err != nil {
		return out, err
	}
	k.record.Detail = validity(ok).String()
	return core.MACVerifyOutput{ID: o.ID, Validity: validity(ok)}, nil
}

func validity(ok bool) core.ValidityIndicator {
	if ok {
		return core.ValidityIndicatorValid
	}
	return core.ValidityIndicatorInvalid
}

// toSign takes Data or Digested Data, of which there must be exactly one; in
// parts comes Data alone.
func toSign(data, digested []byte, s *stream) ([]byte, bool, error) {
	if s != nil && digested == nil {
		return data, false, nil
	}
	if s != nil {
		return nil, false, core.Errorf(core.InvalidField, "a digest does not come in parts: give the Data, or the Digested Data at once")
	}
	if (data == nil) == (digested == nil) {
		return nil, false, core.Errorf(core.InvalidMessage, "exactly one of Data and Digested Data must be given")
	}
	if digested != nil {
		return digested, true, nil
	}
	return data, false, nil
}

// use finds an object for a cryptographic use: the policy first, then mask,
// state and dates.
func (k *call) use(id core.Identifier, mask core.UsageMask, protect bool) (*core.ManagedObject, error) {
	o, err := k.object(id)
	if err != nil {
		return nil, err
	}
	check := k.engine.processes
	if protect {
		check = protects
	}
	if err := k.needs(o, check); err != nil {
		return nil, err
	}
	if err := checkMask(o, mask); err != nil {
		return nil, err
	}
	return o, k.keysOf(o)
}

// settled completes the parameters of a use and refuses those of the request that
// would have no effect.
func (k *call) settled(asked *core.CryptographicParameters, o *core.ManagedObject, find func(*core.ManagedObject, *core.CryptographicParameters) *scheme) (core.CryptographicParameters, error) {
	p := k.parameters(asked, o)
	return p, find(o, &p).checkAsked(asked, o)
}

// settleMAC is settled for MAC and MAC Verify. A hash that the request names counts
// for more than the one in the name of the key's algorithm.
func (k *call) settleMAC(asked *core.CryptographicParameters, o *core.ManagedObject) (core.CryptographicParameters, error) {
	p, err := k.settled(asked, o, macScheme)
	if asked != nil && asked.HashingAlgorithm != 0 && asked.CryptographicAlgorithm == 0 {
		p.CryptographicAlgorithm = hmacOf[asked.HashingAlgorithm]
	}
	return p, err
}

// settle is settled for Encrypt and Decrypt, which have other inputs besides.
func (k *call) settle(asked *core.CryptographicParameters, o *core.ManagedObject, c *core.Cipher) (err error) {
	if c.Parameters, err = k.settled(asked, o, cipherScheme); err != nil {
		return err
	}
	return cipherScheme(o, &c.Parameters).checkInputs(c)
}

// parameters completes what a request says by what the key's own Cryptographic
// Parameters say: the request wins where it gives any (KMIP 1.4 §4.29).
func (k *call) parameters(asked *core.CryptographicParameters, o *core.ManagedObject) core.CryptographicParameters {
	var p core.CryptographicParameters
	if asked != nil {
		p = *asked
	} else if v, ok := o.Attributes.Get(core.TagCryptographicParameters); ok {
		p = core.ParametersOf(v)
	}
	if p.CryptographicAlgorithm == 0 {
		p.CryptographicAlgorithm = o.Algorithm()
	}
	return p
}
