package admin

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/core/tokentext"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/directory"
)

// TokenSettings bound access tokens.
type TokenSettings struct {
	Lifetime     time.Duration // of a token whose buyer names none
	Longest      time.Duration // that a buyer may name
	PerPrincipal int           // that live at once. Requests that run at once can exceed it by their number
	PerTenant    int           // the same
}

// TokenVerbs are the operations on access tokens. It is safe for concurrent use.
type TokenVerbs struct {
	verbs    *Verbs
	settings TokenSettings
}

// NewTokenVerbs returns the operations on tokens beside those of v.
func NewTokenVerbs(v *Verbs, s TokenSettings) *TokenVerbs { return &TokenVerbs{v, s} }

// IssueTokenInput describes a token that is bought or issued.
type IssueTokenInput struct {
	Tenant string // for the administrator of the server alone
	User   string // the same: the user whose token it is

	Certificates [][]byte // the chain of the caller's connection, in DER, if that proved the caller
	UserVersion  int64    // of the caller, if a password proved it

	Lifetime time.Duration // 0: that of the settings
	Actions  []string      // words or names of the only actions; nil: all
	Keys     []string      // references to the only keys, as [findKey] reads them; nil: all
	BoundTo  string        // SHA-256 of the only certificate that may send it, hex; "": any or none
	Reason   string
}

// IssuedToken is a new token.
type IssuedToken struct {
	Token   []byte // the token itself, which is stored nowhere; the caller zeroes it
	ID      string
	Expires int64 // Unix seconds
}

// Issue makes an access token for the caller itself, or, by the administrator of the
// server, for a user. A token buys no token: the code is then PermissionDenied, whatever the
// policy says. QuotaExceeded if the principal or the tenant has too many.
func (a *TokenVerbs) Issue(ctx context.Context, c *core.Caller, in IssueTokenInput) (out IssuedToken, err error) {
	err = a.verbs.run(ctx, c, core.ActionIssueToken, "", func(k *engine.Call) error {
		tenant, t, err := a.tokenFor(k, &in)
		if err != nil {
			return err
		}
		if err := a.describeToken(k, t, &in); err != nil {
			return err
		}
		if t.Keys, err = narrowedKeys(k, tenant, in.Keys); err != nil {
			return err
		}
		if t.Person != nil { // the directory cannot be asked again without the password
			t.Expires = min(t.Expires, c.Principal.Expires)
		}
		if err := a.checkQuota(tenant, t.Principal, k.Now); err != nil {
			return err
		}
		out.Expires = t.Expires
		out.Token, out.ID, t.SecretHash = tokentext.New()
		body, err := core.EncodeBody(t)
		if err != nil {
			return err
		}
		k.Record.Detail = "token " + out.ID + " for " + t.Principal
		_, err = a.verbs.saveEntry(k, change{kind: core.EntryToken, tenant: tenant, id: out.ID, reason: in.Reason, body: body})
		return err
	})
	if err != nil {
		clear(out.Token)
		return IssuedToken{}, err
	}
	return out, nil
}

// tokenFor returns a token of the principal that buys it, with the proof on which it depends.
func (a *TokenVerbs) tokenFor(k *engine.Call, in *IssueTokenInput) (tenant string, t *core.AccessToken, err error) {
	p := k.Caller.Principal
	switch {
	case p.TokenID != "":
		return "", nil, core.Errorf(core.PermissionDenied, "a token buys no token; use the certificate or the password")
	case p.Tenant == core.SystemTenant:
		return a.tokenForUser(k, in)
	case in.User != "" || in.Tenant != "":
		return "", nil, core.Errorf(core.InvalidField, "a token is issued for its buyer; leave user and tenant out")
	case p.Method == core.MethodPassword || p.Method == core.MethodCode:
		u, err := a.verbs.user(p.Tenant, p.ID)
		if err != nil || u.Version != in.UserVersion {
			return "", nil, core.Errorf(core.AuthenticationNotSuccessful, "the user has changed meanwhile; try again")
		}
		sum := u.ProofHash()
		return p.Tenant, &core.AccessToken{Principal: p.ID, PasswordHash: sum[:], UserBegun: u.Begun}, nil
	case p.Method == core.MethodLDAP:
		return p.Tenant, &core.AccessToken{Principal: p.ID, Person: &core.DirectoryPerson{Groups: p.Groups, Roles: p.Roles, Attributes: p.Attributes}}, nil
	case p.Method == core.MethodCertificate && len(in.Certificates) > 0:
		return p.Tenant, &core.AccessToken{Principal: p.ID, Certificates: in.Certificates}, nil
	}
	return "", nil, core.Errorf(core.PermissionDenied, "only a client certificate or a password buys a token")
}

