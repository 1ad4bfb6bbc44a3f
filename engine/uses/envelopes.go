package uses

import (
	"context"
	"slices"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/envelope"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
)

// Bounds of a data key, in bytes.
const (
	minDataKey = 16
	maxDataKey = 1024
)

// EncryptEnvelope encrypts data with a key and returns an envelope, which names the key.
func (v *Verbs) EncryptEnvelope(ctx context.Context, c *core.Caller, in *operation.EnvelopeInput) (operation.EnvelopeOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionEncrypt, in, v.encryptEnvelope)
}

func (v *Verbs) encryptEnvelope(k *engine.Call, in *operation.EnvelopeInput) (out operation.EnvelopeOutput, err error) {
	k.Asked.Parameters = &envelopeParameters
	o, err := findForUse(k, in.ID, &encryptUse)
	if err != nil {
		return out, err
	}
	return v.seal(k, o, in.Data, in.AAD, in.Context)
}

// DecryptEnvelope returns the data in an envelope. If the request names a key, the envelope must
// be of its family. Otherwise the key is the one that the envelope names, which is an action of
// its own: somebody can have made the envelope with a key of theirs.
func (v *Verbs) DecryptEnvelope(ctx context.Context, c *core.Caller, in *operation.EnvelopeInput) (operation.EnvelopeOutput, error) {
	action := core.ActionDecrypt
	if !isNamed(in.ID) {
		action = core.ActionDecryptUnnamed
	}
	return engine.Run(v.engine, ctx, c, action, in, v.decryptEnvelope)
}

func (v *Verbs) decryptEnvelope(k *engine.Call, in *operation.EnvelopeInput) (out operation.EnvelopeOutput, err error) {
	k.Record.Object = engine.ReferenceText(in.ID)
	e, err := envelope.Parse(in.Data)
	if err != nil {
		return out, err
	}
	if !isNamed(in.ID) {
		k.Record.Object = engine.ReferenceText(core.Identifier{Text: e.Family, Version: int64(e.Version)})
	}
	k.Asked.Parameters = &envelopeParameters
	version, err := versionOf(k, in.ID, &e, func(id core.Identifier) error { _, err := k.FindObject(id); return err })
	if err != nil {
		return out, err
	}
	o, err := findForUse(k, core.ID(version.ID), &decryptUse)
	if err != nil {
		return out, asAbsent(k, in.ID, version, err)
	}
	out = outputOf(o)
	out.Data, err = open(k, o, &e, in.AAD, in.Context)
	return out, err
}

// Reencrypt makes an envelope of one key from that of another one. The caller sees no plaintext,
// and needs no right to decrypt. Both keys are decided and checked before one of them is used.
func (v *Verbs) Reencrypt(ctx context.Context, c *core.Caller, in *operation.ReencryptInput) (operation.EnvelopeOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionReencryptTo, in, v.reencrypt)
}

func (v *Verbs) reencrypt(k *engine.Call, in *operation.ReencryptInput) (out operation.EnvelopeOutput, err error) {
	k.Record.Object = engine.ReferenceText(in.ID)
	defer func() { noteSource(k, in.Source, err) }()
	e, err := envelope.Parse(in.Data)
	if err != nil {
		return out, err
	}
	k.Asked.Parameters = &envelopeParameters
	to, err := findForUse(k, in.ID, &encryptUse)
	if err != nil {
		return out, err
	}
	from, err := findSource(k, in.Source, &e)
	if err != nil {
		return out, err
	}
	plaintext, err := open(k, from, &e, in.AAD, in.Context)
	if err != nil {
		return out, err
	}
	defer clear(plaintext)
	return v.seal(k, to, plaintext, in.AAD, in.Context)
}

// noteSource names the source of a refused request in the record as the request does, unless the
// record names the source already.
func noteSource(k *engine.Call, named core.Identifier, err error) {
	isSource := func(o core.InvolvedObject) bool { return o.Role == core.RoleSource }
	if err != nil && isNamed(named) && !slices.ContainsFunc(k.Record.Involved, isSource) {
		k.Involve(engine.ReferenceText(named), core.RoleSource)
	}
}

// findSource returns the key version that made the envelope to be encrypted again. It asks the
// policy first, then checks state, dates and mask, and notes the key in the record.
func findSource(k *engine.Call, named core.Identifier, e *envelope.Envelope) (*core.ManagedObject, error) {
	version, err := versionOf(k, named, e, func(id core.Identifier) error { _, err := decideSource(k, id); return err })
	if err != nil {
		return nil, err
	}
	from, err := decideSource(k, core.ID(version.ID))
	if err != nil {
		return nil, asAbsent(k, named, version, err)
	}
	k.Record.Detail = "from " + from.ID
	check := k.UseCheck(false)
	if err := check(from, k.Now); err != nil {
		return nil, err
	}
	k.AddGrant(core.RoleSource, core.ActionReencryptFrom, from.ID, check)
	if err := rules.CheckMask(from, core.MaskDecrypt); err != nil {
		return nil, err
	}
	return from, k.LoadKeysOf(from)
}

