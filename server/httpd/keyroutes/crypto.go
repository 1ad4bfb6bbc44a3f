package keyroutes

import (
	"net/http"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// encryptBody is the body of POST /v1/encrypt; byte strings are base64.
type encryptBody struct {
	KeyID     string `json:"key_id"`
	Plaintext []byte `json:"plaintext"`
	AAD       []byte `json:"aad"`
	Mode      string `json:"mode"` // "GCM" (when left out), "CBC", "CTR"
}

type encryptAnswer struct {
	KeyID      string `json:"key_id"`
	Ciphertext []byte `json:"ciphertext"`
	IV         []byte `json:"iv,omitempty"`
	Tag        []byte `json:"tag,omitempty"`
}

// decryptBody is the body of POST /v1/decrypt.
type decryptBody struct {
	KeyID      string `json:"key_id"`
	Ciphertext []byte `json:"ciphertext"`
	IV         []byte `json:"iv"`
	Tag        []byte `json:"tag"`
	AAD        []byte `json:"aad"`
	Mode       string `json:"mode"`
}

type decryptAnswer struct {
	KeyID     string `json:"key_id"`
	Plaintext []byte `json:"plaintext"`
}

// modeOf takes modes that are safe with an IV made here; AEAD is the default.
func modeOf(s string) (*core.CryptographicParameters, error) {
	p := &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}
	switch s {
	case "", "GCM":
	case "CBC":
		p.BlockCipherMode, p.PaddingMethod = core.BlockCipherModeCBC, core.PaddingMethodPKCS5
	case "CTR":
		p.BlockCipherMode = core.BlockCipherModeCTR
	default:
		return nil, core.Errorf(core.InvalidField, `"mode" must be "GCM", "CBC" or "CTR"`)
	}
	return p, nil
}

// cipherBody is the body of a request to encrypt or decrypt.
type cipherBody interface {
	// parameters returns the parameters of its mode. It fails if a field is missing.
	parameters() (*core.CryptographicParameters, error)
}

// readCipherBody decodes a body into in and returns its parameters. If it fails, the
// action is recorded as refused.
func (s *service) readCipherBody(c *core.Caller, r *http.Request, action core.Action, in cipherBody) (*core.CryptographicParameters, error) {
	err := door.Decode(r.Body, in)
	if err == nil {
		var p *core.CryptographicParameters
		if p, err = in.parameters(); err == nil {
			return p, nil
		}
	}
	return nil, s.Engine.RecordRefused(r.Context(), c, action, err)
}

func (in *encryptBody) parameters() (*core.CryptographicParameters, error) {
	p, err := modeOf(in.Mode)
	if err == nil && (in.KeyID == "" || in.Plaintext == nil) {
		return nil, core.Errorf(core.InvalidField, `"key_id" and "plaintext" must be given`)
	}
	return p, err
}

func (in *decryptBody) parameters() (*core.CryptographicParameters, error) {
	p, err := modeOf(in.Mode)
	if err == nil && (in.KeyID == "" || in.Ciphertext == nil) {
		return nil, core.Errorf(core.InvalidField, `"key_id" and "ciphertext" must be given`)
	}
	return p, err
}

func (s *service) encrypt(c *core.Caller, r *http.Request) (encryptAnswer, error) {
	var in encryptBody
	p, err := s.readCipherBody(c, r, core.ActionEncrypt, &in)
	if err != nil {
		return encryptAnswer{}, err
	}
	out, err := s.Uses.Encrypt(r.Context(), c, &operation.EncryptInput{ID: core.ID(in.KeyID), Parameters: p, Data: in.Plaintext, AAD: in.AAD})
	clear(in.Plaintext)
	if err != nil {
		return encryptAnswer{}, err
	}
	return encryptAnswer{KeyID: out.ID, Ciphertext: out.Data, IV: out.IV, Tag: out.Tag}, nil
}

func (s *service) decrypt(c *core.Caller, r *http.Request) (decryptAnswer, error) {
	var in decryptBody
	p, err := s.readCipherBody(c, r, core.ActionDecrypt, &in)
	if err != nil {
		return decryptAnswer{}, err
	}
	out, err := s.Uses.Decrypt(r.Context(), c, &operation.DecryptInput{ID: core.ID(in.KeyID), Parameters: p, Data: in.Ciphertext, IV: in.IV, Tag: in.Tag, AAD: in.AAD})
	if err != nil {
		return decryptAnswer{}, err
	}
	return decryptAnswer{KeyID: out.ID, Plaintext: out.Data}, nil
}
