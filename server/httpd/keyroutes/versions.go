package keyroutes

import (
	"net/http"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// listVersions lists the versions of a key: ?limit=, ?pageToken=.
func (s *service) listVersions(c *core.Caller, r *http.Request) (api.KeyVersionPage, error) {
	var id core.Identifier
	p, err := door.ReadPage(r, door.MaxPage)
	if err == nil {
		id, err = keyNamed(r.PathValue("keyId"))
	}
	if err != nil {
		return api.KeyVersionPage{}, s.Engine.RecordRefused(r.Context(), c, core.ActionGetAttributes, err)
	}
	all, err := s.Attributes.Versions(r.Context(), c, &operation.VersionsInput{Key: id, Limit: p.Limit + 1, After: p.After})
	if err != nil {
		return api.KeyVersionPage{}, err
	}
	all, next := door.CutPage(all, p, func(o *operation.LocatedObject) string { return o.ID })
	return api.KeyVersionPage{Versions: door.Translate(all, located), NextPageToken: next}, nil
}
