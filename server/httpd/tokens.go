package httpd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/keyreeve/keyreeve/api"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/tokentext"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/server/authn/password"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// tokenPath is where tokens are bought and revoked. A password may buy one before the
// client is known.
const tokenPath = "/v1/auth/token"

// tokenBody is the body of POST /v1/auth/token.
type tokenBody struct {
	GrantType string   `json:"grantType"` // "certificate" or "password"
	Tenant    string   `json:"tenant"`    // of the user; "": that of the certificate
	User      string   `json:"user"`
	Password  string   `json:"password"` // asterisks: see decodeWithPassword
	Code      string   `json:"code"`     // one-time code; "": the user needs none
	Lifetime  string   `json:"lifetime"` // "15m"
	Actions   []string `json:"actions"`
	Keys      []string `json:"keys"`
	Bind      bool     `json:"bind"` // to the certificate of this connection
}

// The values of grantType.
const (
	grantCertificate = "certificate"
	grantPassword    = "password"
)

// tokenAnswer is the answer of POST /v1/auth/token (RFC 6749 §5.1, with names of our own).
type tokenAnswer struct {
	AccessToken api.Encoded `json:"accessToken"`
	TokenID     string      `json:"tokenId"`
	TokenType   string      `json:"tokenType"`
	ExpiresAt   string      `json:"expiresAt"`
}

// Wipe zeroes the token when it has been sent.
func (a tokenAnswer) Wipe() { clear(a.AccessToken) }

// tokenOrder is a request for a token whose body was read to find out who sends it.
type tokenOrder struct {
	body     tokenBody
	password []byte     // zeroed when it was verified
	fault    error      // why the body cannot be used
	user     *core.User // whose password was right; nil: none was sent
}

type orderKey struct{}

// maxTokenBody bounds the body of an order, in bytes: it is read before the client is known.
const maxTokenBody = 16 << 10

// identifyBuyer names the sender of a request for a token, by its certificate or by the
// password in its body.
func (s *service) identifyBuyer(c *door.Connection, w http.ResponseWriter, r *http.Request) (*core.Principal, *http.Request, error) {
	certificate, err := s.CertificateBeside(c, r)
	if err != nil {
		return nil, r, err
	}
	o := &tokenOrder{}
	o.fault = o.readBody(w, r)
	defer clear(o.password)
	r = r.WithContext(context.WithValue(r.Context(), orderKey{}, o))
	if o.body.GrantType == grantPassword {
		r = door.WithClaim(r, door.Claim{Method: o.method(), User: o.claimedUser()})
	}
	switch {
	case o.fault == nil && o.body.GrantType == grantPassword:
		p, err := s.logInBuyer(r, o, certificate)
		return p, r, err
	case certificate != nil:
		return certificate, r, nil // a fault is the route's answer, and is recorded
	case o.fault != nil:
		return nil, r, core.Wrap(core.AuthenticationNotSuccessful, o.fault, "send a client certificate, or a body with a user and a password; see docs/REST.md")
	}
	return nil, r, core.Errorf(core.AuthenticationNotSuccessful, "no client certificate came with the connection")
}

// method returns how an order with a password proves who sends it.
func (o *tokenOrder) method() string {
	if o.body.Code != "" {
		return core.MethodCode
	}
	return core.MethodPassword
}

// claimedUser says for the record which user a password was sent for. A name that is no valid
// name may be a password in the wrong field, so it is left out.
func (o *tokenOrder) claimedUser() string {
	switch {
	case !core.ValidName(o.body.User):
		return ""
	case core.ValidName(o.body.Tenant):
		return "user " + o.body.Tenant + "/" + o.body.User
	}
	return "user " + o.body.User
}

