package engine

import (
	"strconv"

	"github.com/keyreeve/keyreeve/core"
)

// protecting are the actions that protect data.
var protecting = map[core.Action]bool{core.ActionEncrypt: true, core.ActionSign: true, core.ActionMAC: true}

// oneVersion are the actions that end a key. Of a key with several versions the request must
// name one: if the newest ended, an older one would protect data again.
var oneVersion = map[core.Action]bool{core.ActionRevoke: true, core.ActionDestroy: true}

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
	if err == nil && id.Version == 0 && oneVersion[k.Action] && o.FamilyVersion() > 1 {
		return nil, core.Errorf(core.IllegalOperation, "the key %s has %d versions, and %s ends one; name it, such as %s@1", core.ClientText(name), o.FamilyVersion(), k.Action, core.ClientText(name))
	}
	if core.CodeOf(err) == core.ItemNotFound {
		return nil, core.Errorf(core.ItemNotFound, "there is no key %s", core.ClientText(name))
	}
	return o, err
}

// PeekKey loads the object that a request names, or the newest version of the key. It does not ask
// the policy, and the caller of the operation must learn nothing of it before that is asked.
func PeekKey(k *Call, id core.Identifier) (*core.ManagedObject, error) {
	if id.Family && k.Ports.FindVersion != nil {
		return k.Ports.FindVersion(k, id, false)
	}
	return k.LoadObject(id.Text)
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
