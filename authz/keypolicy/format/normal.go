package format

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Normal is a policy as it is evaluated. Statements are in the document's order, and
// found by effect and action.
type Normal struct {
	Exclusive  bool
	Statements []NormalStatement
	Allow      map[string][]int // positions of statements by the name of an action or core.EveryAction
	Deny       map[string][]int
}

// NormalStatement has its names sorted and each once.
type NormalStatement struct {
	SID        string
	Effect     Effect
	Principals []string
	Conditions []Condition
	Gate       *core.GateTerms // nil: none
}

// Size returns how many things an evaluation of the statement looks at, at most.
func (s *NormalStatement) Size() int {
	size := 1 + len(s.Principals) + len(s.Conditions)
	for i := range s.Conditions {
		size += len(s.Conditions[i].Values) + len(s.Conditions[i].Ranges)
	}
	if s.Gate != nil && s.Gate.Approvals != nil {
		size += len(s.Gate.Approvals.From)
	}
	return size
}

// ConditionKind says how a condition is compared.
type ConditionKind string

// The kinds of conditions, with the fields that they use.
const (
	ValuesCondition    ConditionKind = "values"    // Field, Values
	AddressCondition   ConditionKind = "address"   // Ranges
	NotBeforeCondition ConditionKind = "notBefore" // At
	NotAfterCondition  ConditionKind = "notAfter"  // At
	DailyCondition     ConditionKind = "daily"     // Zone, Windows
	StrengthCondition  ConditionKind = "strength"  // Least
	UsagesCondition    ConditionKind = "usages"    // Field, Values: in a denial one of them, in a permission nothing else
)

// Condition is one condition of a statement.
type Condition struct {
	Kind    ConditionKind
	Path    string   // in the statement, "conditions.time.notBefore"
	Field   string   // "object.type", "tags.x-keyreeve-tag-env"
	Values  []string // of which the request has one
	Ranges  []string // in CIDR form, and places such as "country:DE"; the address is in one
	At      int64    // Unix seconds
	Zone    string
	Windows []Window
	Least   core.Strength
}

// Window is a part of certain days. From is inclusive and To exclusive, in seconds after
// midnight. A window across midnight becomes two.
type Window struct {
	From, To int
	Days     []string // "Monday"
}

// Normalize returns the normal form of a document. It fails with InvalidField if a
// condition names a region that has no ranges, or if the whole is larger than MaxSize. placesKnown
// says whether the countries and continents of addresses are known; if not, no condition may
// name one.
func Normalize(d *Document, regions Regions, placesKnown bool) (*Normal, error) {
	n, size := &Normal{Exclusive: d.Exclusive, Allow: map[string][]int{}, Deny: map[string][]int{}}, 0
	for i := range d.Statements {
		s := &d.Statements[i]
		conditions, err := s.Conditions.normalize(regions, placesKnown)
		if err != nil {
			return nil, faultAt(fmt.Sprintf("statements[%d].conditions.region", i), "%s", err)
		}
		n.Statements = append(n.Statements, NormalStatement{SID: s.SID, Effect: s.Effect, Principals: sortedSet(s.Principals), Conditions: conditions, Gate: s.Gate})
		if size += n.Statements[i].Size(); size > MaxSize {
			return nil, faultAt(fmt.Sprintf("statements[%d]", i), "the policy names more than %d principals, values and ranges; split it", MaxSize)
		}
		index := n.indexOf(s.Effect)
		for _, key := range s.actionKeys() {
			index[key] = append(index[key], i)
		}
	}
	return n, nil
}

func (n *Normal) indexOf(e Effect) map[string][]int {
	if e == Allow {
		return n.Allow
	}
	return n.Deny
}

// Concerning returns the positions of the statements of one effect that name an action,
// by itself, by a word, or by "*".
func (n *Normal) Concerning(e Effect, action string) []int {
	index := n.indexOf(e)
	return slices.Concat(index[action], index[core.EveryAction])
}

