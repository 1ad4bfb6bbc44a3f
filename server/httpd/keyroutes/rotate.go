package keyroutes

import (
	"net/http"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

func readRotate(in *api.RotateRequest) (out operation.RotateInput, err error) {
	if in.ActivateAt != nil {
		out.ActivateAt, err = door.ReadTime("activateAt", *in.ActivateAt)
	}
	return out, err
}

// rotateKey makes a new version of a key, by the same verbs as KMIP's Re-key and Re-key Key Pair.
// The old version goes on processing what it has protected.
func (s *service) rotateKey(c *core.Caller, r *http.Request) (keyAnswer, error) {
	in, err := readFor(s, c, r, core.ActionReKey, readRotate)
	if err != nil {
		return keyAnswer{}, err
	}
	if in.ID, err = s.pathKey(c, r, core.ActionReKey); err != nil {
		return keyAnswer{}, err
	}
	out, err := s.Objects.Rotate(r.Context(), c, &in)
	if err != nil {
		return keyAnswer{}, err
	}
	made := showMade(out.Made)
	made.PublicKeyID = out.PublicID
	return made, nil
}
