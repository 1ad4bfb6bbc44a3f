package keyroutes

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"net/http"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// The values of ?format=.
const (
	formatPEM = "pem"
	formatJWK = "jwk"
)

// publicKey answers with a public key, also if the private half of its pair is named.
func (s *service) publicKey(c *core.Caller, r *http.Request) (out api.PublicKey, err error) {
	q, err := s.QueryFor(c, r, core.ActionGet, "format")
	if err != nil {
		return out, err
	}
	form, err := publicForm(s, c, r, q)
	if err != nil {
		return out, err
	}
	named, err := s.pathKey(c, r, core.ActionGet)
	if err != nil {
		return out, err
	}
	id, err := publicHalf(s, c, r, named)
	if err != nil {
		return out, err
	}
	return answerPublic(s, c, r, id, form)
}

// publicForm reads the form of a public key.
func publicForm(s *service, c *core.Caller, r *http.Request, q map[string]string) (string, error) {
	if f := q["format"]; f != "" && f != formatPEM && f != formatJWK {
		return "", s.Engine.RecordRefused(r.Context(), c, core.ActionGet, core.Errorf(core.InvalidField, `"format" must be "pem" or "jwk"`))
	}
	return q["format"], nil
}

// answerPublic answers with the public key that has an identifier.
func answerPublic(s *service, c *core.Caller, r *http.Request, id, form string) (out api.PublicKey, err error) {
	got, err := s.Objects.Get(r.Context(), c, &operation.GetInput{ID: core.ID(id), Format: core.KeyFormatTypeX509})
	if err != nil {
		return out, err
	}
	defer got.Secret.Release()
	if got.ObjectType != core.ObjectTypePublicKey {
		return out, core.Errorf(core.InvalidObjectType, "object %s is no public key", core.ClientText(id))
	}
	der := got.Object.KeyBlock.Material
	out.KeyID = got.ID
	if form != formatJWK {
		out.PublicKey = string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
		return out, nil
	}
	out.JWK, err = jwkOf(got.ID, der)
	return out, err
}

// publicHalf returns the public key of a pair, of which either half may be named. It never
// returns another kind of object.
func publicHalf(s *service, c *core.Caller, r *http.Request, id core.Identifier) (string, error) {
	link := core.AttributeName{Tag: core.TagLink}
	about, err := s.Attributes.GetAttributes(r.Context(), c, &operation.GetAttributesInput{ID: id, Names: []core.AttributeName{{Tag: core.TagObjectType}, link}})
	if err != nil {
		return "", err
	}
	switch core.ObjectType(about.Attributes.Num(core.TagObjectType)) {
	case core.ObjectTypePublicKey:
		return about.ID, nil
	case core.ObjectTypePrivateKey:
		for _, a := range about.Attributes.All(link) {
			if core.LinkType(a.Value.Field(core.TagLinkType).Num) == core.LinkTypePublicKeyLink {
				return a.Value.Field(core.TagLinkedObjectIdentifier).Text, nil
			}
		}
		return "", core.Errorf(core.ItemNotFound, "the private key %s has no Link to a public key", about.ID)
	}
	return "", core.Errorf(core.InvalidObjectType, "object %s is not half of a key pair", about.ID)
}

// jwkOf translates a SubjectPublicKeyInfo.
func jwkOf(id string, der []byte) (*api.JSONWebKey, error) {
	parsed, err := x509.ParsePKIXPublicKey(der)
	if err != nil {
		return nil, core.Wrap(core.KeyFormatTypeNotSupported, err, "the public key %s has no form as a JWK; ask for PEM", core.ClientText(id))
	}
	text := base64.RawURLEncoding.EncodeToString
	switch k := parsed.(type) {
	case *rsa.PublicKey:
		return &api.JSONWebKey{Kty: "RSA", N: text(k.N.Bytes()), E: text(big.NewInt(int64(k.E)).Bytes())}, nil
	case *ecdsa.PublicKey:
		point, err := k.Bytes()
		if err != nil {
			return nil, core.Wrap(core.KeyFormatTypeNotSupported, err, "the public key %s has no form as a JWK; ask for PEM", core.ClientText(id))
		}
		half := (len(point) - 1) / 2
		return &api.JSONWebKey{Kty: "EC", Crv: k.Curve.Params().Name, X: text(point[1 : 1+half]), Y: text(point[1+half:])}, nil
	case ed25519.PublicKey:
		return &api.JSONWebKey{Kty: "OKP", Crv: "Ed25519", X: text(k)}, nil
	}
	return nil, core.Errorf(core.KeyFormatTypeNotSupported, "the public key %s has no form as a JWK; ask for PEM", core.ClientText(id))
}