// actionKeys returns the names of the actions, each once; only "*" if it is there.
func (s *Statement) actionKeys() (keys []string) {
	for _, word := range s.Actions {
		if word == core.EveryAction {
			return []string{core.EveryAction}
		}
		for _, a := range core.ActionsNamed(word) {
			keys = append(keys, a.String())
		}
	}
	return sortedSet(keys)
}

func (c *Conditions) normalize(regions Regions, placesKnown bool) (out []Condition, err error) {
	if c.IPAddress != nil {
		out = append(out, Condition{Kind: AddressCondition, Path: "conditions.ipAddress", Ranges: rangeTexts(c.IPAddress)})
	}
	if c.Region != nil {
		all, err := regions.rangesOf(c.Region, placesKnown)
		if err != nil {
			return nil, err
		}
		out = append(out, Condition{Kind: AddressCondition, Path: "conditions.region", Ranges: all})
	}
	return append(append(out, c.Time.normalize()...), c.Facts.normalize()...), nil
}

func (t *Time) normalize() (out []Condition) {
	if t.NotBefore != nil {
		out = append(out, Condition{Kind: NotBeforeCondition, Path: "conditions.time.notBefore", At: *t.NotBefore})
	}
	if t.NotAfter != nil {
		out = append(out, Condition{Kind: NotAfterCondition, Path: "conditions.time.notAfter", At: *t.NotAfter})
	}
	if t.Daily != nil {
		out = append(out, Condition{Kind: DailyCondition, Path: "conditions.time.daily", Zone: t.Daily.Zone, Windows: t.Daily.windows()})
	}
	return out
}

// windows splits a window across midnight into its evening and its morning.
func (d *Daily) windows() []Window {
	var today, tomorrow []string
	for i := range weekdays {
		if d.Weekdays == nil || slices.Contains(d.Weekdays, weekdays[i]) {
			today, tomorrow = append(today, time.Weekday(i).String()), append(tomorrow, time.Weekday((i+1)%len(weekdays)).String())
		}
	}
	switch {
	case d.From < d.To:
		return []Window{{d.From, d.To, sortedSet(today)}}
	case d.To == 0:
		return []Window{{d.From, secondsPerDay, sortedSet(today)}}
	}
	return []Window{{d.From, secondsPerDay, sortedSet(today)}, {0, d.To, sortedSet(tomorrow)}}
}

func (f *Facts) normalize() (out []Condition) {
	for _, v := range f.Fields() {
		kind := ValuesCondition
		if v.Name == ParameterPrefix+usageParameter {
			kind = UsagesCondition
		}
		out = append(out, Condition{Kind: kind, Path: v.Path, Field: v.Name, Values: sortedSet(v.Values)})
	}
	if f.Strength != core.StrengthNone {
		out = append(out, Condition{Kind: StrengthCondition, Path: "conditions.strength", Least: f.Strength})
	}
	return out
}

// FieldValues are the values of one field, with the path of the member that named them.
type FieldValues struct {
	Name, Path string
	Values     []string
}

// Fields lists the facts by the names of their fields, in a fixed order.
func (f *Facts) Fields() (out []FieldValues) {
	if f.Door != nil {
		out = append(out, FieldValues{DoorField, "conditions.door", f.Door})
	}
	add := func(prefix string, values map[string][]string, field func(string) string) {
		for _, name := range sortedKeys(values) {
			out = append(out, FieldValues{field(name), "conditions." + prefix + name, values[name]})
		}
	}
	under := func(prefix string) func(string) string { return func(name string) string { return prefix + name } }
	add(TagPrefix, f.Tags, tagField)
	add(ObjectPrefix, f.Object, under(ObjectPrefix))
	add(PrincipalPrefix, f.Principal, under(PrincipalPrefix))
	add(ParameterPrefix, f.Parameters, under(ParameterPrefix))
	return out
}

func rangeTexts(ranges []netip.Prefix) []string {
	var all []string
	for _, p := range ranges {
		all = append(all, p.String())
	}
	return sortedSet(all)
}

// sortedSet returns the texts sorted, each once.
func sortedSet(all []string) []string {
	all = slices.Clone(all)
	slices.SortFunc(all, strings.Compare)
	return slices.Compact(all)
}