// decideSource asks the policy for Reencrypt From.
func decideSource(k *engine.Call, id core.Identifier) (*core.ManagedObject, error) {
	k.Involve(core.ClientText(id.Text), core.RoleSource)
	from, err := k.LoadObject(id.Text)
	if err != nil {
		return nil, err
	}
	if _, err = k.Decide(core.ActionReencryptFrom, from); err == nil {
		err = engine.RequireAvailable(core.ActionReencryptFrom, from)
	}
	return from, err
}

// GenerateDataKey makes a key for the caller's own encryption: random bytes of the token, in an
// envelope, and in clear too if the request asks for it. The server keeps neither.
func (v *Verbs) GenerateDataKey(ctx context.Context, c *core.Caller, in *operation.DataKeyInput) (operation.DataKeyOutput, error) {
	return engine.Run(v.engine, ctx, c, core.ActionGenerateDataKey, in, v.generateDataKey)
}

var inClear, wrapped = false, true

func (v *Verbs) generateDataKey(k *engine.Call, in *operation.DataKeyInput) (out operation.DataKeyOutput, err error) {
	k.Asked.Parameters, k.Asked.Wrapped = &envelopeParameters, &wrapped
	if in.Clear {
		k.Asked.Wrapped = &inClear
	}
	o, err := findForUse(k, in.ID, &encryptUse)
	if err != nil {
		return out, err
	}
	if in.Length < minDataKey || in.Length > maxDataKey {
		return out, core.Errorf(core.InvalidField, "a data key has %d to %d bytes, not %d", minDataKey, maxDataKey, in.Length)
	}
	secret := core.NewSecret()
	if in.Clear {
		secret = k.NewSecret() // released by the call if it fails
	} else {
		defer secret.Release()
	}
	secret.Set(append(secret.Bytes()[:0], make([]byte, in.Length)...))
	if err := k.Ports.HSM.Random(k.Ctx, secret.Bytes()); err != nil {
		return out, err
	}
	if out.EnvelopeOutput, err = v.seal(k, o, secret.Bytes(), in.AAD, in.Context); err != nil {
		return operation.DataKeyOutput{}, err
	}
	if k.Record.Detail = "in an envelope"; in.Clear {
		k.Record.Detail, out.Secret = "in an envelope and in clear", secret
	}
	return out, nil
}

// envelopeParameters are those that policies judge. The algorithm is that of the key.
var envelopeParameters = core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}

// envelopeCipher returns the algorithm of the envelopes of a key, and its complete parameters.
func envelopeCipher(o *core.ManagedObject) (envelope.Algorithm, core.CryptographicParameters, error) {
	symmetric := o.Type == core.ObjectTypeSymmetricKey
	switch {
	case symmetric && o.Algorithm() == core.AlgorithmAES:
		return envelope.AESGCM, core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmAES, BlockCipherMode: core.BlockCipherModeGCM}, nil
	case symmetric && o.Algorithm() == core.AlgorithmChaCha20Poly1305:
		return envelope.ChaCha20Poly1305, core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmChaCha20Poly1305}, nil
	}
	return 0, core.CryptographicParameters{}, core.Errorf(core.IllegalOperation, "object %s makes no envelopes: a symmetric key for AES or ChaCha20-Poly1305 does", o.ID)
}

func outputOf(o *core.ManagedObject) operation.EnvelopeOutput {
	return operation.EnvelopeOutput{ID: o.ID, Family: o.Family(), Version: o.FamilyVersion(), RotationDue: rules.RotationDue(o)}
}

