package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/server"
)

type tokenIssueCmd struct {
	withReason
	User     string   `arg:"" help:"Name of the user."`
	Lifetime string   `help:"How long it lives, such as 15m or 12h."`
	Action   []string `help:"Narrow it to this action: encrypt, decrypt, ...; repeat it for more."`
	Key      []string `help:"Narrow it to this Unique Identifier; repeat it for more."`
	JSON     bool     `help:"Print a JSON object."`
}

// Run prints the token.
func (c *tokenIssueCmd) Run() error {
	body, err := json.Marshal(server.TokenWanted{User: c.User, Lifetime: c.Lifetime, Actions: c.Action, Keys: c.Key, Reason: c.Reason})
	if err != nil {
		return err
	}
	var out server.IssuedToken
	if err := c.askServerWith("POST", "/tokens", c.query(), body, &out); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(out)
	}
	fmt.Println(out.AccessToken)
	return nil
}

type tokenListCmd struct{ tenantListing }

// Run lists the tokens.
func (c *tokenListCmd) Run() error {
	return printPages(&c.tenantListing, "/tokens", func(t server.Token) string { return t.TokenID }, tokenLine)
}

// tokenLine shows one to people.
func tokenLine(t server.Token) string {
	return oneLine(fmt.Sprintf("%s | %s | until %s | actions %s | keys %s", t.TokenID, t.Principal, t.ExpiresAt.Format(time.RFC3339), strings.Join(t.Actions, ","), strings.Join(t.Keys, ",")))
}

type tokenRevokeCmd struct {
	ofTenant
	ID string `arg:"" help:"ID of the token: what stands between the first and the last underscore of it."`
}

// Run ends the token.
func (c *tokenRevokeCmd) Run() error {
	if err := c.askServer("DELETE", "/tokens/one", c.query("id", c.ID), nil); err != nil {
		return err
	}
	fmt.Println("token", c.ID, "is revoked")
	return nil
}
