package keypolicy

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// The reference evaluator: the meaning of a document in plain Go, without the normal form
// and without Rego.

// referenceMatch returns what [Matcher.Match] must return.
func referenceMatch(r *Request, policies []*Policy) (m Matches) {
	exclusive, allAllow := false, true
	var exclusiveAllows, allows []string
	for i, p := range policies {
		if slices.Contains(policies[:i], p) {
			continue
		}
		matched := false
		for k, s := range p.document.Statements {
			if !referenceMatches(r, &s) {
				continue
			}
			label := fmt.Sprintf("%s@%d/%s", p.name, p.version, p.document.Statements[k].SID)
			open := s.Gate == nil || slices.Contains(r.Granted, label)
			if !open {
				m.Gates = append(m.Gates, core.Gate{Statement: label, Denies: s.Effect == format.Deny, GateTerms: *s.Gate})
			}
			switch {
			case s.Effect == format.Deny && s.Gate != nil && open:
			case s.Effect == format.Allow && !open:
			case s.Effect == format.Deny:
				m.Deny = append(m.Deny, label)
			case p.document.Exclusive:
				exclusiveAllows, matched = append(exclusiveAllows, label), true
			default:
				allows = append(allows, label)
			}
		}
		if p.document.Exclusive {
			exclusive, allAllow = true, allAllow && matched
		}
	}
	switch m.Exclusive = exclusive; {
	case !exclusive:
		m.Allow = allows
	case allAllow:
		m.Allow = exclusiveAllows
	}
	slices.Sort(m.Allow)
	slices.Sort(m.Deny)
	slices.SortFunc(m.Gates, func(a, b core.Gate) int {
		return strings.Compare(fmt.Sprint(!a.Denies, a.Statement), fmt.Sprint(!b.Denies, b.Statement))
	})
	return m
}

func referenceMatches(r *Request, s *format.Statement) bool {
	named := slices.ContainsFunc(s.Actions, func(word string) bool { return slices.Contains(core.ActionsNamed(word), r.Action) })
	return named && slices.ContainsFunc(s.Principals, func(p string) bool { return referenceIs(r, p) }) && len(referenceUnmet(r, s)) == 0
}

func referenceIs(r *Request, principal string) bool {
	kind, name, _ := strings.Cut(principal, ":")
	switch kind {
	case "*":
		return true
	case "user":
		return r.Principal.ID == name
	case "client":
		return r.Principal.ID == name && r.Principal.Strength == core.StrengthCertificate
	case "token":
		return r.Token == name
	case "group":
		return slices.Contains(r.Principal.Groups, name)
	}
	return slices.Contains(r.Principal.Roles, name)
}

// referenceUnmet returns the paths of the conditions that do not hold.
func referenceUnmet(r *Request, s *format.Statement) (paths []string) {
	c := &s.Conditions
	demand := func(path string, wanted, holds bool) {
		if wanted && !holds {
			paths = append(paths, "conditions."+path)
		}
	}
	addr, _ := netip.ParseAddr(r.Address)
	within := func(ranges []netip.Prefix) bool {
		if r.Address == "" {
			return s.Effect == format.Deny
		}
		return slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(addr.Unmap().WithZone("")) })
	}
	var regional []netip.Prefix
	for _, name := range c.Region {
		regional = append(append(regional, testRegions[name]...), testPlaces[name]...)
	}
	demand("ipAddress", c.IPAddress != nil, within(c.IPAddress))
	demand("region", c.Region != nil, within(regional))
	demand("time.notBefore", c.Time.NotBefore != nil, c.Time.NotBefore != nil && r.Now >= *c.Time.NotBefore)
	demand("time.notAfter", c.Time.NotAfter != nil, c.Time.NotAfter != nil && r.Now <= *c.Time.NotAfter)
	demand("time.daily", c.Time.Daily != nil, c.Time.Daily != nil && referenceDaily(c.Time.Daily, r.Now))
	demand("door", c.Door != nil, slices.Contains(c.Door, string(r.Door)))
	demand("strength", c.Strength != core.StrengthNone, r.Principal.Strength >= c.Strength)
	for name, values := range c.Tags {
		demand("tags."+name, true, referenceTag(r.Object, name, values))
	}
	for name, values := range c.Principal {
		demand("principal."+name, true, r.Principal.Attributes[name] != "" && slices.Contains(values, r.Principal.Attributes[name]))
	}
	for name, values := range c.Object {
		demand("object."+name, true, r.Object != nil && referenceObject(r, name, values))
	}
	for name, values := range c.Parameters {
		if name == "usage" {
			demand("parameters.usage", true, referenceUsage(r.Usage, values, s.Effect))
			continue
		}
		demand("parameters."+name, true, slices.Contains(values, referenceParameter(r, name)))
	}
	slices.Sort(paths)
	return paths
}

