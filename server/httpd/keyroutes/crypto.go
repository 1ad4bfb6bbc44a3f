package keyroutes

import (
	"net/http"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
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
	if err = door.Decode(r.Body, body); err == nil {
		in, err = read(body)
	}
	if err != nil {
		return in, s.Engine.RecordRefused(r.Context(), c, action, err)
	}
	return in, nil
}

func readEncrypt(in *api.EncryptRequest) (out operation.EncryptInput, err error) {
	out = operation.EncryptInput{ID: core.ID(in.KeyID), Parameters: modeOf(in.Mode), AAD: in.AAD, IV: in.IV}
	out.Data, err = plainBytes("plaintext", in.Plaintext, in.Encoding)
	return out, err
}

func (s *service) encrypt(c *core.Caller, r *http.Request) (out api.EncryptAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionEncrypt, readEncrypt)
	defer clear(in.Data)
	if err != nil {
		return out, err
	}
	made, err := s.Uses.Encrypt(r.Context(), c, &in)
	return api.EncryptAnswer{KeyID: made.ID, Ciphertext: made.Data, IV: made.IV, Tag: made.Tag}, err
}

// decryption is what is asked of Decrypt, and how its answer is written.
type decryption struct {
	operation.DecryptInput
	encoding *string
}

func readDecrypt(in *api.DecryptRequest) (decryption, error) {
	return decryption{operation.DecryptInput{ID: core.ID(in.KeyID), Parameters: modeOf(in.Mode), Data: in.Ciphertext, IV: in.IV, Tag: in.Tag, AAD: in.AAD}, in.Encoding}, nil
}

func (s *service) decrypt(c *core.Caller, r *http.Request) (out api.DecryptAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionDecrypt, readDecrypt)
	if err != nil {
		return out, err
	}
	made, err := s.Uses.Decrypt(r.Context(), c, &in.DecryptInput)
	if err != nil {
		return out, err
	}
	text, ok := api.Encode(made.Data, in.encoding)
	if !ok {
		return out, core.Errorf(core.CryptographicFailure, `the plaintext is no UTF-8; leave "encoding" out`)
	}
	return api.DecryptAnswer{KeyID: made.ID, Plaintext: text}, nil
}
