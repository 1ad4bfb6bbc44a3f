package server

import (
	"context"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/adminsocket"
)

// TokenWanted is what a command says of a token that it issues for a user.
type TokenWanted struct {
	User     string   `json:"user"`
	Lifetime string   `json:"lifetime,omitempty"` // "15m"; "": that of the settings
	Actions  []string `json:"actions,omitempty"`  // nothing: all that the user may do
	Keys     []string `json:"keys,omitempty"`     // nothing: all
	Reason   string   `json:"reason,omitempty"`
}

// IssuedToken is a new access token, which nobody can read again.
type IssuedToken struct {
	AccessToken string    `json:"accessToken"`
	TokenID     string    `json:"tokenId"`
	ExpiresAt   time.Time `json:"expiresAt"`
}

func (d *adminDoor) issueToken(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	var wanted TokenWanted
	if err := q.Decode(&wanted); err != nil {
		return nil, err
	}
	in := admin.IssueTokenInput{Tenant: q.Tenant(), User: wanted.User, Actions: wanted.Actions, Keys: wanted.Keys, Reason: wanted.Reason}
	if wanted.Lifetime != "" {
		var err error
		if in.Lifetime, err = time.ParseDuration(wanted.Lifetime); err != nil || in.Lifetime <= 0 {
			return nil, core.Errorf(core.InvalidField, "%q is no lifetime such as 15m or 12h", core.ClientText(wanted.Lifetime))
		}
	}
	out, err := d.tokens.Issue(ctx, c, in)
	defer clear(out.Token)
	return IssuedToken{AccessToken: string(out.Token), TokenID: out.ID, ExpiresAt: time.Unix(out.Expires, 0).UTC()}, err
}

// Token is an access token as commands see it.
type Token struct {
	TokenID   string    `json:"tokenId"`
	Principal string    `json:"principal"`
	IssuedAt  time.Time `json:"issuedAt"`
	ExpiresAt time.Time `json:"expiresAt"`
	Actions   []string  `json:"actions,omitempty"`
	Keys      []string  `json:"keys,omitempty"`
	BoundTo   string    `json:"boundTo,omitempty"` // SHA-256 of a client certificate, hex
}

func (d *adminDoor) listTokens(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	all, err := d.tokens.List(ctx, c, q.Tenant(), q.Get("after"), AdminPage)
	out := make([]Token, len(all))
	for i, t := range all {
		out[i] = Token{TokenID: t.ID, Principal: t.Principal, IssuedAt: time.Unix(t.Issued, 0).UTC(), ExpiresAt: time.Unix(t.Expires, 0).UTC(), Actions: t.Actions, Keys: t.Keys, BoundTo: t.BoundTo}
	}
	return out, err
}

func (d *adminDoor) revokeToken(ctx context.Context, c *core.Caller, q *adminsocket.Question) (any, error) {
	return struct{}{}, d.tokens.Revoke(ctx, c, q.Tenant(), q.Get("id"))
}
