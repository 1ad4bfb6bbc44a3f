package settings

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/server/authn"
	"github.com/keyreeve/keyreeve/server/authn/ldap"
	"github.com/keyreeve/keyreeve/server/authn/oidc"
)

// Every setting has bounds, in the tag "bound" of its field: a number or a time
// has ranges such as "-1|1..100", everything else the name of a rule below. A
// switch needs none. A test walks all settings.

// settingRules check what is no number. Each gets the value of one setting and
// is not asked about an empty one: whether that may be is for check to say.
var settingRules = map[string]func(reflect.Value) error{
	"text":        func(v reflect.Value) error { return PlainText(v.String(), 256) },
	"file":        func(v reflect.Value) error { return PlainText(v.String(), 4096) },
	"secret":      func(v reflect.Value) error { return secretFile(v.String()) },
	"address":     func(v reflect.Value) error { return hostPort(v.String()) },
	"url":         func(v reflect.Value) error { return PlainText(v.String(), 4096) },
	"label":       func(v reflect.Value) error { return PlainText(v.String(), 32) },
	"serial":      func(v reflect.Value) error { return PlainText(v.String(), 16) },
	"variable":    func(v reflect.Value) error { return variable(v.String()) },
	"classes":     func(v reflect.Value) error { return forbidden(v.Interface().([]string)) },
	"principals":  func(v reflect.Value) error { return principals(v.Interface().([]authn.Mapping)) },
	"authorities": func(v reflect.Value) error { return authorities(v.Interface().([]authn.Authority)) },
	"ocsp": func(v reflect.Value) error {
		return checkListed(v.Interface().([]authn.OCSPRule), func(r authn.OCSPRule) error { return r.Check() })
	},
	"speakers":    func(v reflect.Value) error { return speakers(v.Interface().([]authn.SpeakerRule)) },
	"issuers":     func(v reflect.Value) error { return oidc.CheckIssuers(v.Interface().([]oidc.Issuer)) },
	"ldap":        func(v reflect.Value) error { return checkLDAP(v.Interface().([]ldap.Settings)) },
	"stale":       func(v reflect.Value) error { return checkStale(v.String()) },
	"credentials": func(v reflect.Value) error { return checkCredentials(v.String()) },
	"tenants":     func(v reflect.Value) error { return tenantsOf(v.Interface().(map[string]map[string]bool)) },
	"regions":     func(v reflect.Value) error { return checkRegions(v.Interface().(map[string][]string)) },
	"compat":      func(v reflect.Value) error { return leftOut(v.Interface().(map[string][]string)) },
}

// Check lists the settings that are out of their bounds.
func Check(c *Settings) []error {
	var errs []error
	Each(reflect.ValueOf(c).Elem(), "", func(path, bound string, v reflect.Value) {
		if err := withinBound(bound, v); err != nil {
			gap := " "
			if strings.HasPrefix(err.Error(), "[") { // an entry of a list
				gap = ""
			}
			errs = append(errs, fmt.Errorf("%s%s%w", path, gap, err))
		}
	})
	return errs
}

// Each walks all settings, by the names that they have in the file.
func Each(v reflect.Value, above string, do func(path, bound string, v reflect.Value)) {
	for i := range v.NumField() {
		f := v.Type().Field(i)
		name := f.Tag.Get("yaml")
		if !f.IsExported() || name == "" {
			continue
		}
		if f.Type.Kind() == reflect.Struct {
			Each(v.Field(i), above+name+".", do)
			continue
		}
		do(above+name, f.Tag.Get("bound"), v.Field(i))
	}
}

func withinBound(bound string, v reflect.Value) error {
	switch v.Kind() {
	case reflect.Bool:
		return nil
	case reflect.Int, reflect.Int64, reflect.Uint, reflect.Uint64, reflect.Int32, reflect.Uint32:
		return withinRange(bound, v)
	}
	rule := settingRules[bound]
	if rule == nil {
		return fmt.Errorf("has no bounds: give its field a tag such as bound:\"1..100\" or one of settingRules")
	}
	if v.IsZero() {
		return nil
	}
	return rule(v)
}

// withinRange checks a number or a time against ranges.
func withinRange(bound string, v reflect.Value) error {
	number := func(s string) (int64, error) {
		if v.Type() == reflect.TypeFor[time.Duration]() {
			d, err := time.ParseDuration(s)
			return int64(d), err
		}
		return strconv.ParseInt(s, 10, 64)
	}
	n := int64(0)
	if v.CanInt() {
		n = v.Int()
	} else if n = int64(v.Uint()); n < 0 {
		return fmt.Errorf("must be %s", ranges(bound))
	}
	for one := range strings.SplitSeq(bound, "|") {
		low, high, isRange := strings.Cut(one, "..")
		if !isRange {
			high = low
		}
		l, lerr := number(low)
		h, herr := number(high)
		if lerr != nil || herr != nil || l > h {
			return fmt.Errorf("has no bounds: give its field a tag such as bound:\"1..100\"")
		}
		if l <= n && n <= h {
			return nil
		}
	}
	return fmt.Errorf("must be %s, not %v", ranges(bound), v)
}

func ranges(bound string) string {
	var all []string
	for one := range strings.SplitSeq(bound, "|") {
		if low, high, ok := strings.Cut(one, ".."); ok {
			one = "from " + low + " to " + high
		}
		all = append(all, one)
	}
	return strings.Join(all, " or ")
}

