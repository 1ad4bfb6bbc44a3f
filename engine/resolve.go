package engine

import (
	"strconv"

	"github.com/keyreeve/keyreeve/core"
)

// protecting are the actions that protect data.
var protecting = map[core.Action]bool{core.ActionEncrypt: true, core.ActionSign: true, core.ActionMAC: true}

// findKey is [Call.FindObject] for a key family. The policy is asked about the version that is
// used. What the caller may not see is answered like what does not exist.
func findKey(k *Call, id core.Identifier) (*core.ManagedObject, error) {
	name := id.Text
	if id.Alias != "" {
		name = "alias/" + id.Alias
	}
	if id.Version != 0 {
		name += "@" + strconv.FormatInt(id.Version, 10)
	}
	k.Record.Object = core.ClientText(name)
	if k.Ports.FindVersion == nil {
		return nil, core.Errorf(core.FeatureNotSupported, "key families are not named here; name an object")
	}
	version, err := k.Ports.FindVersion(k, id, protecting[k.Action])
	var o *core.ManagedObject
	if err == nil {
		k.Record.Object = version.ID
		o, err = findAs(k, version.ID, core.RoleTarget)
		err = HideUnseen(k, version, err)
	}
	if core.CodeOf(err) == core.ItemNotFound {
		return nil, core.Errorf(core.ItemNotFound, "there is no key %s", core.ClientText(name))
	}
	return o, err
}

// HideUnseen returns err, or one of code ItemNotFound if err is a denial and the caller may not
// read the attributes of o either.
func HideUnseen(k *Call, o *core.ManagedObject, err error) error {
	if core.CodeOf(err) != core.PermissionDenied {
		return err
	}
	may, failed := k.Permits(core.ActionGetAttributes, o, core.Asked{})
	if failed != nil || may {
		return err
	}
	k.Record.Detail = "denied, and answered as absent"
	return core.Errorf(core.ItemNotFound, "object %s is hidden from the caller", o.ID)
}