// referenceDaily looks at each window that can have begun: today's and yesterday's.
func referenceDaily(d *format.Daily, now int64) bool {
	zone, err := time.LoadLocation(d.Zone)
	if err != nil {
		return false
	}
	local := time.Unix(now, 0).In(zone)
	second := local.Hour()*3600 + local.Minute()*60 + local.Second()
	on := func(day time.Weekday) bool {
		return d.Weekdays == nil || slices.Contains(d.Weekdays, strings.ToLower(day.String()))
	}
	yesterday := (local.Weekday() + 6) % 7
	if d.From < d.To {
		return second >= d.From && second < d.To && on(local.Weekday())
	}
	return second >= d.From && on(local.Weekday()) || second < d.To && on(yesterday)
}

func referenceTag(o *core.ManagedObject, name string, values []string) bool {
	if o == nil {
		return false
	}
	if !strings.HasPrefix(name, "x-") && !strings.HasPrefix(name, "y-") {
		name = "x-keyreeve-tag-" + name
	}
	return slices.ContainsFunc(o.Attributes, func(a core.Attribute) bool {
		return a.Tag == 0 && (a.Vendor == "x" || a.Vendor == "y") && a.Vendor+"-"+a.Name == name && a.Value.Kind == core.KindTextString && slices.Contains(values, a.Value.Text)
	})
}

func referenceObject(r *Request, name string, values []string) bool {
	o := r.Object
	switch name {
	case "type":
		return slices.Contains(values, o.Type.String())
	case "state":
		return slices.Contains(values, r.State.String())
	case "algorithm":
		return slices.Contains(values, o.Algorithm().String())
	case "class":
		return slices.Contains(values, string(o.Material.Class))
	case "owner":
		return slices.Contains(values, o.Owner)
	case "group":
		return slices.Contains(values, o.Group)
	case "ownedByCaller":
		return slices.Contains(values, fmt.Sprint(o.Owner == r.Principal.ID && o.Tenant == r.Principal.Tenant))
	}
	return slices.ContainsFunc(o.Attributes, func(a core.Attribute) bool {
		return a.Tag == core.TagObjectGroup && slices.Contains(values, a.Value.Text)
	})
}

// referenceUsage compares names of uses bit by bit.
func referenceUsage(mask core.UsageMask, names []string, e format.Effect) bool {
	all, some := mask != 0, false
	for bit := range 32 {
		one := core.UsageMask(1) << bit
		if mask&one == 0 {
			continue
		}
		named := slices.Contains(names, one.String())
		all, some = all && named, some || named
	}
	return e == format.Allow && all || e == format.Deny && some
}

func referenceParameter(r *Request, name string) string {
	switch p := &r.Parameters; name {
	case "algorithm":
		return p.CryptographicAlgorithm.String()
	case "mode":
		return p.BlockCipherMode.String()
	case "padding":
		return p.PaddingMethod.String()
	case "hash":
		return p.HashingAlgorithm.String()
	case "signature":
		return p.DigitalSignatureAlgorithm.String()
	case "length":
		return fmt.Sprint(r.Length)
	}
	if r.Wrapped == nil {
		return ""
	}
	return fmt.Sprint(*r.Wrapped)
}

// The generator: documents and requests from few names, so that they often meet.

var testRegions = format.Regions{
	"eu": {netip.MustParsePrefix("10.2.0.0/16"), netip.MustParsePrefix("2001:db8:2::/48")},
	"us": {netip.MustParsePrefix("10.3.0.0/16")},
}

// testPlaces are the countries and continents of the addresses of tests.
var testPlaces = format.Regions{
	"country:DE":   {netip.MustParsePrefix("10.1.2.0/24"), netip.MustParsePrefix("2001:db8::/64")},
	"country:US":   {netip.MustParsePrefix("8.8.8.0/24")},
	"continent:EU": {netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("2001:db8::/32")},
	"continent:NA": {netip.MustParsePrefix("8.0.0.0/8")},
}

func locateInTest(address netip.Addr) (places []string, err error) {
	for name, ranges := range testPlaces {
		if slices.ContainsFunc(ranges, func(p netip.Prefix) bool { return p.Contains(address) }) {
			places = append(places, name)
		}
	}
	return places, nil
}

var generatedActions = []core.Action{core.ActionEncrypt, core.ActionGet, core.ActionGetAttributes, core.ActionCreate, core.ActionSignatureVerify, core.ActionLocate}

// generator makes random documents and requests.
type generator struct{ *rand.Rand }

func (g generator) one(from ...string) string { return from[g.IntN(len(from))] }

