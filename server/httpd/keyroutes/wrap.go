package keyroutes

import (
	"net/http"
	"slices"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// wrapInput is what is to be wrapped: bytes, or a key of the server.
type wrapInput struct {
	bytes *operation.WrapBytesInput
	key   *operation.GetInput
}

func readWrap(in *api.WrapRequest) (out wrapInput, err error) {
	id, err := keyNamed(in.KeyID)
	if err != nil {
		clear(in.KeyMaterial)
		return out, err
	}
	if in.TargetKeyID == nil {
		out.bytes = &operation.WrapBytesInput{ID: id, Parameters: wrappingOf(in.Wrapping), Data: in.KeyMaterial}
		return out, nil
	}
	out.key = &operation.GetInput{Specification: &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding,
		Encryption: &core.WrappingKeyInfo{Key: &id, Parameters: wrappingOf(in.Wrapping)}}}
	out.key.ID, err = keyNamed(*in.TargetKeyID)
	return out, err
}

// wrap wraps bytes, or a key by the same verb as KMIP's Get.
func (s *service) wrap(c *core.Caller, r *http.Request) (out api.WrapAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionEncrypt, readWrap)
	if err != nil {
		return out, err
	}
	if in.bytes != nil {
		defer clear(in.bytes.Data)
		made, err := s.Objects.WrapBytes(r.Context(), c, in.bytes)
		return api.WrapAnswer{KeyID: made.ID, WrappedKey: made.Data}, err
	}
	got, err := s.Objects.Get(r.Context(), c, in.key)
	if err != nil {
		return out, err
	}
	defer got.Secret.Release()
	return api.WrapAnswer{KeyID: in.key.Specification.Encryption.ID, WrappedKey: slices.Clone(got.Object.KeyBlock.Wrapped)}, nil
}

// unwrapInput is what is to be unwrapped: into bytes, or into a new key.
type unwrapInput struct {
	bytes *operation.WrapBytesInput
	key   *operation.RegisterInput
}

func readUnwrap(c *core.Caller) func(*api.UnwrapRequest) (unwrapInput, error) {
	return func(in *api.UnwrapRequest) (out unwrapInput, err error) {
		if in.Into != nil {
			out.key, err = readUnwrapInto(c, in, in.Into)
			return out, err
		}
		id, err := keyNamed(in.KeyID)
		out.bytes = &operation.WrapBytesInput{ID: id, Parameters: wrappingOf(in.Wrapping), Data: in.WrappedKey}
		return out, err
	}
}

// readUnwrapInto translates a request that makes a key, as an import of a wrapped one.
func readUnwrapInto(c *core.Caller, in *api.UnwrapRequest, key *api.NewKey) (*operation.RegisterInput, error) {
	if key.Type == typePair {
		return nil, errPairInto
	}
	return readImport(c, &api.ImportedKey{WrappedKey: in.WrappedKey, WrappingKeyID: &in.KeyID, Wrapping: in.Wrapping,
		Type: key.Type, Algorithm: key.Algorithm, Length: key.Length, Curve: key.Curve, Usage: key.Usage, Name: key.Name, Group: key.Group, Tags: key.Tags, Description: key.Description,
		Attributes: key.Attributes, ObjectGroups: key.ObjectGroups, ExpiresAt: key.ExpiresAt, Custody: key.Custody, Sensitive: key.Sensitive, Extractable: key.Extractable, Activate: key.Activate}, nil)
}

var errPairInto = core.Errorf(core.InvalidField, `"into" makes keys of type "symmetric" and "secret" alone; import a private key by POST /v1/keys/import`)

// unwrap unwraps bytes in clear, or a key by the same verb as KMIP's Register.
func (s *service) unwrap(c *core.Caller, r *http.Request) (out api.UnwrapAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionDecrypt, readUnwrap(c))
	if err != nil {
		return out, err
	}
	if in.bytes != nil {
		made, err := s.Objects.UnwrapBytes(r.Context(), c, in.bytes)
		return api.UnwrapAnswer{KeyID: made.ID, KeyMaterial: takeSecret(made.Secret)}, err
	}
	made, err := s.Objects.Register(r.Context(), c, in.key)
	if err != nil {
		return out, err
	}
	key := showMade(made.Made).Key
	return api.UnwrapAnswer{KeyID: in.key.Object.KeyBlock.Wrapping.Encryption.ID, Key: &key}, nil
}

