// Package keypolicy tells which statements of key policies match a request.
//
// [Compile] reads a policy; the package format describes its form. A [Matcher] evaluates
// match.rego over the policies that are attached to a key, its groups and its principal.
// It is interpreted at once. For sets of policies that are asked often, it is partially
// evaluated in the background; both ways give the same answers. The package decides
// nothing: the caller hands the matched statements to policies.rego. An error means that
// the request is denied. Start at [Matcher.Match].
package keypolicy

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
	"github.com/keyreeve/keyreeve/core"
)

// Options of [Compile].
type Options struct {
	Name    string         // of the stored policy; "": the document has the name
	Version int64          // from 1
	Regions format.Regions // for the condition region
	Locate  LocateFunc     // nil: no condition may name a country or continent
	Exists  func(name string) bool
}

// LocateFunc returns the country and the continent of an address, as conditions name them:
// "country:DE", "continent:EU"; none if they are not known. An error denies the request.
type LocateFunc func(netip.Addr) ([]string, error)

// Policy is one version of a key policy, ready to be evaluated. It never changes.
type Policy struct {
	name     string
	version  int64
	document *format.Document
	normal   *format.Normal
	hash     string
	term     *ast.Term
	locate   LocateFunc
	labels   []string           // "NAME@VERSION/SID" of each statement
	concerns map[string]concern // by action; core.EveryAction stands for the others
}

// concern is what the statements for one action look at.
type concern struct {
	size                          int // names and conditions that are looked at
	branches                      int // conjunctions after partial evaluation
	fields                        []field
	lengths                       prefixLengths
	locate                        LocateFunc // nil: no condition names a country or continent
	edges                         timeEdges
	readsAddress, readsParameters bool
}

// Compile reads and checks a policy. It fails with InvalidField and the path of the first
// fault. Warnings are no faults: a name may come to exist later. Options.Exists says
// which names such as "user:alice" exist; nil: all.
func Compile(text []byte, o Options) (*Policy, []format.Warning, error) {
	d, err := format.Parse(text)
	if err != nil {
		return nil, nil, err
	}
	p, err := compileDocument(d, o)
	if err != nil {
		return nil, nil, err
	}
	return p, format.Warnings(d, o.Exists), nil
}

func compileDocument(d *format.Document, o Options) (*Policy, error) {
	p := &Policy{name: o.Name, version: o.Version, document: d, locate: o.Locate}
	if p.name == "" {
		p.name = d.Name
	}
	if err := format.CheckIdentifier(p.name); err != nil {
		return nil, core.Errorf(core.InvalidField, "name: the name of the policy %s", err)
	}
	switch {
	case d.Name != "" && d.Name != p.name:
		return nil, core.Errorf(core.InvalidField, "name: the document says %q, but the policy is %q; leave the name out, or write the same", d.Name, p.name)
	case o.Version < 1:
		return nil, core.Errorf(core.InvalidField, "the version of a policy is at least 1, not %d", o.Version)
	}
	var err error
	if p.normal, err = format.Normalize(d, o.Regions, o.Locate != nil); err != nil {
		return nil, err
	}
	p.hash, p.term = p.normal.Hash(), freshTerm(p.normal.Tree())
	for _, s := range p.normal.Statements {
		p.labels = append(p.labels, fmt.Sprintf("%s@%d/%s", p.name, p.version, s.SID))
	}
	p.concerns = concernsOf(p.normal, o.Locate)
	return p, nil
}

// Name returns the name, which is unique in its tenant.
func (p *Policy) Name() string { return p.name }

// Version returns the version, from 1.
func (p *Policy) Version() int64 { return p.version }

// Hash returns the SHA-256 of the normal form, hex. Two policies with the same hash match
// the same requests.
func (p *Policy) Hash() string { return p.hash }

// Targets returns to which objects or people the document attaches the policy.
func (p *Policy) Targets() format.Targets { return p.document.Targets }

