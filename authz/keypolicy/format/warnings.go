package format

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Warnings lists what is probably a mistake: names that do not exist, conditions on
// the object or the parameters of an action that has none, and denials that a token escapes. exists says whether there is a principal or a
// target such as "user:alice" or "keyId:key123"; nil: all exist.
func Warnings(d *Document, exists func(name string) bool) (out []Warning) {
	check := func(path, name string) {
		if exists != nil && !exists(name) {
			out = append(out, Warning{path, fmt.Sprintf("%s does not exist (yet)", core.ClientText(name))})
		}
	}
	for _, name := range d.Targets.Names {
		check(string(d.Targets.Kind), string(d.Targets.Kind)+":"+name)
	}
	for i := range d.Statements {
		s, path := &d.Statements[i], fmt.Sprintf("statements[%d]", i)
		for _, p := range s.Principals {
			if p != Anyone {
				check(path+".principal", p)
			}
			if client, ok := strings.CutPrefix(p, "client:"); ok && s.Effect == Deny {
				out = append(out, Warning{path + ".principal", fmt.Sprintf("client:%[1]s is not matched by an access token of %[1]s, which escapes the denial; write user:%[1]s", core.ClientText(client))})
			}
		}
		if action := s.withoutObject(); action != "" {
			out = append(out, Warning{path + ".conditions", fmt.Sprintf("%s has no object, so the conditions object and tags never hold for it", action)})
		}
		if action, parameter := s.withoutParameters(); action != "" {
			out = append(out, Warning{path + ".conditions.parameters." + parameter, fmt.Sprintf("%s has no such parameter, so the condition never holds for it", action)})
		}
	}
	return out
}

// withoutObject returns an action that the statement names and for which its conditions
// on the object never hold, or "".
func (s *Statement) withoutObject() string {
	if s.Conditions.Object == nil && s.Conditions.Tags == nil || slices.Contains(s.Actions, core.EveryAction) {
		return ""
	}
	for _, word := range s.Actions {
		for _, a := range core.ActionsNamed(word) {
			if a.Info().Objects == core.NoObject {
				return a.String()
			}
		}
	}
	return ""
}

// Actions by the parameters of theirs that statements can judge.
var (
	usingActions = []core.Action{core.ActionEncrypt, core.ActionDecrypt, core.ActionSign, core.ActionSignatureVerify, core.ActionMAC, core.ActionMACVerify, core.ActionHash}
	givingAway   = []core.Action{core.ActionGet, core.ActionExport}
)

// judgesParameter reports whether an action has a parameter.
func judgesParameter(a core.Action, parameter string) bool {
	switch parameter {
	case "algorithm":
		return slices.Contains(usingActions, a) || a.MakesKey()
	case lengthParameter, usageParameter:
		return a.MakesKey()
	case wrappedParameter:
		return slices.Contains(givingAway, a)
	}
	return slices.Contains(usingActions, a)
}

// withoutParameters returns an action that the statement names and one of its conditions on
// parameters that never holds for it, or "".
func (s *Statement) withoutParameters() (action, parameter string) {
	if slices.Contains(s.Actions, core.EveryAction) {
		return "", ""
	}
	for _, parameter := range sortedKeys(s.Conditions.Parameters) {
		for _, word := range s.Actions {
			for _, a := range core.ActionsNamed(word) {
				if !judgesParameter(a, parameter) {
					return a.String(), parameter
				}
			}
		}
	}
	return "", ""
}
