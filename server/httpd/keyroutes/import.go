package keyroutes

import (
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// importedTypes are the types of imported keys, and the format of each in clear.
var importedTypes = map[string]struct {
	object core.ObjectType
	format core.KeyFormatType
}{
	typeSymmetric: {core.ObjectTypeSymmetricKey, core.KeyFormatTypeRaw}, typeSecret: {core.ObjectTypeSecretData, core.KeyFormatTypeRaw},
	"private": {core.ObjectTypePrivateKey, core.KeyFormatTypePKCS8}, "public": {core.ObjectTypePublicKey, core.KeyFormatTypeX509},
}

// wrappings are the ways to wrap a key under one of the server, by their name in the API.
var wrappings = map[string]core.CryptographicParameters{
	"aes-kw":          {BlockCipherMode: core.BlockCipherModeNISTKeyWrap},
	"aes-kwp":         {BlockCipherMode: core.BlockCipherModeAESKeyWrapPadding},
	"rsa-oaep-sha256": {PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA256, MaskGenerator: core.MaskGeneratorMFG1, MaskGeneratorHashing: core.HashSHA256},
	"rsa-oaep-sha1":   {PaddingMethod: core.PaddingMethodOAEP, HashingAlgorithm: core.HashSHA1, MaskGenerator: core.MaskGeneratorMFG1, MaskGeneratorHashing: core.HashSHA1},
}

// wrappingOf returns the parameters of a way to wrap; nil if none is named.
func wrappingOf(name *string) *core.CryptographicParameters {
	if name == nil {
		return nil
	}
	p := wrappings[*name]
	return &p
}

// importKey takes a key that was made elsewhere, by the same verb as KMIP's Register.
func (s *service) importKey(c *core.Caller, r *http.Request) (keyAnswer, error) {
	var body api.ImportedKey
	var in *operation.RegisterInput
	material, err := door.DecodeWithSecret(r.Body, &body, "keyMaterial")
	defer clear(material)
	if err == nil {
		in, err = readImport(c, &body, material)
	}
	if err != nil {
		return keyAnswer{}, s.Engine.RecordRefused(r.Context(), c, core.ActionRegister, err)
	}
	defer clear(in.Object.KeyBlock.Material)
	out, err := s.Objects.Register(r.Context(), c, in)
	if err != nil {
		return keyAnswer{}, err
	}
	return showMade(out.Made), nil
}

// readImport translates a body. material is the text of keyMaterial, nil if there is none.
func readImport(c *core.Caller, in *api.ImportedKey, material []byte) (*operation.RegisterInput, error) {
	key := api.NewKey{Type: in.Type, Algorithm: in.Algorithm, Length: in.Length, Curve: in.Curve, Usage: in.Usage, Name: in.Name, Group: in.Group, Tags: in.Tags, Description: in.Description,
		Attributes: in.Attributes, ObjectGroups: in.ObjectGroups, ExpiresAt: in.ExpiresAt, Custody: in.Custody, Sensitive: in.Sensitive, Extractable: in.Extractable}
	if err := checkGroup(c, key.Group); err != nil {
		return nil, err
	}
	attributes, err := readNewKey(&key)
	if err != nil {
		return nil, err
	}
	kind := importedTypes[in.Type]
	out := &operation.RegisterInput{ObjectType: kind.object, Attributes: attributes.common, ActivateNow: orElse(in.Activate, true),
		Object: core.ObjectBody{Type: kind.object, SecretDataType: core.SecretDataTypePassword, KeyBlock: core.KeyBlock{Format: kind.format}}}
	if in.WrappedKey == nil {
		return out, readClear(in, material, out)
	}
	return out, readWrapped(in, out)
}

// readClear reads a key that is not wrapped.
func readClear(in *api.ImportedKey, material []byte, out *operation.RegisterInput) error {
	if in.JobID != nil || in.WrappingKeyID != nil || in.Wrapping != nil {
		return core.Errorf(core.InvalidField, `"jobId", "wrappingKeyId" and "wrapping" go with "wrappedKey" alone; leave them out`)
	}
	b := make([]byte, base64.StdEncoding.DecodedLen(len(material)))
	n, err := base64.StdEncoding.Strict().Decode(b, material)
	if err != nil || material == nil { // nil: its name is written with escapes, so it was not taken out of the body
		clear(b)
		return core.Errorf(core.InvalidField, `"keyMaterial" is no base64 (RFC 4648 section 4)`)
	}
	out.Object.KeyBlock.Material = b[:n]
	out.ImportClear = out.ObjectType != core.ObjectTypePublicKey
	return nil
}

// readWrapped reads how a key is wrapped.
func readWrapped(in *api.ImportedKey, out *operation.RegisterInput) error {
	kb := &out.Object.KeyBlock
	kb.Wrapped = in.WrappedKey
	switch {
	case (in.JobID == nil) == (in.WrappingKeyID == nil):
		return core.Errorf(core.InvalidField, `exactly one of "jobId" and "wrappingKeyId" must be given with "wrappedKey"`)
	case in.JobID != nil && in.Wrapping != nil:
		return core.Errorf(core.InvalidField, `"wrapping" goes with "wrappingKeyId" alone: an import job has an algorithm of its own`)
	case in.JobID != nil:
		out.ImportJob = *in.JobID
		return nil
	}
	id, err := keyNamed(*in.WrappingKeyID)
	if err != nil {
		return err
	}
	kb.Wrapping = &core.KeyWrappingData{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{Key: &id, Parameters: wrappingOf(in.Wrapping)}}
	return nil
}

// createdJob is the answer about a new import job.
type createdJob struct{ api.ImportJob }

// SetHeaders sets Location.
func (j createdJob) SetHeaders(h http.Header) {
	h.Set("Location", "/v1/import-jobs/"+url.PathEscape(j.JobID))
}

func showJob(j operation.ImportJob) api.ImportJob {
	return api.ImportJob{JobID: j.ID, Algorithm: j.Algorithm, Length: int32(j.Bits), ExpiresAt: door.TimeText(j.Expires),
		PublicKey: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: j.PublicKey}))}
}

func readJob(in *api.NewImportJob) (operation.CreateImportJobInput, error) {
	return operation.CreateImportJobInput{Algorithm: in.Algorithm, Bits: int(orElse(in.Length, 0))}, nil
}

func (s *service) createJob(c *core.Caller, r *http.Request) (createdJob, error) {
	in, err := readFor(s, c, r, core.ActionCreateImportJob, readJob)
	if err != nil {
		return createdJob{}, err
	}
	out, err := s.ImportJobs.Create(r.Context(), c, &in)
	if err != nil {
		return createdJob{}, err
	}
	return createdJob{showJob(out)}, nil
}

func (s *service) getJob(c *core.Caller, r *http.Request) (api.ImportJob, error) {
	out, err := s.ImportJobs.Read(r.Context(), c, &operation.ImportJobInput{ID: r.PathValue("jobId")})
	if err != nil {
		return api.ImportJob{}, err
	}
	return showJob(out), nil
}

func (s *service) deleteJob(c *core.Caller, r *http.Request) (door.Nothing, error) {
	_, err := s.ImportJobs.Delete(r.Context(), c, &operation.ImportJobInput{ID: r.PathValue("jobId")})
	return door.Nothing{}, err
}
