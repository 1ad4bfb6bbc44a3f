package ldap

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-ldap/ldap/v3"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds of the groups of one user.
const (
	maxGroups     = 256
	maxGroupDepth = 8 // of groups in groups
)

// A group that is not seen could escape a denial, so too many groups refuse the login.
var (
	tooManyGroups = fmt.Sprintf("the user has more than %d groups in the LDAP directory", maxGroups)
	tooDeepGroups = fmt.Sprintf("the groups of the user are nested deeper than %d in the LDAP directory", maxGroupDepth)
)

// groupFinder finds the groups of an entry.
type groupFinder struct {
	*Settings
	base *ldap.DN
}

func newGroupFinder(s *Settings) (*groupFinder, error) {
	base, err := ldap.ParseDN(s.GroupBase)
	return &groupFinder{s, base}, err
}

// find returns the groups and roles of an entry that the settings allow, in the order of the
// settings. Others are left out: directories list many that mean nothing here.
func (f *groupFinder) find(s *session, entry *ldap.Entry) (groups, roles []string, err error) {
	names, err := f.namesOf(s, entry)
	if err != nil {
		return nil, nil, err
	}
	in := func(group string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, group) }) // as directories compare
	}
	for _, g := range f.Groups {
		if in(g) && !slices.Contains(groups, g) {
			groups = append(groups, g)
		}
	}
	for group, role := range f.Roles {
		if in(group) && !slices.Contains(roles, role) {
			roles = append(roles, role)
		}
	}
	slices.Sort(roles)
	return groups, roles, nil
}

// namesOf returns the names of all groups of an entry, each once.
func (f *groupFinder) namesOf(s *session, entry *ldap.Entry) (names []string, err error) {
	seen := map[string]bool{}
	level := []*ldap.Entry{entry}
	for depth := 0; len(level) > 0; depth++ {
		if depth > maxGroupDepth {
			return nil, refuseLogin(tooDeepGroups)
		}
		groups, err := f.groupsOf(s, level)
		if err != nil {
			return nil, err
		}
		level = nil
		for _, g := range groups {
			name, err := f.groupName(g.DN, seen)
			switch {
			case err != nil:
				return nil, err
			case name == "":
				continue
			}
			names = append(names, name)
			if f.NestedGroups {
				level = append(level, g)
			}
		}
	}
	return names, nil
}

// groupName returns the name of a group, which is the value in the first part of its DN. It is
// "" if the group was seen before, or is outside of group_base.
func (f *groupFinder) groupName(text string, seen map[string]bool) (string, error) {
	dn, err := ldap.ParseDN(text)
	if err != nil || len(dn.RDNs) == 0 || len(dn.RDNs[0].Attributes) != 1 {
		return "", refuseLogin("the LDAP directory names a group by no DN")
	}
	key := strings.ToLower(dn.String())
	if seen[key] || !f.base.AncestorOfFold(dn) {
		return "", nil
	}
	if seen[key] = true; len(seen) > maxGroups {
		return "", refuseLogin(tooManyGroups)
	}
	return dn.RDNs[0].Attributes[0].Value, nil
}

// groupsOf returns the groups of which one of the entries is a member.
func (f *groupFinder) groupsOf(s *session, members []*ldap.Entry) ([]*ldap.Entry, error) {
	if f.MemberOf != "" {
		return f.groupsNamedBy(s, members)
	}
	var any strings.Builder
	for _, m := range members {
		any.WriteString(fillFilter(f.GroupFilter, m.DN))
	}
	found, err := s.search(f.GroupBase, ldap.ScopeWholeSubtree, maxGroups+1, "(|"+any.String()+")", []string{noAttributes})
	if ldap.IsErrorWithCode(err, ldap.LDAPResultSizeLimitExceeded) {
		err = refuseLogin(tooManyGroups)
	}
	return found, err
}

// groupsNamedBy returns the groups that the attribute member_of of the entries names.
func (f *groupFinder) groupsNamedBy(s *session, members []*ldap.Entry) (groups []*ldap.Entry, err error) {
	for _, m := range members {
		if len(m.Attributes) == 0 { // the entry of a group is read when its own groups are asked for
			if m, err = f.readGroup(s, m.DN); err != nil {
				return nil, err
			}
		}
		for _, a := range m.Attributes {
			if strings.Contains(a.Name, ";range=") { // Active Directory sends the rest of the values on demand
				return nil, refuseLogin(tooManyGroups)
			}
		}
		for _, dn := range m.GetEqualFoldAttributeValues(f.MemberOf) {
			groups = append(groups, &ldap.Entry{DN: dn})
		}
	}
	return groups, nil
}

func (f *groupFinder) readGroup(s *session, dn string) (*ldap.Entry, error) {
	found, err := s.search(dn, ldap.ScopeBaseObject, 1, "(objectClass=*)", []string{f.MemberOf})
	switch {
	case ldap.IsErrorAnyOf(err, ldap.LDAPResultNoSuchObject, ldap.LDAPResultInsufficientAccessRights, ldap.LDAPResultReferral) || err == nil && len(found) != 1:
		return nil, refuseLogin("the LDAP directory does not show the group " + core.ClientText(dn) + " to the service account")
	case err != nil:
		return nil, err
	}
	return found[0], nil
}
