package keyroutes

import (
	"net/http"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

func readAlias(in *api.AliasRequest) (out operation.AliasInput, err error) {
	out.Key, err = keyNamed(in.KeyID)
	return out, err
}

func aliasShown(out *operation.AliasOutput) api.Alias {
	return api.Alias{Alias: out.Alias, KeyID: out.Family}
}

// setAlias gives an alias to a key, or moves it there.
func (s *service) setAlias(c *core.Caller, r *http.Request) (api.Alias, error) {
	in, err := readFor(s, c, r, core.ActionModifyAttribute, readAlias)
	if err != nil {
		return api.Alias{}, err
	}
	in.Alias = r.PathValue("name")
	out, err := s.Attributes.SetAlias(r.Context(), c, &in)
	return aliasShown(&out), err
}

func (s *service) getAlias(c *core.Caller, r *http.Request) (api.Alias, error) {
	out, err := s.Attributes.FindAlias(r.Context(), c, &operation.AliasInput{Alias: r.PathValue("name")})
	return aliasShown(&out), err
}

func (s *service) removeAlias(c *core.Caller, r *http.Request) (door.Nothing, error) {
	_, err := s.Attributes.RemoveAlias(r.Context(), c, &operation.AliasInput{Alias: r.PathValue("name")})
	return door.Nothing{}, err
}
