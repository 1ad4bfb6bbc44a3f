package keyroutes

import (
	"net/http"
	"slices"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// modes are the block cipher modes by their name in the API. Without a name it is the one that
// authenticates.
var modes = map[string]core.CryptographicParameters{
	"GCM": {BlockCipherMode: core.BlockCipherModeGCM},
	"CBC": {BlockCipherMode: core.BlockCipherModeCBC, PaddingMethod: core.PaddingMethodPKCS5},
	"CTR": {BlockCipherMode: core.BlockCipherModeCTR},
}

// defaultMode authenticates, and needs no IV of the client.
const defaultMode = "GCM"

func modeOf(name *string) *core.CryptographicParameters {
	p := modes[orElse(name, defaultMode)]
	return &p
}

// orElse returns a member of a body, or another value if it was left out.
func orElse[T any](given *T, otherwise T) T {
	if given == nil {
		return otherwise
	}
	return *given
}

// plainBytes returns the bytes of a member that is base64, or text in its encoding. The caller
// zeroes them.
func plainBytes(member string, text api.Encoded, encoding *string) ([]byte, error) {
	out, ok := text.Decode(encoding)
	if !ok {
		return nil, core.Errorf(core.InvalidField, "%q is no base64 (RFC 4648 section 4)", member)
	}
	return out, nil
}

// readFor decodes the body of a request into one of the specification, and reads it as the input
// of an operation. A body that is refused leaves a record.
func readFor[Body, In any, Ptr interface {
	*Body
	door.Specified
}](s *service, c *core.Caller, r *http.Request, action core.Action, read func(Ptr) (In, error)) (in In, err error) {
	body := Ptr(new(Body))
	if err = decodeBody(r, body); err == nil {
		in, err = read(body)
	}
	if err != nil {
		return in, s.Engine.RecordRefused(r.Context(), c, action, err)
	}
	return in, nil
}

// keyNamed reads how a request names a key: ID, ID@VERSION, alias/NAME or alias/NAME@VERSION.
func keyNamed(text string) (core.Identifier, error) { return rules.ParseKeyReference(text) }

// pathKey reads the key in the path of a request. A reference that is none leaves a record.
func (s *service) pathKey(c *core.Caller, r *http.Request, action core.Action) (core.Identifier, error) {
	id, err := keyNamed(r.PathValue("keyId"))
	if err != nil {
		return id, s.Engine.RecordRefused(r.Context(), c, action, err)
	}
	return id, nil
}

// formatRaw is the format of a ciphertext whose IV and tag are members of their own.
const formatRaw = "raw"

// cipherInput is what is asked of one of two verbs, and how a plaintext in the answer is written.
type cipherInput[Raw any] struct {
	raw      *Raw
	envelope *operation.EnvelopeInput
	encoding *string
}

func readEncrypt(in *api.EncryptRequest) (out cipherInput[operation.EncryptInput], err error) {
	defer clear(in.Plaintext)
	id, err := keyNamed(in.KeyID)
	if err != nil {
		return out, err
	}
	if err := checkFormat(in.Format, in.Context != nil, in.Mode != nil || in.IV != nil); err != nil {
		return out, err
	}
	data, err := plainBytes("plaintext", in.Plaintext, in.Encoding)
	if orElse(in.Format, "") == formatRaw {
		out.raw = &operation.EncryptInput{ID: id, Parameters: modeOf(in.Mode), AAD: in.AAD, IV: in.IV, Data: data}
	} else {
		out.envelope = &operation.EnvelopeInput{ID: id, AAD: in.AAD, Context: in.Context, Data: data}
	}
	return out, err
}

// checkFormat refuses members that have no effect in a format.
func checkFormat(format *string, ofEnvelope, ofRaw bool) error {
	switch isRaw := orElse(format, "") == formatRaw; {
	case isRaw && ofEnvelope:
		return core.Errorf(core.InvalidField, `"context" goes with envelopes alone; leave it or "format" out`)
	case !isRaw && ofRaw:
		return core.Errorf(core.InvalidField, `"mode", "iv" and "tag" go with "format": "raw" alone; leave them out`)
	}
	return nil
}

func (s *service) encrypt(c *core.Caller, r *http.Request) (out api.EncryptAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionEncrypt, readEncrypt)
	if err != nil {
		return out, err
	}
	if in.raw != nil {
		defer clear(in.raw.Data)
		made, err := s.Uses.Encrypt(r.Context(), c, in.raw)
		return api.EncryptAnswer{KeyID: made.ID, Ciphertext: made.Data, IV: made.IV, Tag: made.Tag}, err
	}
	defer clear(in.envelope.Data)
	made, err := s.Uses.EncryptEnvelope(r.Context(), c, in.envelope)
	return envelopeAnswer(&made), err
}

