package admin

import (
	"context"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// Kinds of principals that the server knows before they ask for something.
const (
	ownerKind   = "owner"   // of the object; it is asked about as if its certificate gave it no groups and roles
	clientKind  = "client"  // enrolled
	mappingKind = "mapping" // an entry of tls.principals
	userKind    = "user"
)

// MaxAccessPage bounds the principals of one answer about the access to an object. Each is
// asked about for every action.
const MaxAccessPage = 100

// AccessListInput asks what everybody may do with an object.
type AccessListInput struct {
	Tenant  string // "": the caller's
	Object  string // as [findKey] reads it
	Door    core.Door
	Address string // that the requests would come from
	At      int64  // Unix seconds; 0: now
	After   string // KnownPrincipal.Key of the last one of the page before
	Limit   int    // at most MaxAccessPage, and one more
}

// KnownPrincipal is a principal of a tenant that the server knows, with its rights on an object.
type KnownPrincipal struct {
	Kind    string // "owner", "client", "mapping" or "user"
	Name    string
	Refusal string // why each of its requests is refused; "": they are decided
	Allowed []core.Action
}

// Key sorts the principals of an answer.
func (p *KnownPrincipal) Key() string { return p.Kind + ":" + p.Name }

// ListAccess decides every action on an object for each principal that the server knows: its
// owner, enrolled clients, entries of tls.principals with a fixed name, and users. Principals
// that an authority, an LDAP directory or an issuer of tokens names are unknown until they ask.
// It leaves one record. The caller must be permitted to read users and clients too, because the
// answer names them.
func ListAccess(ctx context.Context, v *Verbs, c *core.Caller, in AccessListInput) (page []KnownPrincipal, err error) {
	asked := SimulateInput{Principal: &core.Principal{Tenant: in.Tenant, ID: "*"}, Object: in.Object, Door: in.Door, Address: in.Address, At: in.At}
	if in.Tenant == "" {
		asked.Principal.Tenant = c.Principal.Tenant
	}
	err = v.run(ctx, c, core.ActionSimulatePolicy, "access of "+simulationDetail(&asked), func(k *engine.Call) error {
		for _, a := range []core.Action{core.ActionReadUsers, core.ActionReadClients} {
			if _, err := k.Decide(a, nil); err != nil {
				return err
			}
		}
		q, err := v.questionOf(k, &asked)
		if err != nil {
			return err
		}
		known, err := knownPrincipals(v, asked.Principal.Tenant, q.key.newest.Owner, in.After, min(in.Limit, MaxAccessPage+1)) // one more tells whether there is another page
		if err != nil {
			return err
		}
		for _, p := range known {
			one, err := accessOf(v, k, *q, p)
			if err != nil {
				return err
			}
			page = append(page, one)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return page, nil
}

// knownPrincipal is a principal with the kind of the place that names it.
type knownPrincipal struct {
	kind string
	*core.Principal
}

// accessOf decides every action on the object of a question for one principal.
func accessOf(v *Verbs, k *engine.Call, q question, p knownPrincipal) (KnownPrincipal, error) {
	out := KnownPrincipal{Kind: p.kind, Name: p.ID}
	q.Principal = p.Principal
	if p.kind == userKind {
		if err := v.completePrincipal(k, &q); err != nil {
			return out, err
		}
	}
	if out.Refusal = q.refusal; out.Refusal != "" {
		return out, nil
	}
	for _, action := range objectActions() {
		d, _, err := decideAction(k, &q, action)
		if err != nil {
			return out, err
		}
		if d.Allow {
			out.Allowed = append(out.Allowed, action)
		}
	}
	return out, nil
}

// knownPrincipals lists principals of a tenant by [KnownPrincipal.Key], starting after a key.
func knownPrincipals(v *Verbs, tenant, owner, after string, limit int) (all []knownPrincipal, err error) {
	inKind, name, _ := strings.Cut(after, ":")
	for _, kind := range []string{clientKind, mappingKind, ownerKind, userKind} {
		if kind < inKind {
			continue
		}
		start := ""
		if kind == inKind {
			start = name
		}
		some, err := principalsOf(v, kind, tenant, owner, start, limit-len(all))
		if err != nil {
			return nil, err
		}
		all = append(all, some...)
	}
	return all, nil
}

// principalsOf lists principals of one kind by name, starting after a name.
func principalsOf(v *Verbs, kind, tenant, owner, after string, limit int) (all []knownPrincipal, err error) {
	switch kind {
	case ownerKind:
		if owner != "" && after == "" && limit > 0 {
			all = append(all, knownPrincipal{kind, withCertificate(tenant, owner, nil, nil)})
		}
	case mappingKind:
		if v.ports.MappedPrincipals == nil {
			return nil, nil
		}
		for _, p := range v.ports.MappedPrincipals(tenant) {
			if p.ID > after {
				all = append(all, knownPrincipal{kind, p})
			}
		}
		slices.SortStableFunc(all, func(a, b knownPrincipal) int { return strings.Compare(a.ID, b.ID) })
		all = slices.CompactFunc(all, func(a, b knownPrincipal) bool { return a.ID == b.ID })
		all = all[:min(limit, len(all))]
	case clientKind:
		entries, err := v.directory.List(core.EntryClient, tenant, after, limit)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			c, err := namedClient(e)
			if err != nil {
				return nil, err
			}
			all = append(all, knownPrincipal{kind, withCertificate(tenant, c.Name, c.Groups, c.Roles)})
		}
	case userKind:
		users, err := v.directory.ListHeads(core.EntryUser, tenant, after, limit)
		if err != nil {
			return nil, err
		}
		for _, e := range users {
			all = append(all, knownPrincipal{kind, &core.Principal{Tenant: tenant, ID: e.ID}}) // completePrincipal adds the rest
		}
	}
	return all, nil
}

// withCertificate returns a principal that proves itself by a certificate.
func withCertificate(tenant, name string, groups, roles []string) *core.Principal {
	return &core.Principal{Tenant: tenant, ID: name, Groups: groups, Roles: roles, Method: core.MethodCertificate, Strength: core.StrengthCertificate}
}