// tokenForUser returns a token of a user that an administrator of the server names.
func (a *TokenVerbs) tokenForUser(k *engine.Call, in *IssueTokenInput) (tenant string, t *core.AccessToken, err error) {
	if tenant, err = engine.AskedTenant(k, in.Tenant); err != nil {
		return "", nil, err
	}
	u, err := a.verbs.user(tenant, in.User)
	if err != nil {
		return "", nil, err
	}
	return tenant, &core.AccessToken{Principal: in.User, UserBegun: u.Begun}, nil
}

// describeToken sets what a token is good for.
func (a *TokenVerbs) describeToken(k *engine.Call, t *core.AccessToken, in *IssueTokenInput) error {
	if (in.Actions != nil && len(in.Actions) == 0) || (in.Keys != nil && len(in.Keys) == 0) {
		return core.Errorf(core.InvalidField, "actions and keys: an empty list permits nothing; leave it out if the token is not narrowed")
	}
	lifetime := cmp.Or(in.Lifetime, a.settings.Lifetime)
	if lifetime < core.MinTokenLifetime || lifetime > a.settings.Longest {
		return core.Errorf(core.InvalidField, "lifetime: a token lives %v to %v, not %v", core.MinTokenLifetime, a.settings.Longest, lifetime)
	}
	t.Issued, t.Expires = k.Now, k.Now+int64(lifetime/time.Second)
	t.Actions, t.BoundTo = in.Actions, in.BoundTo
	return nil
}

// narrowedKeys returns the references to the only keys of a token as it keeps them. An alias is
// replaced by its key, because it can move to another one. Identifiers are kept as they are, so
// that they tell nothing about keys that the caller may not see.
func narrowedKeys(k *engine.Call, tenant string, references []string) ([]string, error) {
	kept := slices.Clone(references)
	for i, reference := range references {
		id, err := rules.ParseKeyReference(reference)
		if err != nil {
			return nil, err
		}
		if id.Alias == "" {
			continue
		}
		o, err := visibleVersion(k, tenant, reference, core.ActionGetAttributes)
		if err != nil {
			return nil, err
		}
		if kept[i] = o.Family(); id.Version != 0 {
			kept[i] += "@" + strconv.FormatInt(id.Version, 10)
		}
	}
	return kept, nil
}

// keptTokens is how many times the tokens that may live are kept, with those that were
// revoked: a client must not fill the directory by buying and revoking.
const keptTokens = 10

func (a *TokenVerbs) checkQuota(tenant, principal string, now int64) error {
	ofPrincipal, ofTenant := a.verbs.ports.IssuedTokens.Count(tenant, principal, now)
	if ofPrincipal.Kept >= keptTokens*a.settings.PerPrincipal || ofTenant.Kept >= keptTokens*a.settings.PerTenant {
		return core.Errorf(core.QuotaExceeded, "%d tokens of %s, and %d of the tenant, were issued and have not expired, most of them revoked; wait until some expire", ofPrincipal.Kept, core.ClientText(principal), ofTenant.Kept)
	}
	switch {
	case ofPrincipal.Living >= a.settings.PerPrincipal:
		return core.Errorf(core.QuotaExceeded, "%s has %d tokens that live (authentication.tokens_per_principal); revoke some, or wait until they expire", core.ClientText(principal), ofPrincipal.Living)
	case ofTenant.Living >= a.settings.PerTenant:
		return core.Errorf(core.QuotaExceeded, "the tenant has %d tokens that live (authentication.tokens_per_tenant); revoke some, or wait until they expire", ofTenant.Living)
	}
	return nil
}

