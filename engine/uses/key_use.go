package uses

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// keyUse describes one way to use a key.
type keyUse struct {
	mask     core.UsageMask
	protects bool   // it protects data: State, dates and Usage Limits must allow it
	signs    bool   // it takes Data or Digested Data
	proof    string // the name of the field that is verified; "" if none is

	scheme  func(*core.ManagedObject, *core.CryptographicParameters) *rules.Scheme
	execute func(*engine.Call, *keyUse, *engine.Stream, *core.ManagedObject, *request) (result, error)
}

var (
	encryptUse         = keyUse{mask: core.MaskEncrypt, protects: true, scheme: rules.CipherScheme, execute: encryptOrDecrypt}
	decryptUse         = keyUse{mask: core.MaskDecrypt, scheme: rules.CipherScheme, execute: encryptOrDecrypt}
	signUse            = keyUse{mask: core.MaskSign, protects: true, signs: true, scheme: rules.SignScheme, execute: proveOrVerify}
	signatureVerifyUse = keyUse{mask: core.MaskVerify, signs: true, proof: "Signature Data", scheme: rules.SignScheme, execute: proveOrVerify}
	macUse             = keyUse{mask: core.MaskMACGenerate, protects: true, scheme: rules.MACScheme, execute: proveOrVerify}
	macVerifyUse       = keyUse{mask: core.MaskMACVerify, proof: "MAC Data", scheme: rules.MACScheme, execute: proveOrVerify}
)

// request has the input of one use of a key.
type request struct {
	id       *core.Identifier
	position engine.StreamPosition
	asked    *core.CryptographicParameters
	core.Cipher
	nonces   *nonceTable // of Encrypt
	digest   []byte      // Digested Data
	isDigest bool        // Data is Digested Data
	proof    []byte      // a signature or MAC to be verified
}

// result has the output of one use of a key. Data is ciphertext, plaintext, a signature or a MAC.
type result struct {
	id string
	core.Ciphered
	validity    core.ValidityIndicator
	correlation []byte // not nil: more parts are to come
}

// useKey does one use of a key, or one part of it. The policy is asked before mask, state
// and dates are checked. Usage Limits are drawn upon before the key is used.
func useKey(k *engine.Call, u *keyUse, r *request) (out result, err error) {
	s, err := k.JoinStream(r.id, r.position, r.asked)
	if err != nil {
		return out, err
	}
	defer s.Release()
	if u.signs {
		if r.Data, r.isDigest, err = dataOrDigest(r.Data, r.digest, s); err != nil {
			return out, err
		}
	}
	r.asked = s.FirstParameters(r.asked)
	k.Asked.Parameters = r.asked
	o, err := findForUse(k, *r.id, u)
	if err != nil {
		return out, err
	}
	if err := u.settleParameters(o, r); err != nil {
		return out, err
	}
	if u.protects {
		if err := k.Consume(o, len(r.Data), s); err != nil {
			return out, err
		}
	}
	out, err = u.execute(k, u, s, o, r)
	out.id = o.ID
	return out, err
}

// findForUse returns the object whose key is used. It checks the policy first, then state
// and dates, then the mask, and loads the tenant's keys.
func findForUse(k *engine.Call, id core.Identifier, u *keyUse) (*core.ManagedObject, error) {
	k.StateCheck = k.UseCheck(u.protects)
	o, err := k.FindObject(id)
	if err != nil {
		return nil, err
	}
	if err := k.Require(o, k.StateCheck); err != nil {
		return nil, err
	}
	if err := rules.CheckMask(o, u.mask); err != nil {
		return nil, err
	}
	return o, k.LoadKeysOf(o)
}

// settleParameters completes the parameters of a use. It refuses fields of the request
// that would have no effect.
func (u *keyUse) settleParameters(o *core.ManagedObject, r *request) error {
	r.Parameters = rules.CompleteParameters(r.asked, o)
	scheme := u.scheme(o, &r.Parameters)
	if err := scheme.CheckAsked(r.asked, o); err != nil {
		return err
	}
	return scheme.CheckInputs(&r.Cipher)
}

// encryptOrDecrypt executes Encrypt and Decrypt.
func encryptOrDecrypt(k *engine.Call, u *keyUse, s *engine.Stream, o *core.ManagedObject, r *request) (out result, err error) {
	if u.protects && (s == nil || !s.IsLaterPart) {
		err = r.nonces.admitIV(k, o, &r.Cipher)
	} else if u.protects {
		err = rules.CheckEnvelopeKey(o, &r.Parameters, nil) // the IV was checked with the first part
	}
	if err != nil {
		return out, err
	}
	out.Ciphered, out.correlation, err = cipherStream(k, s, o, &r.Cipher, u.protects)
	return out, err
}

// proveOrVerify executes the uses that answer when all data is there: Sign, MAC and their
// verification.
func proveOrVerify(k *engine.Call, u *keyUse, s *engine.Stream, o *core.ManagedObject, r *request) (out result, err error) {
	if u.proof != "" && s != nil {
		if err := s.RememberOnce(&s.Proof, &r.proof, u.proof); err != nil {
			return out, err
		}
	}
	ready := false
	if ready, out.correlation, err = s.Collect(o.ID, &r.Data); !ready {
		return out, err
	}
	if u.proof == "" {
		out.Data, k.Record.ExecutedIn, err = u.makeProof(k, o, r)
		return out, err
	}
	if r.proof == nil {
		return out, core.Errorf(core.InvalidMessage, "%v has no %s", k.Action, u.proof)
	}
	valid := false
	if valid, k.Record.ExecutedIn, err = u.verify(k, o, r); err != nil {
		return out, err
	}
	out.validity = validityOf(valid)
	k.Record.Detail = out.validity.String()
	return out, nil
}

// makeProof makes a signature or a MAC, and returns where it was made.
func (u *keyUse) makeProof(k *engine.Call, o *core.ManagedObject, r *request) ([]byte, string, error) {
	key, err := engine.KeyFor(k, o)
	if err != nil {
		return nil, "", err
	}
	if u.signs {
		return k.Ports.HSM.Sign(k.Ctx, key, r.Parameters, r.Data, r.isDigest)
	}
	return k.Ports.HSM.MAC(k.Ctx, key, rules.MACParameters(r.asked, r.Parameters), r.Data)
}

// verify checks a signature or a MAC, and returns where it was checked.
func (u *keyUse) verify(k *engine.Call, o *core.ManagedObject, r *request) (bool, string, error) {
	key, err := engine.KeyFor(k, o)
	if err != nil {
		return false, "", err
	}
	if u.signs {
		return k.Ports.HSM.Verify(k.Ctx, key, r.Parameters, r.Data, r.isDigest, r.proof)
	}
	return k.Ports.HSM.MACVerify(k.Ctx, key, rules.MACParameters(r.asked, r.Parameters), r.Data, r.proof)
}

func validityOf(ok bool) core.ValidityIndicator {
	if ok {
		return core.ValidityIndicatorValid
	}
	return core.ValidityIndicatorInvalid
}

// dataOrDigest returns Data or Digested Data, and whether it is Digested Data. Exactly one
// of them must be given. A stream has Data only.
func dataOrDigest(data, digested []byte, s *engine.Stream) ([]byte, bool, error) {
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
