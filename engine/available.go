package engine

import "github.com/keyreeve/keyreeve/core"

// onArchived are the actions that are possible on an archived object. The standard demands
// Recover before any other (KMIP 1.4 §4, 2.1 §6.1); its test cases read the attributes.
var onArchived = map[core.Action]bool{core.ActionGetAttributes: true, core.ActionGetAttributeList: true, core.ActionRecover: true,
	core.ActionArchive: true} // which refuses it, unless it is about all versions of a key

// RequireAvailable fails with ObjectArchived if o is archived, unless the action is possible
// then, and with WrongState if o is disabled and the action uses its value. Re-key counts as a
// use: otherwise an application would go on with a new key.
func RequireAvailable(action core.Action, o *core.ManagedObject) error {
	if o.Archived() && !onArchived[action] {
		return core.Errorf(core.ObjectArchived, "object %s is archived; recover it first", o.ID)
	}
	if uses := action.Kind() == core.UseAction || action == core.ActionReKey || action == core.ActionReKeyKeyPair; uses && o.Disabled() && !core.State(o.Attributes.Num(core.TagState)).Gone() {
		return core.Errorf(core.WrongState, "object %s is disabled; enable it first", o.ID)
	}
	return nil
}
