package rules

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// Strictness orders the classes: what a class forbids, those above it forbid too.
var Strictness = map[core.Class]int{core.ClassC: 1, core.ClassX: 2, core.ClassN: 3}

// ProtectionOf is where the value of an object may be (KMIP 2.1 §4.44): of class C
// also in this server's memory, of N and X in the HSM alone.
func ProtectionOf(class core.Class) core.ProtectionStorageMask {
	if class == core.ClassC {
		return core.ProtectionStorageMaskSoftware
	}
	return core.ProtectionStorageMaskHardware
}

func SetProtection(o *core.ManagedObject, class core.Class) {
	o.Attributes = o.Attributes.Set(core.TagProtectionStorageMask, core.Mask(ProtectionOf(class)))
}

// PermitsClass reports whether one of the masks that a client accepts is satisfied by
// a class, all its bits (KMIP 2.1 §7.33).
func PermitsClass(masks []int32, class core.Class) bool {
	return len(masks) == 0 || slices.ContainsFunc(masks, func(m int32) bool { return uint32(m)&^uint32(ProtectionOf(class)) == 0 })
}

// MayLeave answers for the class of o before the token is asked: the token
// would refuse N and X too, but less politely.
func MayLeave(o *core.ManagedObject, wrapped bool) error {
	switch {
	case o.Material.Class == core.ClassN:
		return core.Errorf(core.NotExtractable, "object %s is not Extractable: its value never leaves the HSM", o.ID)
	case o.Material.Class == core.ClassX && !wrapped:
		return core.Errorf(core.Sensitive, "object %s is Sensitive: ask for it with a Key Wrapping Specification", o.ID)
	}
	return nil
}
