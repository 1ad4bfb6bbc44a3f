package rules

import "github.com/keyreeve/keyreeve/core"

// CheckLocate refuses a Locate with a condition that could not narrow the search. A
// client that gets more objects than it asked for would act on the wrong ones.
func CheckLocate(offset int32, storage uint32, member core.ObjectGroupMember, sought core.Attributes) error {
	const storages = core.StorageStatusMaskOnLineStorage | core.StorageStatusMaskArchivalStorage | core.StorageStatusMaskDestroyedStorage
	switch {
	case offset < 0:
		return core.Errorf(core.InvalidField, "Offset Items is negative")
	case core.StorageStatusMask(storage)&^storages != 0:
		return core.Errorf(core.InvalidField, "the Storage Status Mask 0x%08X has bits that are not known", storage)
	case member != 0 && member != core.ObjectGroupMemberGroupMemberFresh && member != core.ObjectGroupMemberGroupMemberDefault:
		return core.Errorf(core.InvalidField, "the Object Group Member 0x%08X is not known", uint32(member))
	}
	dates := map[core.Tag]int{}
	for i := range sought {
		a := &sought[i]
		if err := checkSoughtAttribute(a); err != nil {
			return err
		}
		if a.Value.Kind != core.KindDateTime || a.Tag == 0 {
			continue
		}
		if dates[a.Tag]++; dates[a.Tag] > 2 {
			return core.Errorf(core.InvalidField, "%v is given more than twice; two of them are the ends of a range", a.Tag)
		}
	}
	return nil
}

// checkSoughtAttribute checks one attribute that the objects to be found must have.
func checkSoughtAttribute(a *core.Attribute) error {
	name := core.ClientText(a.Ref().String())
	switch {
	case a.Tag == 0 && (a.Vendor == "" || a.Name == ""):
		return core.Errorf(core.InvalidField, "a vendor attribute needs a vendor and a name")
	case a.Tag != 0 && core.RuleOf(a.Tag) == nil:
		return core.Errorf(core.InvalidAttribute, "%v is no attribute, so no object can be found by it", a.Tag)
	case a.Value.IsZero():
		return core.Errorf(core.InvalidField, "%s has no value to compare with", name)
	case a.Value.Kind == core.KindStructure && len(a.Value.Fields) == 0:
		return core.Errorf(core.InvalidField, "%s has no field to compare with", name)
	case a.Tag == core.TagCryptographicUsageMask && a.Value.Num == 0:
		return core.Errorf(core.InvalidField, "the Cryptographic Usage Mask asks for no use; leave it out to find keys of any use")
	}
	if a.Tag == 0 {
		return nil
	}
	return checkKind(a)
}
