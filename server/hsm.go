package server

import (
	"context"
	"log/slog"

	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/hsm/member"
)

// hsmSettings are those of the token and of the custody over it.
type hsmSettings struct {
	member.Config
	custody.Options
}

// openHSM logs in to a token and tests it. Closing the custody closes the module.
func openHSM(ctx context.Context, s hsmSettings, log *slog.Logger) (*custody.Custody, *member.Module, error) {
	s.Log = log
	m, err := member.Open(s.Config)
	if err != nil {
		return nil, nil, err
	}
	c, err := custody.Open(ctx, m, s.Options)
	if err != nil {
		m.Close(ctx)
		return nil, nil, err
	}
	return c, m, nil
}