// readBody reads the body of an order.
func (o *tokenOrder) readBody(w http.ResponseWriter, r *http.Request) (err error) {
	if err := door.IsJSON(r); err != nil {
		return err
	}
	if o.password, err = door.DecodeWithPassword(http.MaxBytesReader(w, r.Body, maxTokenBody), &o.body); err != nil {
		return err
	}
	b := &o.body
	switch {
	case b.GrantType == grantCertificate && b.User == "" && b.Tenant == "" && b.Password == "" && b.Code == "" && o.password == nil:
	case b.GrantType == grantCertificate:
		return core.Errorf(core.InvalidField, `"user", "tenant", "password" and "code" go with the grantType "password"`)
	case b.GrantType != grantPassword:
		return core.Errorf(core.InvalidField, `"grantType" must be "certificate" or "password"`)
	case b.User == "" || len(o.password) == 0:
		return core.Errorf(core.InvalidField, `"user" and "password" must be given`)
	}
	return nil
}

// logInBuyer verifies the password of an order.
func (s *service) logInBuyer(r *http.Request, o *tokenOrder, certificate *core.Principal) (*core.Principal, error) {
	in := password.Login{Tenant: o.body.Tenant, Name: o.body.User, Password: o.password, Certificate: certificate, Address: door.AddressOf(r)}
	switch {
	case s.LogIn == nil:
		return nil, core.Errorf(core.AuthenticationNotSuccessful, "this server verifies no passwords here")
	case certificate == nil && !s.PasswordAlone:
		return nil, core.Errorf(core.AuthenticationNotSuccessful, "a password without a client certificate is not accepted (authentication.password_without_certificate)")
	case certificate == nil && in.Tenant == "":
		return nil, core.Errorf(core.AuthenticationNotSuccessful, `"tenant" must be given where there is no client certificate`)
	case in.Tenant == "":
		in.Tenant = certificate.Tenant
	}
	if o.body.Code != "" {
		in.Code = []byte(o.body.Code)
	}
	u, p, err := s.LogIn(r.Context(), in)
	o.user = u
	return p, err
}

func issueToken(s *service, c *core.Caller, r *http.Request) (tokenAnswer, error) {
	o, ok := r.Context().Value(orderKey{}).(*tokenOrder)
	if !ok { // sent with a token, which buys none
		o = &tokenOrder{fault: core.Errorf(core.PermissionDenied, "a token buys no token; use the certificate or the password")}
	}
	in, err := o.issueInput(r)
	if err != nil {
		return tokenAnswer{}, s.Engine.RecordRefused(r.Context(), c, core.ActionIssueToken, err)
	}
	out, err := s.Tokens.Issue(r.Context(), c, in)
	if err != nil {
		return tokenAnswer{}, err
	}
	return tokenAnswer{AccessToken: out.Token, TokenID: out.ID, TokenType: "Bearer", ExpiresAt: door.TimeText(out.Expires)}, nil
}

// issueInput returns what the verb takes of an order.
func (o *tokenOrder) issueInput(r *http.Request) (in admin.IssueTokenInput, err error) {
	if o.fault != nil {
		return in, o.fault
	}
	in.Actions, in.Keys = o.body.Actions, o.body.Keys
	if o.body.Lifetime != "" {
		if in.Lifetime, err = time.ParseDuration(o.body.Lifetime); err != nil || in.Lifetime <= 0 {
			return in, core.Errorf(core.InvalidField, `"lifetime" %q is no span such as "15m" or "12h"`, door.Quotable(o.body.Lifetime))
		}
	}
	sent := r.TLS.PeerCertificates
	if o.user != nil {
		in.UserVersion = o.user.Version
	} else {
		for _, c := range sent {
			in.Certificates = append(in.Certificates, c.Raw)
		}
	}
	if o.body.Bind {
		if len(sent) == 0 {
			return in, core.Errorf(core.InvalidField, `"bind" needs a client certificate on the connection`)
		}
		sum := sha256.Sum256(sent[0].Raw)
		in.BoundTo = hex.EncodeToString(sum[:])
	}
	return in, nil
}

