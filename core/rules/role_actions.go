package rules

import (
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// CheckRoleActions fails with InvalidField if one of the words or names stands for an action that
// no role can give, because it administers the server or a tenant. [core.EveryAction] stands for
// what a role can give.
func CheckRoleActions(names []string) error {
	for _, name := range names {
		if name == core.EveryAction {
			continue
		}
		var never, useful []string
		for _, a := range core.ActionsNamed(name) {
			if a.Kind() == core.AdministerAction {
				never = append(never, a.String())
			} else {
				useful = append(useful, a.String())
			}
		}
		if len(never) == 0 {
			continue
		}
		hint := ""
		if len(useful) > 0 {
			hint = "; of " + name + ", a role can give " + strings.Join(useful, ", ")
		}
		return core.Errorf(core.InvalidField, "actions: no role of a tenant gives %s, which administers the server or a tenant; the built-in roles and policies.rego decide it%s", strings.Join(never, ", "), hint)
	}
	return nil
}
