package format

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strconv"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/jsontext"
)

// Tree returns the normal form as maps, lists, strings, int64 and bool: what the matcher
// gives to Rego, and what [Normal.Bytes] writes.
func (n *Normal) Tree() map[string]any {
	return map[string]any{"exclusive": n.Exclusive, "allow": indexTree(n.Allow), "deny": indexTree(n.Deny), "statements": listOf(n.Statements, statementTree)}
}

func indexTree(index map[string][]int) any {
	out := map[string]any{}
	for action, positions := range index {
		out[action] = listOf(positions, func(p int) any { return int64(p) })
	}
	return out
}

// setTree returns {"a": true, "b": true}.
func setTree(names []string) any {
	set := map[string]any{}
	for _, name := range names {
		set[name] = true
	}
	return set
}

func statementTree(s NormalStatement) any {
	out := map[string]any{"sid": s.SID, "effect": string(s.Effect), "principals": setTree(s.Principals), "conditions": listOf(s.Conditions, conditionTree)}
	if s.Gate != nil {
		out["gate"] = gateTree(s.Gate)
	}
	return out
}

// gateTree is in the hash of a policy; match.rego does not read it.
func gateTree(g *core.GateTerms) any {
	out := map[string]any{}
	if a := g.Approvals; a != nil {
		out[approvalsMember] = map[string]any{"needed": int64(a.Needed), "from": listOf(a.From, textTree)}
	}
	if rate := g.Rate; rate != nil {
		out[rateMember] = map[string]any{"uses": rate.Uses, "per": rate.Per}
	}
	if g.TotalUse != 0 {
		out[totalMember] = g.TotalUse
	}
	return out
}

func conditionTree(c Condition) any {
	out := map[string]any{"kind": string(c.Kind), "path": c.Path}
	switch c.Kind {
	case ValuesCondition:
		out["field"], out["values"] = c.Field, listOf(c.Values, textTree)
	case UsagesCondition:
		out["field"], out["values"], out["members"] = c.Field, listOf(c.Values, textTree), setTree(c.Values)
	case AddressCondition:
		out["ranges"] = listOf(c.Ranges, textTree)
	case NotBeforeCondition, NotAfterCondition:
		out["at"] = c.At
	case DailyCondition:
		out["zone"], out["windows"] = c.Zone, listOf(c.Windows, windowTree)
	case StrengthCondition:
		out["least"] = int64(c.Least)
	}
	return out
}

func windowTree(w Window) any {
	return map[string]any{"from": int64(w.From), "to": int64(w.To), "days": listOf(w.Days, textTree)}
}

func textTree(s string) any { return s }

func listOf[T any](all []T, tree func(T) any) []any {
	out := make([]any, len(all))
	for i := range all {
		out[i] = tree(all[i])
	}
	return out
}

// Bytes returns the normal form as canonical JSON: the same bytes for the same policy,
// with sorted members and without spaces.
func (n *Normal) Bytes() []byte { return appendTree(nil, n.Tree()) }

// Hash returns the SHA-256 of the canonical bytes, hex. The policy's name is not in it.
func (n *Normal) Hash() string {
	sum := sha256.Sum256(n.Bytes())
	return hex.EncodeToString(sum[:])
}

func appendTree(b []byte, tree any) []byte {
	switch t := tree.(type) {
	case string:
		return jsontext.AppendString(b, t, jsontext.KeepDEL)
	case int64:
		return strconv.AppendInt(b, t, 10)
	case bool:
		return strconv.AppendBool(b, t)
	case []any:
		b = append(b, '[')
		for i, item := range t {
			if i > 0 {
				b = append(b, ',')
			}
			b = appendTree(b, item)
		}
		return append(b, ']')
	case map[string]any:
		return appendObject(b, t)
	}
	panic(fmt.Sprintf("the normal form has no %T", tree))
}

func appendObject(b []byte, members map[string]any) []byte {
	b = append(b, '{')
	for i, name := range sortedKeys(members) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(jsontext.AppendString(b, name, jsontext.KeepDEL), ':')
		b = appendTree(b, members[name])
	}
	return append(b, '}')
}
