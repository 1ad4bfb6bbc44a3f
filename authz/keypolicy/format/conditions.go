package format

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

var factMembers = []string{"door", "strength", "tags", "object", "principal", "parameters"}

func (r *reader) conditions(n node) (c Conditions) {
	get := r.object(n, slices.Concat([]string{"ipAddress", "time", "region"}, gateMembers, factMembers)...)
	c.Facts = r.readFacts(get)
	if m := get("ipAddress"); m.kind != missingNode {
		c.IPAddress = readList(r, m, r.addressRange)
	}
	if m := get("time"); m.kind != missingNode {
		c.Time = r.timeBounds(m)
	}
	if m := get("region"); m.kind != missingNode {
		c.Region = r.namesOf(m)
	}
	if len(n.members) == 0 {
		r.refuse(n, "it has no condition; leave it out")
	}
	if count := c.mustHold(); count > maxConditions {
		r.refuse(n, "it has %d conditions; at most %d", count, maxConditions)
	}
	return c
}

// mustHold returns how many conditions must hold.
func (c *Conditions) mustHold() int {
	return len(c.Tags) + len(c.Object) + len(c.Principal) + len(c.Parameters) + 7 // the others, at most one each
}

func (r *reader) readFacts(get func(string) node) (f Facts) {
	if m := get("door"); m.kind != missingNode {
		f.Door = readList(r, m, func(n node) string { return r.choice(n, doors) })
	}
	if m := get("strength"); m.kind != missingNode {
		f.Strength = strengths[r.choice(m, sortedKeys(strengths))]
	}
	f.Tags = r.openFields(get("tags"))
	f.Principal = r.openFields(get("principal"))
	f.Object = r.closedFields(get("object"), objectFields)
	f.Parameters = r.closedFields(get("parameters"), parameterFields)
	return f
}

// openFields reads {name: value or list of values} with any names.
func (r *reader) openFields(n node) map[string][]string {
	if n.kind == missingNode || !r.expect(n, objectNode) {
		return nil
	}
	out := map[string][]string{}
	for _, name := range sortedKeys(n.members) {
		m := n.members[name]
		r.nameOf(node{path: m.path, kind: textNode, text: name}, maxNameBytes)
		out[name] = r.namesOf(m)
	}
	r.refuseEmpty(n)
	return out
}

// closedFields reads the same with known names and, where they are known, values.
func (r *reader) closedFields(n node, fields []namedValues) map[string][]string {
	if n.kind == missingNode {
		return nil
	}
	get, out := r.object(n, fieldNames(fields)...), map[string][]string{}
	for _, f := range fields {
		m := get(f.name)
		switch {
		case m.kind == missingNode:
		case f.isFlag():
			out[f.name] = []string{strconv.FormatBool(r.flagOf(m))}
		case f.isNumber():
			out[f.name] = readList(r, m, func(n node) string { return strconv.FormatInt(r.numberOf(n, maxLength), 10) })
		case f.values == nil:
			out[f.name] = r.namesOf(m)
		default:
			out[f.name] = readList(r, m, func(n node) string { return r.choice(n, f.values) })
		}
	}
	r.refuseEmpty(n)
	return out
}

func (r *reader) refuseEmpty(n node) {
	if len(n.members) == 0 {
		r.refuse(n, "it is empty; leave it out, or name something")
	}
}

// addressRange reads an address or a range in CIDR form.
func (r *reader) addressRange(n node) netip.Prefix {
	s := r.nameOf(n, maxNameBytes)
	p, err := ParseRange(s)
	if r.fault == nil && err != nil {
		r.refuse(n, "%s", err)
	}
	return p
}

// ParseRange parses an address or a range of addresses in CIDR form, such as
// 192.168.1.0/24. It fails with InvalidField if the range has bits behind its length, a
// zone, or is an IPv4 address in IPv6 form, which no request has.
func ParseRange(s string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(s); err == nil && !strings.Contains(s, "/") {
		if addr.Zone() != "" || addr.Is4In6() {
			return netip.Prefix{}, core.Errorf(core.InvalidField, "%q has a zone or is an IPv4 address in IPv6 form; write the plain address", core.ClientText(s))
		}
		return netip.PrefixFrom(addr, addr.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	switch {
	case err != nil:
		return netip.Prefix{}, core.Errorf(core.InvalidField, "%q is neither an address nor a range such as 192.168.1.0/24", core.ClientText(s))
	case p.Addr().Is4In6():
		return netip.Prefix{}, core.Errorf(core.InvalidField, "%q is an IPv4 range in IPv6 form; write the IPv4 range", core.ClientText(s))
	case p.Masked() != p:
		return netip.Prefix{}, core.Errorf(core.InvalidField, "%q has bits behind its length; write %s", core.ClientText(s), p.Masked())
	}
	return p, nil
}
