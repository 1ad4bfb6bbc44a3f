package keyroutes

import (
	"net/http"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// exportKey answers with a key wrapped under another one, by the same verb as KMIP's Get, or
// with a public key.
func (s *service) exportKey(c *core.Caller, r *http.Request) (out api.ExportedKey, err error) {
	q, err := s.QueryFor(c, r, core.ActionGet, "wrapWith", "wrapping", "format")
	if err != nil {
		return out, err
	}
	id, err := s.pathKey(c, r, core.ActionGet)
	if err != nil {
		return out, err
	}
	if q["wrapWith"] == "" {
		return s.exportPublic(c, r, id, q)
	}
	spec, err := readWrapWith(q)
	if err != nil {
		return out, s.Engine.RecordRefused(r.Context(), c, core.ActionGet, err)
	}
	got, err := s.Objects.Get(r.Context(), c, &operation.GetInput{ID: id, Specification: spec})
	if err != nil {
		return out, err
	}
	defer got.Secret.Release()
	kb := &got.Object.KeyBlock
	out = api.ExportedKey{KeyID: got.ID, WrappedKey: kb.Wrapped, WrappingKeyID: spec.Encryption.ID, Length: kb.Length}
	if kb.Algorithm != 0 {
		out.Algorithm = kb.Algorithm.String()
	}
	return out, nil
}

// readWrapWith translates a query that names a wrapping key.
func readWrapWith(q map[string]string) (*core.KeyWrappingSpecification, error) {
	id, err := keyNamed(q["wrapWith"])
	if err != nil {
		return nil, err
	}
	if q["format"] != "" {
		return nil, core.Errorf(core.InvalidField, `"format" is that of a public key in clear; leave it or "wrapWith" out`)
	}
	var wrapping *string
	if name, given := q["wrapping"]; given {
		if _, known := wrappings[name]; !known {
			return nil, core.Errorf(core.InvalidField, `"wrapping" %q is none that is known; "aes-kw" is one`, door.Quotable(name))
		}
		wrapping = &name
	}
	return &core.KeyWrappingSpecification{Method: core.WrappingMethodEncrypt, Encoding: core.EncodingOptionNoEncoding, Encryption: &core.WrappingKeyInfo{Key: &id, Parameters: wrappingOf(wrapping)}}, nil
}

// exportPublic answers with a public key in clear. Nothing else leaves without a wrapping key.
func (s *service) exportPublic(c *core.Caller, r *http.Request, id core.Identifier, q map[string]string) (out api.ExportedKey, err error) {
	if q["wrapping"] != "" {
		return out, s.Engine.RecordRefused(r.Context(), c, core.ActionGet, core.Errorf(core.InvalidField, `"wrapping" goes with "wrapWith" alone; leave it out`))
	}
	form, err := publicForm(s, c, r, q)
	if err != nil {
		return out, err
	}
	about, err := s.Attributes.GetAttributes(r.Context(), c, &operation.GetAttributesInput{ID: id, Names: []core.AttributeName{{Tag: core.TagObjectType}}})
	if err != nil {
		return out, err
	}
	if core.ObjectType(about.Attributes.Num(core.TagObjectType)) != core.ObjectTypePublicKey {
		return out, s.Engine.RecordRefused(r.Context(), c, core.ActionGet, core.Errorf(core.InvalidField, `"wrapWith" must name a key to wrap %s with: only public keys leave in clear here`, about.ID))
	}
	public, err := answerPublic(s, c, r, about.ID, form)
	return api.ExportedKey{KeyID: public.KeyID, PublicKey: public.PublicKey, JWK: public.JWK}, err
}