// Tested reports whether the document has tests.
func (p *Policy) Tested() bool { return len(p.document.Tests) > 0 }

// Exclusive reports whether an action needs an allow of this policy.
func (p *Policy) Exclusive() bool { return p.normal.Exclusive }

// Statements returns the statements as they were written. Do not change them.
func (p *Policy) Statements() []format.Statement { return p.document.Statements }

// Size returns how many names and conditions the statements have. The memory of a policy
// grows with it.
func (p *Policy) Size() (size int) {
	for i := range p.normal.Statements {
		size += p.normal.Statements[i].Size()
	}
	return size
}

// Reads lists what the statements for an action look at: the principals that they name, and
// the paths of their conditions, such as "conditions.parameters.mode", and "gate" if one has a
// gate.
func (p *Policy) Reads(action string) (names []string) {
	for _, effect := range []format.Effect{format.Allow, format.Deny} {
		for _, i := range p.normal.Concerning(effect, action) {
			s := &p.normal.Statements[i]
			names = append(names, s.Principals...)
			if s.Gate != nil {
				names = append(names, "gate")
			}
			for k := range s.Conditions {
				names = append(names, s.Conditions[k].Path)
			}
		}
	}
	return names
}

// Labels returns the name of each statement in records: "POLICY@VERSION/SID". Do not
// change them.
func (p *Policy) Labels() []string { return p.labels }

// concernsOf returns what the statements for each action look at.
func concernsOf(n *format.Normal, locate LocateFunc) map[string]concern {
	out, zones := map[string]concern{}, zonesOf(n)
	for _, index := range []map[string][]int{n.Allow, n.Deny} {
		for action := range index {
			if _, done := out[action]; !done {
				out[action] = concernOf(n, action, zones, locate)
			}
		}
	}
	return out
}

func concernOf(n *format.Normal, action string, zones map[string]*time.Location, locate LocateFunc) (c concern) {
	for _, effect := range []format.Effect{format.Allow, format.Deny} {
		for _, i := range n.Concerning(effect, action) {
			c.addStatement(&n.Statements[i], locate)
			for k := range n.Statements[i].Conditions {
				c.edges.addCondition(&n.Statements[i].Conditions[k], zones)
			}
		}
	}
	c.edges.sortEdges()
	return c
}

func (c *concern) addStatement(s *format.NormalStatement, locate LocateFunc) {
	branches := len(s.Principals)
	for i := range s.Conditions {
		condition := &s.Conditions[i]
		switch condition.Kind {
		case format.ValuesCondition, format.UsagesCondition:
			c.addField(field{condition.Field, ast.StringTerm(condition.Field)})
		case format.AddressCondition:
			c.readsAddress = true
			c.lengths.addRanges(condition.Ranges)
			if slices.ContainsFunc(condition.Ranges, format.IsPlace) {
				c.locate = locate
			}
			branches *= 2 // the address may be unknown
		case format.DailyCondition:
			branches *= len(condition.Windows)
		}
	}
	c.size += s.Size()
	c.branches += branches
}

func (c *concern) addField(f field) {
	if !slices.ContainsFunc(c.fields, func(known field) bool { return known.name == f.name }) {
		c.fields = append(c.fields, f)
	}
	c.readsParameters = c.readsParameters || strings.HasPrefix(f.name, format.ParameterPrefix)
}

// addConcern adds what another policy looks at.
func (c *concern) addConcern(other *concern) {
	c.size += other.size
	c.branches += other.branches
	for _, f := range other.fields {
		c.addField(f)
	}
	c.lengths.addLengths(&other.lengths)
	c.readsAddress = c.readsAddress || other.readsAddress
	if c.locate == nil {
		c.locate = other.locate
	}
}

// concernFor returns what the statements for an action look at. ok is false if the policy
// says nothing about the action.
func (p *Policy) concernFor(action string) (c concern, ok bool) {
	if c, ok = p.concerns[action]; !ok {
		c, ok = p.concerns[core.EveryAction]
	}
	return c, ok
}