// revokeBody is the body of DELETE /v1/auth/token: one of the two.
type revokeBody struct {
	Token   string `json:"token"`
	TokenID string `json:"tokenId"`
}

func revokeToken(s *service, c *core.Caller, r *http.Request) (door.Nothing, error) {
	var in revokeBody
	err := door.Decode(r.Body, &in)
	if err == nil && in.Token != "" {
		var ok bool
		if in.TokenID, _, ok = tokentext.Parse(in.Token); !ok {
			err = core.Errorf(core.InvalidField, `"token" has not the form of a token`)
		}
	}
	if err != nil {
		return door.Nothing{}, s.Engine.RecordRefused(r.Context(), c, core.ActionRevokeToken, err)
	}
	return door.Nothing{}, s.Tokens.Revoke(r.Context(), c, "", in.TokenID)
}

// listedToken is a token in a list.
type listedToken struct {
	TokenID   string   `json:"tokenId"`
	Principal string   `json:"principal"`
	IssuedAt  string   `json:"issuedAt"`
	ExpiresAt string   `json:"expiresAt"`
	Actions   []string `json:"actions,omitempty"`
	Keys      []string `json:"keys,omitempty"`
	BoundTo   string   `json:"boundTo,omitempty"` // SHA-256 of the certificate, hex
}

func describeToken(t *admin.TokenFacts) listedToken {
	return listedToken{TokenID: t.ID, Principal: t.Principal, IssuedAt: door.TimeText(t.Issued), ExpiresAt: door.TimeText(t.Expires), Actions: t.Actions, Keys: t.Keys, BoundTo: t.BoundTo}
}

// verifyBody is the body of POST /v1/auth/verify.
type verifyBody struct {
	Token  string `json:"token"`
	Action string `json:"action"` // a word or the name of an action
	KeyID  string `json:"keyId"`  // "": none
}

// verifyAnswer says whether a request with the token would be permitted.
type verifyAnswer struct {
	Allowed   bool     `json:"allowed"`
	Reasons   []string `json:"reasons"`
	Principal string   `json:"principal,omitempty"` // of the token, "TENANT/NAME"; absent if the token is not valid
}

func verifyToken(s *service, c *core.Caller, r *http.Request) (verifyAnswer, error) {
	var in verifyBody
	err := door.Decode(r.Body, &in)
	actions := core.ActionsNamed(in.Action)
	if err == nil && actions == nil {
		err = core.Errorf(core.InvalidField, `"action" %q is no action; encrypt, rotate and "Get Attributes" are some`, door.Quotable(in.Action))
	}
	var p *core.Principal
	if err == nil {
		p, err = s.principalOfToken(c, r, in.Token)
	}
	if err != nil {
		return verifyAnswer{}, s.Engine.RecordRefused(r.Context(), c, core.ActionReadTokens, err)
	}
	d, err := s.Tokens.Verify(r.Context(), c, admin.VerifyTokenInput{Principal: p, Actions: actions, Object: in.KeyID})
	if err != nil {
		return verifyAnswer{}, err
	}
	out := verifyAnswer{Allowed: d.Allow, Reasons: d.Reasons}
	if p != nil && p.Tenant == c.Principal.Tenant {
		out.Principal = p.Tenant + "/" + p.ID
	}
	return out, nil
}

// principalOfToken returns the principal of a token that is asked about; nil if it proves none.
// A wrong one counts for the asker and not for its address: it is somebody else's, and nobody logs
// in with it.
func (s *service) principalOfToken(c *core.Caller, r *http.Request, token string) (*core.Principal, error) {
	asker := "asked by " + c.Principal.Tenant + "/" + c.Principal.ID
	identify, err := s.BearerOf(&door.Connection{}, asker, token)
	if err != nil {
		return nil, err
	}
	p, err := identify(r.Context(), c.Principal.ConnectionPrincipal(), token)
	if core.CodeOf(err) == core.AuthenticationNotSuccessful {
		return nil, nil
	}
	return p, err
}