// seal encrypts data with a key that the caller may use, and returns the envelope.
func (v *Verbs) seal(k *engine.Call, o *core.ManagedObject, data, aad []byte, context map[string]string) (out operation.EnvelopeOutput, err error) {
	algorithm, p, err := envelopeCipher(o)
	if err != nil {
		return out, err
	}
	if len(data) > envelope.MaxPlaintext {
		return out, core.Errorf(core.InvalidField, "the data has %d bytes; an envelope has at most %d", len(data), envelope.MaxPlaintext)
	}
	e := envelope.Envelope{Header: envelope.Header{Family: o.Family(), Version: uint32(o.FamilyVersion()), Algorithm: algorithm}}
	additional, err := e.AdditionalData(aad, context)
	if err != nil {
		return out, err
	}
	if err := k.ReserveMemory(2 * len(data)); err != nil { // the ciphertext and the envelope
		return out, err
	}
	if err := k.Consume(o, len(data), nil); err != nil {
		return out, err
	}
	if err := v.nonces.count(k, o, true); err != nil {
		return out, err
	}
	key, err := engine.KeyFor(k, o)
	if err != nil {
		return out, err
	}
	r, err := k.Ports.HSM.Encrypt(k.Ctx, key, &core.Cipher{Parameters: p, Data: data, AAD: additional})
	if k.Record.ExecutedIn = r.ExecutedIn; err != nil {
		return out, err
	}
	e.IV, e.Ciphertext, e.Tag = r.IV, r.Data, r.Tag
	out = outputOf(o)
	out.Data, err = e.Bytes()
	return out, err
}

// open decrypts an envelope with the key version that it names, which the caller may use. Whatever
// is wrong with envelope, aad or context, the error is the same.
func open(k *engine.Call, o *core.ManagedObject, e *envelope.Envelope, aad []byte, context map[string]string) ([]byte, error) {
	algorithm, p, err := envelopeCipher(o)
	if err != nil || algorithm != e.Algorithm {
		return nil, errWrongEnvelope()
	}
	additional, err := e.AdditionalData(aad, context)
	if err != nil {
		return nil, err
	}
	if err := k.ReserveMemory(len(e.Ciphertext)); err != nil {
		return nil, err
	}
	key, err := engine.KeyFor(k, o)
	if err != nil {
		return nil, err
	}
	r, err := k.Ports.HSM.Decrypt(k.Ctx, key, &core.Cipher{Parameters: p, Data: e.Ciphertext, IV: e.IV, AAD: additional, Tag: e.Tag})
	k.Record.ExecutedIn = r.ExecutedIn
	if core.CodeOf(err) == core.CryptographicFailure {
		err = errWrongEnvelope()
	}
	return r.Data, err
}

// errWrongEnvelope says nothing about which of them is wrong.
func errWrongEnvelope() error {
	return core.Errorf(core.CryptographicFailure, "the envelope cannot be decrypted: it was changed, it is of another key, or aad or context are others")
}

// versionOf returns the key version that made an envelope. If a key is named and the envelope is
// of no version of its family, the error is that of a wrong tag. decide is then asked first, so
// that a caller who may not use the named key learns nothing else.
func versionOf(k *engine.Call, named core.Identifier, e *envelope.Envelope, decide func(core.Identifier) error) (*core.ManagedObject, error) {
	if !isNamed(named) {
		return findVersion(k, e)
	}
	o, err := loadNamed(k, named)
	if err != nil {
		return nil, err
	}
	if o.Family() == e.Family {
		version, err := findVersion(k, e)
		if core.CodeOf(err) != core.ItemNotFound {
			return version, err
		}
	}
	if err := asAbsent(k, named, o, decide(core.ID(o.ID))); err != nil {
		return nil, err
	}
	return nil, errWrongEnvelope()
}

// isNamed reports whether a request names a key.
func isNamed(id core.Identifier) bool { return id != core.Identifier{} }

// loadNamed returns the key that a request names. It does not ask the policy.
func loadNamed(k *engine.Call, id core.Identifier) (*core.ManagedObject, error) {
	if id.Family {
		return engine.FindVersion(k, id, false)
	}
	return k.LoadObject(id.Text)
}

// asAbsent answers a denial as if the key did not exist, if the caller may not see the object and
// has not named it by its identifier: an alias or an envelope did.
func asAbsent(k *engine.Call, named core.Identifier, o *core.ManagedObject, err error) error {
	switch {
	case core.CodeOf(err) != core.PermissionDenied || isNamed(named) && named.Alias == "" || engine.MaySee(k, o):
		return err
	case named.Family:
		return engine.NoKey(named)
	}
	return errNoVersion()
}

// findVersion returns the version of a key that an envelope names. It does not ask the policy.
func findVersion(k *engine.Call, e *envelope.Envelope) (*core.ManagedObject, error) {
	o, err := engine.FindVersion(k, core.Identifier{Text: e.Family, Family: true, Version: int64(e.Version)}, false)
	if core.CodeOf(err) == core.ItemNotFound || err == nil && (o.Family() != e.Family || o.FamilyVersion() != int64(e.Version)) {
		return nil, errNoVersion()
	}
	return o, err
}

func errNoVersion() error {
	return core.Errorf(core.ItemNotFound, "there is no key of the family and the version that the envelope names")
}