// some returns 1 to 3 of the names, as one string or as a list.
func (g generator) some(from ...string) string {
	if g.IntN(2) == 0 {
		return fmt.Sprintf("%q", g.one(from...))
	}
	return g.listOf(from...)
}

func (g generator) listOf(from ...string) string {
	var all []string
	for range 1 + g.IntN(3) {
		all = append(all, fmt.Sprintf("%q", g.one(from...)))
	}
	return "[" + strings.Join(all, ",") + "]"
}

func (g generator) document() string {
	var statements []string
	for range 1 + g.IntN(4) {
		statements = append(statements, g.statement())
	}
	exclusive := ""
	if g.IntN(6) == 0 {
		exclusive = `"exclusive": true, `
	}
	return "{" + exclusive + `"statements": [` + strings.Join(statements, ",") + "]}"
}

func (g generator) statement() string {
	conditions := ""
	if all := g.conditions(); len(all) > 0 {
		conditions = `, "conditions": {` + strings.Join(all, ", ") + "}"
	}
	actions, effect := g.listOf("encrypt", "export", "read", "create", "verify", "list", "*", "Get", "Get Attributes", "Signature Verify", "sign"), g.one("allow", "allow", "deny")
	if g.IntN(6) == 0 {
		approvals := `"approvals": ` + g.one(`{"needed": 1, "from": "role:r"}`, `{"needed": 2, "from": ["user:a", "group:g"]}`)
		actions = g.listOf("export", "Get", "delete")
		if g.IntN(2) == 0 {
			approvals, actions = g.one(`"rate": {"uses": 5, "per": "1h"}`, `"rate": {"uses": 5, "per": "1h"}, "totalUse": 3`), g.listOf("encrypt", "create", "read", "Get", "Signature Verify")
		}
		if strings.Contains(approvals, "totalUse") {
			effect, actions = "allow", g.listOf("encrypt", "read", "Get", "Signature Verify")
		}
		switch {
		case effect == "deny":
			conditions += `, "unless": {` + approvals + "}"
		case conditions == "":
			conditions = `, "conditions": {` + approvals + "}"
		default:
			conditions = strings.TrimSuffix(conditions, "}") + ", " + approvals + "}"
		}
	}
	return fmt.Sprintf(`{"principal": %s, "actions": %s, "effect": %q%s}`,
		g.some("user:a", "user:b", "client:a", "group:g", "group:h", "role:r", "role:admin", "token:t1", "*"), actions, effect, conditions)
}

// conditions returns members of the object conditions, each with a small chance.
func (g generator) conditions() (all []string) {
	add := func(format string, args ...any) {
		if g.IntN(9) == 0 {
			all = append(all, fmt.Sprintf(format, args...))
		}
	}
	add(`"ipAddress": %s`, g.some("10.1.0.0/16", "10.0.0.0/8", "10.1.2.3", "2001:db8::/32", "0.0.0.0/0", "::/0", "192.168.0.0/24"))
	add(`"region": %s`, g.some("eu", "us", "country:DE", "country:US", "country:FR", "continent:EU", "continent:NA"))
	add(`"time": {%s}`, g.time())
	add(`"door": %s`, g.some("kmip", "rest", "clock", "admin"))
	add(`"strength": %q`, g.one("password", "token", "certificate"))
	add(`"tags": {%q: %s}`, g.one("env", "site", "x-Site", "y-Site"), g.some("prod", "dev", "Berlin"))
	add(`"principal": {%q: %s}`, g.one("department", "level"), g.some("hr", "it", "1"))
	add(`"object": {%s}`, g.one(`"type": "Symmetric Key"`, `"ownedByCaller": true`, `"ownedByCaller": false`, `"state": ["Active", "Pre-Active"]`, `"algorithm": ["AES", "RSA"]`, `"class": "N"`, `"owner": ["a", "b"]`, `"group": "g"`, `"objectGroup": ["og", "oh"]`, `"type": ["Secret Data", "Symmetric Key"], "group": ["g", "h"]`))
	add(`"parameters": {%s}`, g.one(`"algorithm": "AES"`, `"mode": ["GCM", "CBC"]`, `"padding": "PKCS5"`, `"hash": "SHA-256"`, `"signature": "RSASSA-PSS"`, `"wrapped": true`, `"wrapped": false`, `"length": 128`, `"length": [192, 256]`, `"usage": "Encrypt"`, `"usage": ["Encrypt", "Decrypt", "Sign"]`))
	return all
}

