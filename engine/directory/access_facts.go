package directory

import (
	"errors"
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// AccessFacts finds the key policies and the roles of tenants that a decision depends on.
// It is [core.AccessFacts]. Safe for concurrent use.
type AccessFacts struct {
	directory   *Directory
	attachments *Typed[*Attachment]
	roles       *Typed[*core.Role]
	labels      *policyLabels // nil: no change of labels is decided

	proposed map[core.DirectoryName]*core.DirectoryEntry // in the place of what is stored; nil: none
}

// NewAccessFacts must be called before the directory is opened.
func NewAccessFacts(d *Directory) *AccessFacts {
	return &AccessFacts{directory: d, attachments: NewTyped(d, core.EntryAttachment, decodeBody[Attachment]), roles: NewTyped(d, core.EntryRole, decodeBody[core.Role])}
}

var _ core.AccessFacts = (*AccessFacts)(nil)

// Attachment lists the key policies that are attached to a holder: a user, a role, a
// group of principals or a KMIP Object Group.
type Attachment struct {
	Policies []string `json:"policies"` // names, sorted
}

// Check returns an error if a field of a is out of its bounds.
func (a *Attachment) Check() error {
	if len(a.Policies) > core.MaxAttached {
		return core.Errorf(core.InvalidField, "%d policies; at most %d can be attached to one holder", len(a.Policies), core.MaxAttached)
	}
	if !slices.IsSorted(a.Policies) {
		return core.Errorf(core.InvalidField, "the attached policies are not sorted")
	}
	for i, name := range a.Policies {
		if !core.ValidName(name) || i > 0 && name == a.Policies[i-1] {
			return core.Errorf(core.InvalidField, "%q is no name of a policy or is attached twice", core.ClientText(name))
		}
	}
	return nil
}

// decodeBody decodes the body of an entry.
func decodeBody[T any, B interface {
	*T
	core.Body
}](e *core.DirectoryEntry) (*T, error) {
	out := new(T)
	if err := core.DecodeBody(e.Body, B(out)); err != nil {
		return nil, core.Wrap(core.Tampered, err, "the %s %s cannot be read", e.Kind, core.ClientText(e.ID))
	}
	return out, nil
}

// AddFacts implements [core.AccessFacts]. A policy that is attached and does not exist is
// an error of code PolicyUnavailable. One whose first version waits adds nothing.
func (f *AccessFacts) AddFacts(r *core.AccessRequest) error {
	if r.Principal == nil || r.Principal.Tenant == core.SystemTenant {
		return nil
	}
	if err := f.directory.Fresh(); err != nil {
		return err
	}
	if err := f.addRights(r); err != nil {
		return err
	}
	if o := r.Object; o != nil && o.Tenant == r.Principal.Tenant {
		for i := range o.Attributes {
			if a := &o.Attributes[i]; core.PolicyAttribute.Names(a) {
				if err := f.addPolicy(r, a.Value.Text, "object", o.ID); err != nil {
					return err
				}
			}
		}
	}
	if f.proposed != nil || f.attachments.Any(r.Principal.Tenant) {
		return f.addOfHolders(r)
	}
	return nil
}

// Propose implements [core.AccessFacts]. A proposed version of a policy counts as if it were
// in force, also if it waits.
func (f *AccessFacts) Propose(entries []*core.DirectoryEntry) core.AccessFacts {
	next := &AccessFacts{directory: f.directory, attachments: f.attachments, roles: f.roles, labels: f.labels, proposed: map[core.DirectoryName]*core.DirectoryEntry{}}
	for _, e := range entries {
		next.proposed[e.Name()] = e
	}
	return next
}

// policyInForce returns the version of a policy that is in force at a time, or that is
// proposed.
func (f *AccessFacts) policyInForce(name core.DirectoryName, at int64) (int64, error) {
	switch e := f.proposed[name]; {
	case e == nil:
		return f.directory.PolicyInForce(name.Tenant, name.ID, at)
	case e.Deleted:
		return 0, errAbsent
	default:
		return e.Version, nil
	}
}

// getWith returns the body of an entry, as it is proposed or stored.
func getWith[T any, B interface {
	*T
	core.Body
}](f *AccessFacts, of *Typed[*T], tenant, id string) (*T, error) {
	switch e := f.proposed[core.DirectoryName{Tenant: tenant, Kind: of.kind, ID: id}]; {
	case e == nil:
		return of.Get(tenant, id)
	case e.Deleted:
		return nil, errAbsent
	default:
		return decodeBody[T, B](e)
	}
}

// GovernsGroup implements [core.AccessFacts].
func (f *AccessFacts) GovernsGroup(tenant, group string) (bool, error) {
	if err := f.directory.Fresh(); err != nil || !f.attachments.Any(tenant) {
		return false, err
	}
	attached, err := f.attachments.Get(tenant, core.ObjectGroupHolder+group)
	if core.CodeOf(err) == core.ItemNotFound {
		return false, nil
	}
	return err == nil && len(attached.Policies) > 0, err
}

// addRights adds the roles of the principal that the tenant has declared and that permit
// the action. A role that is not declared permits nothing here.
func (f *AccessFacts) addRights(r *core.AccessRequest) error {
	if f.proposed == nil && !f.roles.Any(r.Principal.Tenant) {
		return nil
	}
	for _, name := range r.Principal.Roles {
		role, err := getWith(f, f.roles, r.Principal.Tenant, name)
		if core.CodeOf(err) == core.ItemNotFound {
			continue
		}
		if err != nil {
			return err
		}
		if role.Permits(r.Action) {
			r.Rights = append(r.Rights, name)
		}
	}
	return nil
}

// addOfHolders adds the policies of the principal, its roles and groups, and of the Object
// Groups of the object.
func (f *AccessFacts) addOfHolders(r *core.AccessRequest) error {
	p := r.Principal
	err := f.addOfHolder(r, core.UserHolder, p.ID)
	for _, role := range p.Roles {
		err = errors.Join(err, f.addOfHolder(r, core.RoleHolder, role))
	}
	for _, group := range p.Groups {
		err = errors.Join(err, f.addOfHolder(r, core.GroupHolder, group))
	}
	if o := r.Object; o != nil && o.Tenant == p.Tenant {
		for i := range o.Attributes {
			if a := &o.Attributes[i]; a.Tag == core.TagObjectGroup {
				err = errors.Join(err, f.addOfHolder(r, core.ObjectGroupHolder, a.Value.Text))
			}
		}
	}
	return err
}

func (f *AccessFacts) addOfHolder(r *core.AccessRequest, kind, name string) error {
	attached, err := getWith(f, f.attachments, r.Principal.Tenant, kind+name)
	if core.CodeOf(err) == core.ItemNotFound {
		return nil
	}
	if err != nil {
		return err
	}
	for _, policy := range attached.Policies {
		if err := f.addPolicy(r, policy, kind, name); err != nil {
			return err
		}
	}
	return nil
}

// addPolicy adds the version of a policy that is in force at the time of the request, none if
// its first version waits. Its holder names it, so a policy that is missing is an error:
// otherwise a denial in it would be lost.
func (f *AccessFacts) addPolicy(r *core.AccessRequest, policy, holderKind, holder string) error {
	name := core.DirectoryName{Tenant: r.Principal.Tenant, Kind: core.EntryPolicy, ID: policy}
	version, err := f.policyInForce(name, r.Now)
	if core.CodeOf(err) == core.ItemNotFound {
		return core.Errorf(core.PolicyUnavailable, "the key policy %s is attached to %s %s and does not exist; apply it, or detach it", core.ClientText(policy), holderKind, core.ClientText(holder))
	}
	if err != nil || version == 0 {
		return err
	}
	r.Policies = append(r.Policies, core.DirectoryVersion{Name: name, Version: version})
	return nil
}
