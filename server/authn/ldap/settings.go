package ldap

import (
	"cmp"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/go-ldap/ldap/v3"

	"github.com/keyreeve/keyreeve/core"
)

// Settings are those of one directory: where it is, how a user and its groups are found, and
// what it may name.
type Settings struct {
	URL              string `yaml:"url"`                // ldaps://HOST[:PORT], or ldap:// with start_tls
	StartTLS         bool   `yaml:"start_tls"`          // ask for TLS on the port of ldap://
	CA               string `yaml:"ca"`                 // PEM file with the authorities of its certificate; "": those of the system
	BindDN           string `yaml:"bind_dn"`            // the service account that looks users up
	BindPasswordFile string `yaml:"bind_password_file"` // a file with its password; read at each bind

	UserBase      string `yaml:"user_base"`      // users are below it
	UserFilter    string `yaml:"user_filter"`    // with one %s for the name; "": (uid=%s)
	NameAttribute string `yaml:"name_attribute"` // has the name of the principal; "": uid

	GroupBase    string `yaml:"group_base"`    // groups are below it
	GroupFilter  string `yaml:"group_filter"`  // with one %s for the DN of a member; "" and no member_of: (member=%s)
	MemberOf     string `yaml:"member_of"`     // the attribute of a member with the DNs of its groups, in place of group_filter
	NestedGroups bool   `yaml:"nested_groups"` // groups of groups count too

	Tenant              string            `yaml:"tenant"`                // of all its principals
	NamePrefix          string            `yaml:"name_prefix"`           // goes before each name
	MayNameCertificates bool              `yaml:"may_name_certificates"` // its principals may have the names of those of certificates
	Groups              []string          `yaml:"groups"`                // the only groups that it may name
	Roles               map[string]string `yaml:"roles"`                 // group of the directory: role that its members have

	Timeout       time.Duration `yaml:"timeout"`        // of one login; 0: 5 s
	Connections   int           `yaml:"connections"`    // and logins that are checked at once; 0: 8
	RememberFor   time.Duration `yaml:"remember_for"`   // a password that was right or wrong is not asked about again; 0: 5 min
	TokenLifetime time.Duration `yaml:"token_lifetime"` // of an access token that a password of this directory buys, at most; 0: 15 min
}

// Bounds of the settings.
const (
	maxDirectories  = 16
	maxSettingBytes = 512
	maxSettingNames = 64
)

// CheckSettings fails if anything is wrong with a list of directories. The error begins with
// the index of the entry.
func CheckSettings(all []Settings) error {
	if len(all) > maxDirectories {
		return fmt.Errorf("has %d entries; at most %d", len(all), maxDirectories)
	}
	tenants := map[string]bool{}
	for i, s := range all {
		err := s.Check()
		if err == nil && tenants[s.Tenant] {
			err = fmt.Errorf("tenant: %s has another directory; a tenant has one", s.Tenant)
		}
		if err != nil {
			return fmt.Errorf("[%d].%w", i, err)
		}
		tenants[s.Tenant] = true
	}
	return nil
}