func (g generator) time() string {
	return g.one(`"notBefore": "2026-03-01T00:00:00Z"`, `"notAfter": "2026-09-01T00:00:00+02:00"`, `"notBefore": "2026-01-01T00:00:00Z", "notAfter": "2026-06-30T23:59:59Z"`,
		fmt.Sprintf(`"daily": {"from": %q, "to": %q, "zone": %q%s}`, g.one("00:00", "08:00", "22:30"), g.one("06:00", "18:00", "24:00"),
			g.one("UTC", "Europe/Berlin", "America/New_York", "Asia/Kolkata"), g.one("", `, "weekdays": ["monday", "friday"]`, `, "weekdays": "saturday"`, `, "weekdays": ["sunday", "monday", "tuesday"]`)))
}

// edges are the instants named by [generator.time], and midnights.
var edges = []int64{1772323200, 1788213600, 1767225600, 1782863999, 1774738800, 1792890000, 1768600800}

// now returns a time in 2026, often one second around an edge.
func (g generator) now() int64 {
	if g.IntN(3) == 0 {
		return edges[g.IntN(len(edges))] + g.Int64N(3) - 1
	}
	if g.IntN(3) == 0 { // a full hour or half hour of any day
		return year2026 + g.Int64N(365*48)*1800 + g.Int64N(3) - 1
	}
	return year2026 + g.Int64N(365*86400)
}

// year2026 has both changes of the clock in the zones above.
const year2026 = 1767225600

func (g generator) request(action core.Action) *Request {
	p := &core.Principal{Tenant: "t", ID: g.one("a", "b", "c"), Strength: core.Strength(g.IntN(5)), Method: "mtls"}
	for _, name := range []string{"g", "h", ""} {
		if g.IntN(3) == 0 {
			p.Groups = append(p.Groups, name)
		}
	}
	for _, name := range []string{"r", "admin"} {
		if g.IntN(3) == 0 {
			p.Roles = append(p.Roles, name)
		}
	}
	r := &Request{Token: g.one("", "", "t1", "t2"), AccessRequest: &core.AccessRequest{Action: action, Principal: p, Door: doors[g.IntN(len(doors))],
		Address: g.one("", "10.1.2.3", "10.1.9.9", "10.2.0.1", "10.3.3.3", "192.168.0.77", "2001:db8::1", "2001:db8:2::5", "::ffff:10.1.2.3", "fe80::1%eth0", "8.8.8.8"), Now: g.now()}}
	for range g.IntN(6) { // open gates
		r.Granted = append(r.Granted, fmt.Sprintf("p%d@3/%d", g.IntN(4), 1+g.IntN(4)))
	}
	if g.IntN(3) > 0 {
		r.Principal.Attributes = map[string]string{"department": g.one("hr", "it", "ops"), "level": g.one("1", "2")}
	}
	if g.IntN(8) > 0 {
		r.Object, r.State = g.object(), core.State(1+g.IntN(4))
	}
	r.Parameters = core.CryptographicParameters{CryptographicAlgorithm: core.CryptographicAlgorithm(g.IntN(5)), BlockCipherMode: core.BlockCipherMode(g.IntN(10)),
		PaddingMethod: core.PaddingMethod(g.IntN(5)), HashingAlgorithm: core.HashingAlgorithm(g.IntN(8)), DigitalSignatureAlgorithm: core.DigitalSignatureAlgorithm(g.IntN(9))}
	r.Length, r.Usage = int32(64*g.IntN(5)), core.UsageMask(g.IntN(16))
	if g.IntN(8) == 0 {
		r.Usage |= 1 << 30 // a bit without a name
	}
	if g.IntN(2) == 0 {
		wrapped := g.IntN(2) == 0
		r.Wrapped = &wrapped
	}
	return r
}

func (g generator) object() *core.ManagedObject {
	o := &core.ManagedObject{Tenant: g.one("t", "t", "u"), ID: "o", Owner: g.one("a", "b", "c"), Group: g.one("", "g", "h"), Version: 1, Type: core.ObjectType(1 + g.IntN(8))}
	o.Material.Class = core.Class(g.one("N", "X", "C"))
	if g.IntN(4) > 0 {
		o.Attributes = o.Attributes.Set(core.TagCryptographicAlgorithm, core.Enum(core.CryptographicAlgorithm(1+g.IntN(5))))
	}
	for _, vendor := range []string{"x", "y", "z", "x-keyreeve"} {
		for _, name := range []string{"keyreeve-tag-env", "tag-env", "Site", "keyreeve-tag-site"} {
			if g.IntN(4) == 0 {
				o.Attributes = o.Attributes.Add(core.Attribute{Vendor: vendor, Name: name, Value: core.Text(g.one("prod", "dev", "Berlin"))})
			}
		}
	}
	for range g.IntN(3) {
		o.Attributes = o.Attributes.Add(core.Attribute{Tag: core.TagObjectGroup, Value: core.Text(g.one("og", "oh", "oi"))})
	}
	return o
}
