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
		if action := s.withoutParameters(); action != "" {
			out = append(out, Warning{path + ".conditions.parameters", fmt.Sprintf("the parameters of %s are not judged, so the condition never holds for it", action)})
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

// withParameters are the actions whose parameters statements can judge.
var withParameters = []core.Action{core.ActionEncrypt, core.ActionDecrypt, core.ActionSign, core.ActionSignatureVerify, core.ActionMAC, core.ActionMACVerify,
	core.ActionHash, core.ActionGet, core.ActionExport}

// withoutParameters returns an action that the statement names and for which its condition
// on parameters never holds, or "".
func (s *Statement) withoutParameters() string {
	if s.Conditions.Parameters == nil || slices.Contains(s.Actions, core.EveryAction) {
		return ""
	}
	for _, word := range s.Actions {
		for _, a := range core.ActionsNamed(word) {
			if !slices.Contains(withParameters, a) {
				return a.String()
			}
		}
	}
	return ""
}