// takeSecret returns a copy of the bytes of an answer, which is zeroed when it has been sent.
func takeSecret(s *core.Secret) []byte {
	if s == nil {
		return nil
	}
	defer s.Release()
	return slices.Clone(s.Bytes())
}

// derivationMethods are the methods of derivation by their name in the API.
var derivationMethods = map[string]core.DerivationMethod{"hkdf": core.DerivationMethodHKDF, "sp800-108": core.DerivationMethodNIST800_108C, "sp800-108-feedback": core.DerivationMethodNIST800_108F,
	"sp800-108-double-pipeline": core.DerivationMethodNIST800_108DPI, "hmac": core.DerivationMethodHMAC}

// deriveInput is what is to be derived: bytes, or a new key.
type deriveInput struct {
	bytes *operation.DeriveBytesInput
	key   *operation.DeriveKeyInput
}

func readDerive(c *core.Caller) func(*api.DeriveRequest) (deriveInput, error) {
	return func(in *api.DeriveRequest) (out deriveInput, err error) {
		id, err := keyNamed(in.KeyID)
		if err != nil {
			return out, err
		}
		method, parameters := derivationMethods[in.Method], operation.DerivationParameters{Salt: in.Salt}
		if in.Context != nil {
			parameters.Data = [][]byte{in.Context}
		}
		if in.Hash != nil {
			parameters.Parameters = &core.CryptographicParameters{HashingAlgorithm: hashOf(*in.Hash)}
		}
		if in.Into != nil {
			out.key, err = readDeriveInto(c, in.Into, in.Length)
			if err == nil {
				out.key.IDs, out.key.Method, out.key.Parameters = []core.Identifier{id}, method, parameters
			}
			return out, err
		}
		if in.Length == nil {
			return out, core.Errorf(core.InvalidField, `"length" must be given unless a key is made by "into"`)
		}
		out.bytes = &operation.DeriveBytesInput{ID: id, Method: method, Parameters: parameters, Length: int(*in.Length)}
		return out, nil
	}
}

// readDeriveInto translates the key that is to be derived. length is in bytes; nil: the key says it.
func readDeriveInto(c *core.Caller, key *api.NewKey, length *int32) (*operation.DeriveKeyInput, error) {
	if key.Type == typePair {
		return nil, errPairInto
	}
	if err := checkGroup(c, key.Group); err != nil {
		return nil, err
	}
	if length != nil && key.Length != nil {
		return nil, core.Errorf(core.InvalidField, `"length" in bytes and "into.length" in bits are both given; give one of them`)
	}
	if length != nil {
		bits := 8 * *length
		key.Length = &bits
	}
	attributes, err := readNewKey(key)
	if err != nil {
		return nil, err
	}
	return &operation.DeriveKeyInput{ObjectType: importedTypes[key.Type].object, Attributes: attributes.common, ActivateNow: orElse(key.Activate, true)}, nil
}

// derive derives bytes in clear, or a key by the same verb as KMIP's Derive Key.
func (s *service) derive(c *core.Caller, r *http.Request) (out api.DeriveAnswer, err error) {
	in, err := readFor(s, c, r, core.ActionDeriveKey, readDerive(c))
	if err != nil {
		return out, err
	}
	if in.bytes != nil {
		made, err := s.Objects.DeriveBytes(r.Context(), c, in.bytes)
		return api.DeriveAnswer{KeyID: made.Family, Version: int32(made.Version), Derived: takeSecret(made.Secret)}, err
	}
	made, err := s.Objects.DeriveKey(r.Context(), c, in.key)
	if err != nil {
		return out, err
	}
	key := showMade(made.Made).Key
	return api.DeriveAnswer{KeyID: made.Base.Family(), Version: int32(made.Base.FamilyVersion()), Key: &key}, nil
}