// Revoke deletes a token. It ends at once on this node, and within a second on every
// other one. For a token of somebody else, the policy must permit to save users too.
func (a *TokenVerbs) Revoke(ctx context.Context, c *core.Caller, tenant, id string) error {
	return a.verbs.run(ctx, c, core.ActionRevokeToken, "token "+core.ClientText(id), func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, tenant)
		if err != nil {
			return err
		}
		t, err := a.verbs.ports.IssuedTokens.Token(tenant, id)
		if core.CodeOf(err) == core.Tampered {
			t, err = &core.AccessToken{}, nil // somebody else's, as far as one can tell
		}
		if err != nil {
			return absent(err, core.EntryToken, id)
		}
		if t.Principal != c.Principal.ID || c.Principal.Tenant != tenant {
			if _, err := k.Decide(core.ActionSaveUser, nil); err != nil {
				return core.Errorf(core.ItemNotFound, "there is no token %s of %s", core.ClientText(id), core.ClientText(c.Principal.ID))
			}
		}
		_, err = a.verbs.saveEntry(k, change{kind: core.EntryToken, tenant: tenant, id: id, expected: anyVersion, deleted: true})
		return err
	})
}

// endTokensOf returns writes that end the tokens of a user, so that another user who gets the
// same name later does not get its tokens.
func (d *entries) endTokensOf(k *engine.Call, tenant, user string) (writes []core.Write, err error) {
	for _, id := range d.tokens.IDs(tenant, user, "", k.Now, math.MaxInt) {
		e, err := d.entry(k, change{kind: core.EntryToken, tenant: tenant, id: id, reason: "the user was deleted", expected: anyVersion, deleted: true})
		if err != nil {
			return nil, err
		}
		writes = append(writes, core.SaveDirectoryEntry{Entry: e})
	}
	return writes, nil
}

// TokenFacts is what may be known of a token.
type TokenFacts struct {
	ID, Principal   string
	Issued, Expires int64 // Unix seconds
	Actions, Keys   []string
	BoundTo         string
}

// List lists tokens that live, by ID, starting after an ID: those of the caller, or all
// of the tenant if the policy permits to read users too.
func (a *TokenVerbs) List(ctx context.Context, c *core.Caller, tenant, after string, limit int) (out []TokenFacts, err error) {
	err = a.verbs.run(ctx, c, core.ActionReadTokens, "list", func(k *engine.Call) error {
		tenant, err := engine.AskedTenant(k, tenant)
		if err != nil {
			return err
		}
		owner := c.Principal.ID
		if _, err := k.Decide(core.ActionReadUsers, nil); err == nil {
			owner = ""
		} else if core.CodeOf(err) != core.PermissionDenied {
			return err
		}
		for _, id := range a.verbs.ports.IssuedTokens.IDs(tenant, owner, after, k.Now, limit) {
			t, err := a.verbs.ports.IssuedTokens.Token(tenant, id)
			if core.CodeOf(err) == core.ItemNotFound {
				continue // revoked meanwhile
			}
			if err != nil {
				return err
			}
			out = append(out, TokenFacts{ID: id, Principal: t.Principal, Issued: t.Issued, Expires: t.Expires, Actions: t.Actions, Keys: t.Keys, BoundTo: t.BoundTo})
		}
		return nil
	})
	return out, err
}

// VerifyTokenInput asks what a token may do.
type VerifyTokenInput struct {
	Principal *core.Principal // that the token proves; nil: it proves none
	Actions   []core.Action   // all of them must be permitted
	Object    string          // as [findKey] reads it; "": none
}

