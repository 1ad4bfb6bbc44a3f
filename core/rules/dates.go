package rules

import "github.com/keyreeve/keyreeve/core"

// CheckDates refuses dates that contradict one another (KMIP 1.4 §3.24 to §3.27).
// An Activation Date in the past is allowed; the object is then Active at once.
func CheckDates(o *core.ManagedObject) error {
	for _, pair := range [][2]core.Tag{{core.TagActivationDate, core.TagDeactivationDate}, {core.TagActivationDate, core.TagProcessStartDate},
		{core.TagProtectStopDate, core.TagDeactivationDate}} {
		first, ok := o.Attributes.Date(pair[0])
		then, ok2 := o.Attributes.Date(pair[1])
		if ok && ok2 && then < first {
			return core.Errorf(core.InvalidField, "%v lies before %v", pair[1], pair[0])
		}
	}
	return nil
}
