package format

import (
	"fmt"
	"slices"
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Warnings lists what is probably a mistake: names that do not exist, conditions on
// the object or the parameters of an action that has none, and denials that do not reach far enough. exists says whether there is a principal or a
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
		if word := s.escapesDenial(); word != "" {
			out = append(out, Warning{path + ".actions", fmt.Sprintf("decrypt is denied and %[1]s is not, by which the same data can be read; name %[1]s too", word)})
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

// escapesDenial returns a word for other ways to the data whose Decrypt the statement denies, or "".
func (s *Statement) escapesDenial() string {
	if s.Effect != Deny || !s.namesAction(core.ActionDecrypt) {
		return ""
	}
	switch {
	case !s.namesAction(core.ActionReencryptFrom):
		return "reencrypt"
	case !s.namesAction(core.ActionDecryptUnnamed):
		return "decrypt-unnamed"
	}
	return ""
}

// namesAction reports whether one of the words of the statement stands for an action.
func (s *Statement) namesAction(a core.Action) bool {
	return slices.ContainsFunc(s.Actions, func(word string) bool { return slices.Contains(core.ActionsNamed(word), a) })
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
	usingActions = []core.Action{core.ActionEncrypt, core.ActionDecrypt, core.ActionSign, core.ActionSignatureVerify, core.ActionMAC, core.ActionMACVerify, core.ActionHash,
		core.ActionDecryptUnnamed, core.ActionReencryptFrom, core.ActionReencryptTo, core.ActionGenerateDataKey}
	givingAway = []core.Action{core.ActionGet, core.ActionExport, core.ActionGenerateDataKey, core.ActionExportClear}
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