// Check fails if anything is wrong with an entry by itself. The error begins with the name of
// the setting.
func (s *Settings) Check() error {
	filled := s.withDefaults()
	for _, check := range []func() error{filled.checkTexts, filled.checkServer, filled.checkSearches, filled.checkNames, filled.checkGroups, filled.checkNumbers} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (s *Settings) checkTexts() error {
	for _, t := range []struct {
		setting, value string
		needed         bool
	}{{"url", s.URL, true}, {"ca", s.CA, false}, {"bind_dn", s.BindDN, true}, {"bind_password_file", s.BindPasswordFile, true}, {"user_base", s.UserBase, true},
		{"user_filter", s.UserFilter, true}, {"name_attribute", s.NameAttribute, true}, {"group_base", s.GroupBase, false}, {"group_filter", s.GroupFilter, false}, {"member_of", s.MemberOf, false}} {
		if t.needed && t.value == "" {
			return fmt.Errorf("%s must be set", t.setting)
		}
		if len(t.value) > maxSettingBytes || core.Printable(t.value, maxSettingBytes) != t.value {
			return fmt.Errorf("%s has more than %d bytes, or characters that are not printable ASCII", t.setting, maxSettingBytes)
		}
	}
	return nil
}

func (s *Settings) checkServer() error {
	u, err := url.Parse(s.URL)
	switch {
	case err != nil || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || u.Path != "" || len(s.URL) > core.MaxAttributeValueBytes:
		return errors.New("url: it must be such as ldaps://ldap.example.com or ldap://ldap.example.com:389, without user, path and query")
	case u.Scheme != "ldaps" && u.Scheme != "ldap":
		return fmt.Errorf("url: the scheme must be ldaps or ldap, not %q", u.Scheme)
	case u.Scheme == "ldaps" && s.StartTLS:
		return errors.New("start_tls goes with ldap://; ldaps:// has TLS from the start")
	case u.Scheme == "ldap" && !s.StartTLS:
		return errors.New("url: ldap:// without start_tls would send passwords in clear; use ldaps://, or set start_tls")
	}
	return nil
}

// checkSearches checks what is sent to the directory.
func (s *Settings) checkSearches() error {
	for _, base := range []struct{ setting, dn string }{{"bind_dn", s.BindDN}, {"user_base", s.UserBase}, {"group_base", s.GroupBase}} {
		if _, err := ldap.ParseDN(base.dn); err != nil {
			return fmt.Errorf("%s: %q is no DN such as ou=people,dc=example,dc=com", base.setting, base.dn)
		}
	}
	for _, f := range []struct{ setting, filter string }{{"user_filter", s.UserFilter}, {"group_filter", s.GroupFilter}} {
		if f.filter == "" {
			continue
		}
		if strings.Count(f.filter, "%") != 1 || strings.Count(f.filter, "%s") != 1 {
			return fmt.Errorf("%s must have %%s once, and no other %%", f.setting)
		}
		if _, err := ldap.CompileFilter(fillFilter(f.filter, "x")); err != nil {
			return fmt.Errorf("%s: %q is no filter such as (uid=%%s) (RFC 4515)", f.setting, f.filter)
		}
	}
	for _, a := range []struct{ setting, name string }{{"name_attribute", s.NameAttribute}, {"member_of", s.MemberOf}} {
		if a.name != "" && !core.ValidName(a.name) {
			return fmt.Errorf("%s: %q is no attribute", a.setting, a.name)
		}
	}
	return nil
}

func (s *Settings) checkNames() error {
	if !core.ValidName(s.Tenant) || s.Tenant == core.SystemTenant {
		return fmt.Errorf("tenant: %q cannot be the tenant of clients", s.Tenant)
	}
	if s.NamePrefix == "" && !s.MayNameCertificates {
		return errors.New("name_prefix must be set, such as \"ldap.\", or else may_name_certificates: true; without a prefix the directory can name the principal of every certificate of the tenant")
	}
	if !core.ValidName(s.NamePrefix+"a") || len(s.NamePrefix) > core.MaxNameBytes/2 {
		return fmt.Errorf("name_prefix: %q cannot begin a name", s.NamePrefix)
	}
	return nil
}

func (s *Settings) checkGroups() error {
	if len(s.Groups) > maxSettingNames || len(s.Roles) > maxSettingNames {
		return fmt.Errorf("groups: at most %d groups, and roles for %d", maxSettingNames, maxSettingNames)
	}
	for _, g := range s.Groups {
		if !core.ValidName(g) {
			return fmt.Errorf("groups: %q cannot be a name", g)
		}
	}
	for group, role := range s.Roles {
		if group == "" || core.Printable(group, maxSettingBytes) != group || !core.ValidName(role) {
			return fmt.Errorf("roles: %q for the group %q cannot be a name", role, core.ClientText(group))
		}
	}
	switch named := s.namesGroups(); {
	case named && s.GroupBase == "":
		return errors.New("group_base must be set beside groups and roles")
	case !named && (s.GroupBase != "" || s.MemberOf != "" || s.NestedGroups):
		return errors.New("groups: group_base, group_filter, member_of and nested_groups find nothing unless groups or roles lists what the directory may name")
	case s.GroupFilter != "" && s.MemberOf != "":
		return errors.New("group_filter: set it or member_of, not both")
	}
	return nil
}

// namesGroups reports whether groups are looked up.
func (s *Settings) namesGroups() bool { return len(s.Groups)+len(s.Roles) > 0 }

func (s *Settings) checkNumbers() error {
	for _, t := range []struct {
		setting         string
		value, min, max time.Duration
	}{{"timeout", s.Timeout, 100 * time.Millisecond, 30 * time.Second}, {"remember_for", s.RememberFor, time.Second, 5 * time.Minute},
		{"token_lifetime", s.TokenLifetime, s.RememberFor + core.MinTokenLifetime, time.Hour}} {
		if t.value < t.min || t.value > t.max {
			return fmt.Errorf("%s must be from %v to %v, not %v", t.setting, t.min, t.max, t.value)
		}
	}
	if s.Connections < 1 || s.Connections > 64 {
		return fmt.Errorf("connections must be from 1 to 64, not %d", s.Connections)
	}
	return nil
}

// withDefaults returns the settings with a value for each that has a default.
func (s Settings) withDefaults() Settings {
	s.UserFilter = cmp.Or(s.UserFilter, "(uid=%s)")
	s.NameAttribute = cmp.Or(s.NameAttribute, "uid")
	if s.MemberOf == "" && s.namesGroups() {
		s.GroupFilter = cmp.Or(s.GroupFilter, "(member=%s)")
	}
	s.Timeout = cmp.Or(s.Timeout, 5*time.Second)
	s.Connections = cmp.Or(s.Connections, 8)
	s.RememberFor = cmp.Or(s.RememberFor, 5*time.Minute)
	s.TokenLifetime = cmp.Or(s.TokenLifetime, 15*time.Minute)
	return s
}

// fillFilter puts a value in place of %s, so that it is nothing but a value (RFC 4515 §3).
func fillFilter(filter, value string) string {
	return strings.Replace(filter, "%s", ldap.EscapeFilter(value), 1)
}