// PlainText fails unless s is printable and has at most so many bytes.
func PlainText(s string, most int) error {
	if len(s) > most {
		return fmt.Errorf("has %d bytes and may have %d", len(s), most)
	}
	if !utf8.ValidString(s) || strings.ContainsFunc(s, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return errors.New("holds characters that cannot be printed")
	}
	return nil
}

// secretFile refuses a file that others than its owner, and its group for
// reading, can read or write. One that is not there is reported by who needs it.
func secretFile(path string) error {
	if err := PlainText(path, 4096); err != nil {
		return err
	}
	info, err := os.Stat(path)
	if err == nil && info.Mode().Perm()&0o027 != 0 {
		return fmt.Errorf("is the file %s, which has mode %#o, so others can read or change it; chmod 0600 %s", path, info.Mode().Perm(), path)
	}
	return nil
}

func hostPort(s string) error {
	_, port, err := net.SplitHostPort(s)
	if n, perr := strconv.ParseUint(port, 10, 16); err != nil || perr != nil || n > 65535 {
		return fmt.Errorf("must be host:port with a port from 0 to 65535, not %q", s)
	}
	return PlainText(s, 256)
}

var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)

func variable(s string) error {
	if !variableName.MatchString(s) {
		return fmt.Errorf("must be the name of an environment variable, not %q", s)
	}
	return nil
}

func forbidden(classes []string) error {
	have := map[string]bool{}
	for _, c := range classes {
		if c != "N" && c != "X" && c != "C" {
			return fmt.Errorf("knows N, X and C, not %q", c)
		}
		have[c] = true
	}
	if len(have) == 3 {
		return errors.New("forbids all classes, so no key could be made; leave one out")
	}
	return nil
}

// maxListed bounds the lists of the file.
const maxListed = 10_000

// checkListed checks the length of a list and each of its entries. An error begins with
// the number of the entry.
func checkListed[T any](all []T, check func(T) error) error {
	if len(all) > maxListed {
		return fmt.Errorf("has %d entries and may have %d", len(all), maxListed)
	}
	for i, one := range all {
		if err := check(one); err != nil {
			return fmt.Errorf("[%d]%w", i, err)
		}
	}
	return nil
}

func principals(all []authn.Mapping) error {
	return checkListed(all, func(m authn.Mapping) error {
		if err := m.Check(); err != nil {
			return fmt.Errorf(": %w", err)
		}
		for _, s := range append([]string{m.SAN, m.SANPattern, m.Issuer, m.Subject, m.Authority}, slices.Collect(maps.Values(m.Where))...) {
			if err := PlainText(s, 4096); err != nil {
				return fmt.Errorf(": %q %w", s, err)
			}
		}
		return nil
	})
}

func authorities(all []authn.Authority) error {
	return checkListed(all, func(a authn.Authority) error {
		if err := a.Check(); err != nil {
			return err
		}
		if err := PlainText(a.File, 4096); err != nil {
			return fmt.Errorf(".file %w", err)
		}
		return nil
	})
}

func speakers(all []authn.SpeakerRule) error {
	return checkListed(all, func(r authn.SpeakerRule) error { return r.Check() })
}

func checkLDAP(all []ldap.Settings) error {
	if err := ldap.CheckSettings(all); err != nil {
		return err
	}
	for i := range all {
		if err := secretFile(all[i].BindPasswordFile); err != nil {
			return fmt.Errorf("[%d].bind_password_file %w", i, err)
		}
	}
	return nil
}

func checkStale(s string) error {
	if s != StaleServe && s != StaleRefuse {
		return fmt.Errorf("must be %s or %s, not %q", StaleServe, StaleRefuse, s)
	}
	return nil
}

func checkCredentials(s string) error {
	if s != VerifyCredentials && s != IgnoreCredentials {
		return fmt.Errorf("must be %s or %s, not %q", VerifyCredentials, IgnoreCredentials, s)
	}
	return nil
}

// tenantsOf checks the switches that tenants have for themselves.
func tenantsOf(all map[string]map[string]bool) error {
	if len(all) > maxListed {
		return fmt.Errorf("has %d entries and may have %d", len(all), maxListed)
	}
	for tenant, own := range all {
		if err := PlainText(tenant, 256); err != nil || tenant == "" {
			return fmt.Errorf("has %q, which is not the name of a tenant", tenant)
		}
		for name := range own {
			if !slices.Contains(tenantSwitches, name) {
				return fmt.Errorf("of %s: %q is not a switch of a tenant; there is %s", tenant, name, strings.Join(tenantSwitches, " and "))
			}
		}
	}
	return nil
}

func checkRegions(all map[string][]string) error {
	if _, err := format.ParseRegions(all); err != nil {
		return fmt.Errorf("cannot be used: %w", err)
	}
	return nil
}

func leftOut(all map[string][]string) error {
	if len(all) > maxListed {
		return fmt.Errorf("has %d entries and may have %d", len(all), maxListed)
	}
	for who, names := range all {
		for _, n := range names {
			if core.RuleByName(n) == nil {
				return fmt.Errorf("of %s: %q is no attribute", who, n)
			}
		}
	}
	return nil
}
