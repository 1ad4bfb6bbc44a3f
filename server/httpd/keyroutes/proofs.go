package keyroutes

import (
	"net/http"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// hashOf returns a hashing algorithm by its name in KMIP, such as SHA-256.
func hashOf(name string) core.HashingAlgorithm {
	n, _ := core.TagHashingAlgorithm.Info().Enum.ByName(name)
	return core.HashingAlgorithm(n)
}

// signatureParameters reads an algorithm such as RSA-PSS-SHA-256. It returns nil for none: the
// parameters of the key count then.
func signatureParameters(algorithm *string) *core.CryptographicParameters {
	if algorithm == nil {
		return nil
	}
	if *algorithm == "Ed25519" {
		return &core.CryptographicParameters{CryptographicAlgorithm: core.AlgorithmEd25519}
	}
	kind, hash, _ := strings.Cut(*algorithm, "-SHA-")
	p := &core.CryptographicParameters{HashingAlgorithm: hashOf("SHA-" + hash)}
	switch kind {
	case "RSA-PSS":
		p.CryptographicAlgorithm, p.PaddingMethod = core.AlgorithmRSA, core.PaddingMethodPSS
	case "RSA-PKCS1":
		p.CryptographicAlgorithm, p.PaddingMethod = core.AlgorithmRSA, core.PaddingMethodPKCS1V1_5
	}
	return p
}

// signedData returns the bytes of a message, or its digest. The specification has seen to it
// that one of them is given.
func signedData(message api.Encoded, encoding *string, digest []byte) (data, digested []byte, err error) {
	if digest != nil {
		return nil, digest, nil
	}
	data, err = plainBytes("message", message, encoding)
	return data, nil, err
}

func readSign(in *api.SignRequest) (out operation.SignInput, err error) {
	defer clear(in.Message)
	out = operation.SignInput{Parameters: signatureParameters(in.Algorithm)}
	if out.ID, err = keyNamed(in.KeyID); err != nil {
		return out, err
	}
	out.Data, out.Digested, err = signedData(in.Message, in.Encoding, in.Digest)
	return out, err
}

func (s *service) sign(c *core.Caller, r *http.Request) (out api.SignAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionSign, readSign)
	if err != nil {
		return out, err
	}
	defer clear(in.Data)
	made, err := s.Uses.Sign(r.Context(), c, &in)
	return api.SignAnswer{KeyID: made.ID, Signature: made.Signature}, err
}

func readVerify(in *api.VerifyRequest) (out operation.SignatureVerifyInput, err error) {
	defer clear(in.Message)
	out = operation.SignatureVerifyInput{Parameters: signatureParameters(in.Algorithm), Signature: in.Signature}
	if out.ID, err = keyNamed(in.KeyID); err != nil {
		return out, err
	}
	out.Data, out.Digested, err = signedData(in.Message, in.Encoding, in.Digest)
	return out, err
}

func (s *service) verify(c *core.Caller, r *http.Request) (out api.VerifyAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionSignatureVerify, readVerify)
	if err != nil {
		return out, err
	}
	defer clear(in.Data)
	made, err := s.Uses.SignatureVerify(r.Context(), c, &in)
	return validAnswer(made.ID, made.Validity), err
}

func validAnswer(id string, v core.ValidityIndicator) api.VerifyAnswer {
	return api.VerifyAnswer{KeyID: id, Valid: v == core.ValidityIndicatorValid}
}

// macParameters reads an algorithm such as HMAC-SHA256 or CMAC. It returns nil for none: the
// algorithm of the key counts then.
func macParameters(algorithm *string) *core.CryptographicParameters {
	if algorithm == nil {
		return nil
	}
	if *algorithm == "CMAC" {
		return &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeCMAC}
	}
	return &core.CryptographicParameters{HashingAlgorithm: hashOf("SHA-" + strings.TrimPrefix(*algorithm, "HMAC-SHA"))}
}

func readMAC(in *api.MACRequest) (out operation.MACInput, err error) {
	defer clear(in.Data)
	out = operation.MACInput{Parameters: macParameters(in.Algorithm)}
	if out.ID, err = keyNamed(in.KeyID); err != nil {
		return out, err
	}
	out.Data, err = plainBytes("data", in.Data, in.Encoding)
	return out, err
}

func (s *service) makeMAC(c *core.Caller, r *http.Request) (out api.MACAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionMAC, readMAC)
	if err != nil {
		return out, err
	}
	defer clear(in.Data)
	made, err := s.Uses.MAC(r.Context(), c, &in)
	return api.MACAnswer{KeyID: made.ID, MAC: made.MAC}, err
}

func readMACVerify(in *api.MACVerifyRequest) (out operation.MACVerifyInput, err error) {
	defer clear(in.Data)
	out = operation.MACVerifyInput{Parameters: macParameters(in.Algorithm), MAC: in.MAC}
	if out.ID, err = keyNamed(in.KeyID); err != nil {
		return out, err
	}
	out.Data, err = plainBytes("data", in.Data, in.Encoding)
	return out, err
}

func (s *service) verifyMAC(c *core.Caller, r *http.Request) (out api.VerifyAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionMACVerify, readMACVerify)
	if err != nil {
		return out, err
	}
	defer clear(in.Data)
	made, err := s.Uses.MACVerify(r.Context(), c, &in)
	return validAnswer(made.ID, made.Validity), err
}

func readHash(in *api.HashRequest) (out operation.HashInput, err error) {
	defer clear(in.Data)
	out = operation.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: hashOf(in.Algorithm)}}
	out.Data, err = plainBytes("data", in.Data, in.Encoding)
	return out, err
}

func (s *service) hash(c *core.Caller, r *http.Request) (out api.HashAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionHash, readHash)
	if err != nil {
		return out, err
	}
	defer clear(in.Data)
	made, err := s.Uses.Hash(r.Context(), c, &in)
	return api.HashAnswer{Digest: made.Data}, err
}

// random answers with ?bytes= random bytes of the token.
func (s *service) random(c *core.Caller, r *http.Request) (out api.RandomAnswer, err error) {
	q, err := s.QueryFor(c, r, core.ActionRNGRetrieve, "bytes")
	if err != nil {
		return out, err
	}
	n, err := strconv.ParseInt(q["bytes"], 10, 32)
	if err != nil {
		return out, s.Engine.RecordRefused(r.Context(), c, core.ActionRNGRetrieve, core.Errorf(core.InvalidField, `"bytes" must be a number from 1 to 65536`))
	}
	made, err := s.Uses.RNGRetrieve(r.Context(), c, &operation.RNGRetrieveInput{Length: int32(n)})
	return api.RandomAnswer{Random: made.Data}, err
}