// Verify returns what the policy says about a request with a token. A token of another
// tenant is answered as one that does not exist.
func (a *TokenVerbs) Verify(ctx context.Context, c *core.Caller, in VerifyTokenInput) (out core.Decision, err error) {
	err = a.verbs.run(ctx, c, core.ActionReadTokens, "verify", func(k *engine.Call) error {
		p := in.Principal
		if p == nil || p.Tenant != c.Principal.Tenant {
			out.Reasons = []string{"the token is not valid"}
			return nil
		}
		k.Record.Detail = "verify token " + p.TokenID
		q := &question{AccessRequest: core.AccessRequest{Principal: p, Door: c.Door, Address: c.Address, Now: k.Now}}
		if in.Object != "" {
			q.key, err = versionsOf(func(a core.Action) (*core.ManagedObject, error) { return findVersion(k, p.Tenant, in.Object, a) })
			if core.CodeOf(err) == core.ItemNotFound {
				out.Reasons = absentObject
				return nil
			}
			if err != nil {
				return err
			}
		}
		out, err = a.decideVisibly(k, q, in.Actions)
		return err
	})
	return out, err
}

var absentObject = []string{"there is no such object"}

// decideVisibly decides a question. It does not tell whether an object exists that the owner of
// the token may not see.
func (a *TokenVerbs) decideVisibly(k *engine.Call, q *question, actions []core.Action) (core.Decision, error) {
	var d core.Decision
	for _, action := range actions {
		if q.key.newest != nil && action.Info().Objects == core.NoObject {
			return d, core.Errorf(core.InvalidField, "%s works on no object that exists; leave the object out", action)
		}
		one, asked, err := decideAction(k, q, action)
		if d = one.Decision; err != nil || !d.Allow {
			return a.hideObject(k, &asked, d, err)
		}
	}
	return d, nil
}

// hideObject replaces the reasons of a denial for an object that the owner may not see.
func (a *TokenVerbs) hideObject(k *engine.Call, asked *core.AccessRequest, d core.Decision, err error) (core.Decision, error) {
	if err != nil || asked.Object == nil {
		return d, err
	}
	owner := *asked.Principal
	owner.Actions, owner.Keys = nil, nil
	visible, err := mayRead(k, &owner, asked.Object)
	if err == nil && !visible {
		d.Reasons = absentObject
	}
	return d, err
}

// prunedAtOnce bounds how many entries one transaction prunes.
const prunedAtOnce = 100

// Prune removes the entries of tokens, approvals, used codes, import jobs and Idempotency-Keys that have ended. A deleted one stays as
// long as it could have lived: until then its older version, put back by someone who can
// write the database, must be recognized.
func (a *TokenVerbs) Prune(ctx context.Context) error {
	now := a.verbs.engine.Ports.Clock.Now()
	if a.verbs.ports.IssuedTokens != nil {
		if err := pruneEnded(ctx, a.verbs.directory, a.verbs.ports.IssuedTokens.Ending, now); err != nil {
			return err
		}
	}
	if a.verbs.ports.Approvals != nil {
		if err := pruneEnded(ctx, a.verbs.directory, a.verbs.ports.Approvals.Ending, now); err != nil {
			return err
		}
	}
	if a.verbs.ports.UsedCodes != nil {
		if err := pruneEnded(ctx, a.verbs.directory, a.verbs.ports.UsedCodes.Ending, now); err != nil {
			return err
		}
	}
	if a.verbs.ports.ImportJobs != nil {
		if err := pruneEnded(ctx, a.verbs.directory, a.verbs.ports.ImportJobs, now); err != nil {
			return err
		}
	}
	if a.verbs.ports.Once != nil {
		return pruneEnded(ctx, a.verbs.directory, a.verbs.ports.Once.Ending, now)
	}
	return nil
}

func pruneEnded(ctx context.Context, d *directory.Directory, all *directory.Ending, now int64) error {
	for {
		names := all.Ended(now, prunedAtOnce)
		var writes []core.Write
		for _, name := range names {
			if all.IsStored(name) {
				writes = append(writes, core.PruneDirectoryEntry{Name: name})
			}
		}
		if len(writes) > 0 {
			if err := d.Commit(ctx, core.ChangeOf(writes...)); err != nil {
				return err
			}
		}
		for _, name := range names {
			all.Forget(name)
		}
		if len(names) < prunedAtOnce {
			return nil
		}
	}
}
