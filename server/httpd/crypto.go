package httpd

import (
	"net/http"

	"github.com/keyreeve/keyreeve/core"
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

// readCipherBody decodes a body into in, and then reads its mode, which is a field of in.
func readCipherBody(r *http.Request, in any, mode *string) (*core.CryptographicParameters, error) {
	if err := decode(r.Body, in); err != nil {
		return nil, err
	}
	return modeOf(*mode)
}

func (s *service) encrypt(c *core.Caller, r *http.Request) (encryptAnswer, error) {
	var in encryptBody
	p, err := readCipherBody(r, &in, &in.Mode)
	if err == nil && (in.KeyID == "" || in.Plaintext == nil) {
		err = core.Errorf(core.InvalidField, `"key_id" and "plaintext" must be given`)
	}
	if err != nil {
		return encryptAnswer{}, s.Engine.RecordRefused(r.Context(), c, core.ActionEncrypt, err)
	}
	out, err := s.Uses.Encrypt(r.Context(), c, &core.EncryptInput{ID: core.ID(in.KeyID), Parameters: p, Data: in.Plaintext, AAD: in.AAD})
	clear(in.Plaintext)
	if err != nil {
		return encryptAnswer{}, err
	}
	return encryptAnswer{KeyID: out.ID, Ciphertext: out.Data, IV: out.IV, Tag: out.Tag}, nil
}

func (s *service) decrypt(c *core.Caller, r *http.Request) (decryptAnswer, error) {
	var in decryptBody
	p, err := readCipherBody(r, &in, &in.Mode)
	if err == nil && (in.KeyID == "" || in.Ciphertext == nil) {
		err = core.Errorf(core.InvalidField, `"key_id" and "ciphertext" must be given`)
	}
	if err != nil {
		return decryptAnswer{}, s.Engine.RecordRefused(r.Context(), c, core.ActionDecrypt, err)
	}
	out, err := s.Uses.Decrypt(r.Context(), c, &core.DecryptInput{ID: core.ID(in.KeyID), Parameters: p, Data: in.Ciphertext, IV: in.IV, Tag: in.Tag, AAD: in.AAD})
	if err != nil {
		return decryptAnswer{}, err
	}
	return decryptAnswer{KeyID: out.ID, Plaintext: out.Data}, nil
}
