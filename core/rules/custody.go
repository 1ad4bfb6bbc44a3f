package rules

import (
	"slices"

	"github.com/keyreeve/keyreeve/core"
)

// strictness orders the classes: a class forbids everything that a lower one forbids.
var strictness = map[core.Class]int{core.ClassC: 1, core.ClassX: 2, core.ClassN: 3}

// Stricter reports whether class a forbids more than class b.
func Stricter(a, b core.Class) bool { return strictness[a] > strictness[b] }

// StorageOf returns where the value of an object may be (KMIP 2.1 §4.44). The value
// of a class C object may be in this server's memory too; that of class N and X is
// in the HSM only.
func StorageOf(class core.Class) core.ProtectionStorageMask {
	if class == core.ClassC {
		return core.ProtectionStorageMaskSoftware
	}
	return core.ProtectionStorageMaskHardware
}

// SetStorage gives an object the Protection Storage Mask of its class (KMIP 2.1 §4.44).
func SetStorage(o *core.ManagedObject, class core.Class) {
	o.Attributes = o.Attributes.Set(core.TagProtectionStorageMask, core.Mask(StorageOf(class)))
}

// PermitsClass reports whether a class satisfies all bits of one of the Protection
// Storage Masks that a client accepts (KMIP 2.1 §7.33). No mask at all permits every
// class.
func PermitsClass(masks []int32, class core.Class) bool {
	return len(masks) == 0 || slices.ContainsFunc(masks, func(m int32) bool { return uint32(m)&^uint32(StorageOf(class)) == 0 })
}

// CheckMayLeave refuses to hand out the value of o if its class forbids it. Class N
// never leaves the HSM, class X only wrapped. The token would refuse too, but with a
// less helpful error.
func CheckMayLeave(o *core.ManagedObject, wrapped bool) error {
	switch {
	case o.Material.Class == core.ClassN:
		return core.Errorf(core.NotExtractable, "object %s is not Extractable: its value never leaves the HSM", o.ID)
	case o.Material.Class == core.ClassX && !wrapped:
		return core.Errorf(core.Sensitive, "object %s is Sensitive: ask for it with a Key Wrapping Specification", o.ID)
	}
	return nil
}