func envelopeAnswer(made *operation.EnvelopeOutput) api.EncryptAnswer {
	return api.EncryptAnswer{KeyID: made.Family, Version: int32(made.Version), Ciphertext: made.Data}
}

func readDecrypt(in *api.DecryptRequest) (out cipherInput[operation.DecryptInput], err error) {
	out.encoding = in.Encoding
	isRaw := orElse(in.Format, "") == formatRaw
	var id core.Identifier
	if in.KeyID != nil {
		id, err = keyNamed(*in.KeyID)
	} else if isRaw {
		err = core.Errorf(core.InvalidField, `"keyId" must be given with "format": "raw"`)
	}
	if err != nil {
		return out, err
	}
	if err := checkFormat(in.Format, in.Context != nil, in.Mode != nil || in.IV != nil || in.Tag != nil); err != nil {
		return out, err
	}
	if isRaw {
		out.raw = &operation.DecryptInput{ID: id, Parameters: modeOf(in.Mode), Data: in.Ciphertext, IV: in.IV, Tag: in.Tag, AAD: in.AAD}
	} else {
		out.envelope = &operation.EnvelopeInput{ID: id, Data: in.Ciphertext, AAD: in.AAD, Context: in.Context}
	}
	return out, nil
}

func (s *service) decrypt(c *core.Caller, r *http.Request) (out api.DecryptAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionDecrypt, readDecrypt)
	if err != nil {
		return out, err
	}
	var plaintext []byte
	if in.raw != nil {
		made, err := s.Uses.Decrypt(r.Context(), c, in.raw)
		if err != nil {
			return out, err
		}
		out.KeyID, plaintext = made.ID, made.Data
	} else {
		made, err := s.Uses.DecryptEnvelope(r.Context(), c, in.envelope)
		if err != nil {
			return out, err
		}
		out.KeyID, out.Version, plaintext = made.Family, int32(made.Version), made.Data
	}
	defer clear(plaintext)
	text, ok := api.Encode(plaintext, in.encoding)
	if !ok {
		return api.DecryptAnswer{}, core.Errorf(core.CryptographicFailure, `the plaintext is no UTF-8; leave "encoding" out`)
	}
	out.Plaintext = text
	return out, nil
}

func readReencrypt(in *api.ReencryptRequest) (out operation.ReencryptInput, err error) {
	out = operation.ReencryptInput{Data: in.Ciphertext, AAD: in.AAD, Context: in.Context}
	if out.ID, err = keyNamed(in.KeyID); err == nil && in.SourceKeyID != nil {
		out.Source, err = keyNamed(*in.SourceKeyID)
	}
	return out, err
}

// reencrypt turns an envelope into one of another key. The plaintext does not leave the server.
func (s *service) reencrypt(c *core.Caller, r *http.Request) (out api.EncryptAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionReencryptTo, readReencrypt)
	if err != nil {
		return out, err
	}
	made, err := s.Uses.Reencrypt(r.Context(), c, &in)
	return envelopeAnswer(&made), err
}

// usualDataKey is the length of a data key, in bytes, if the request names none.
const usualDataKey = 32

func readDataKey(in *api.DataKeyRequest) (out operation.DataKeyInput, err error) {
	out = operation.DataKeyInput{Length: int(orElse(in.Length, usualDataKey)), Clear: orElse(in.Plaintext, false), AAD: in.AAD, Context: in.Context}
	out.ID, err = keyNamed(in.KeyID)
	return out, err
}

// makeDataKey makes a key for the caller's own encryption.
func (s *service) makeDataKey(c *core.Caller, r *http.Request) (out api.DataKeyAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionGenerateDataKey, readDataKey)
	if err != nil {
		return out, err
	}
	made, err := s.Uses.GenerateDataKey(r.Context(), c, &in)
	if err != nil {
		return out, err
	}
	out = api.DataKeyAnswer{KeyID: made.Family, Version: int32(made.Version), Ciphertext: made.Data}
	if made.Secret != nil {
		out.Plaintext = slices.Clone(made.Secret.Bytes())
		made.Secret.Release()
	}
	return out, nil
}
