package keyroutes

import (
	"net/http"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// rotationAnswer is the answer about the rotation of a key.
type rotationAnswer struct {
	api.Rotation
	stored int64 // ChangeNumber of the object; it is the ETag
}

// SetHeaders sets ETag.
func (a rotationAnswer) SetHeaders(h http.Header) { door.Version(a.stored).SetHeaders(h) }

func readRotation(in *api.RotationRequest) (operation.SetRotationInput, error) {
	return operation.SetRotationInput{Every: orElse(in.Every, ""), Before: orElse(in.Before, "")}, nil
}

// setRotation says when the clock rotates a key.
func (s *service) setRotation(c *core.Caller, r *http.Request) (rotationAnswer, error) {
	in, err := readFor(s, c, r, core.ActionSetRotation, readRotation)
	if err != nil {
		return rotationAnswer{}, err
	}
	if in.ID, err = s.pathKey(c, r, core.ActionSetRotation); err != nil {
		return rotationAnswer{}, err
	}
	out, err := s.Objects.SetRotation(r.Context(), c, &in)
	if err != nil {
		return rotationAnswer{}, err
	}
	return rotationShown(out.ID, out.Changed.Attributes, out.Changed.ChangeNumber())
}

// getRotation tells when the clock rotates a key.
func (s *service) getRotation(c *core.Caller, r *http.Request) (rotationAnswer, error) {
	id, err := s.pathKey(c, r, core.ActionGetAttributes)
	if err != nil {
		return rotationAnswer{}, err
	}
	out, err := s.Attributes.GetAttributes(r.Context(), c, &operation.GetAttributesInput{ID: id})
	if err != nil {
		return rotationAnswer{}, err
	}
	return rotationShown(out.ID, out.Attributes, out.Version)
}

func rotationShown(id string, as core.Attributes, stored int64) (rotationAnswer, error) {
	a := rotationAnswer{api.Rotation{KeyID: id}, stored}
	rotation, err := rules.RotationOf(as)
	if err != nil || rotation == nil {
		return a, err
	}
	a.Every, a.Before = rotation.Every.String(), rotation.Before.String()
	if at, ok := rules.DateOf(&core.ManagedObject{Attributes: as}, core.RotateAtAttribute); ok {
		a.NextAt = door.TimeText(at)
	}
	return a, nil
}
