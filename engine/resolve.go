package engine

import (
	"strconv"

	"github.com/keyreeve/keyreeve/core"
)

// Protecting are the actions that protect data.
var Protecting = map[core.Action]bool{core.ActionEncrypt: true, core.ActionSign: true, core.ActionMAC: true,
	core.ActionReencryptTo: true, core.ActionGenerateDataKey: true}

// oneVersion are the actions that end a version, or bring one back. Of a key with several versions the request must
// name one: if the newest ended, an older one would protect data again.
var oneVersion = map[core.Action]bool{core.ActionRevoke: true, core.ActionDestroy: true, core.ActionDisable: true, core.ActionEnable: true, core.ActionSoftDelete: true,
	core.ActionRestore: true, core.ActionPurge: true, core.ActionArchive: true, core.ActionRecover: true}

// Processing are the actions on what a key has protected. An identifier names the very object
// then, because answers name the version that they were made with by its identifier.
var Processing = map[core.Action]bool{core.ActionDecrypt: true, core.ActionSignatureVerify: true, core.ActionMACVerify: true}

// findKey is [Call.FindObject] for a key family. The policy is asked about the version that is
// used. An alias whose key the caller may not see is answered like one that does not exist.
func findKey(k *Call, id core.Identifier) (*core.ManagedObject, error) {
	k.Record.Object = ReferenceText(id)
	version, err := VersionFor(k, k.Caller.Principal.Tenant, id, k.Action)
	if err != nil {
		return nil, err
	}
	k.Record.Object = version.ID
	o, err := findAs(k, version.ID, core.RoleTarget)
	if core.CodeOf(err) == core.ItemNotFound || id.Alias != "" && core.CodeOf(err) == core.PermissionDenied && !MaySee(k, version) {
		return nil, NoKey(id)
	}
	if err == nil && id.Version == 0 && oneVersion[k.Action] && o.FamilyVersion() > 1 {
		name := ReferenceText(id)
		return nil, core.Errorf(core.IllegalOperation, "the key %s has %d versions, and %s is for one of them; name it, such as %s@1", name, o.FamilyVersion(), k.Action, name)
	}
	return o, err
}

// FindVersion returns the version of a key family that a reference means, without asking the
// policy. protects says that the version shall protect data.
func FindVersion(k *Call, id core.Identifier, protects bool) (*core.ManagedObject, error) {
	action := core.ActionGetAttributes
	if protects {
		action = core.ActionEncrypt
	}
	return VersionFor(k, k.Caller.Principal.Tenant, id, action)
}

// VersionFor returns the version of a key of a tenant that a request with an action uses, without
// asking the policy.
func VersionFor(k *Call, tenant string, id core.Identifier, action core.Action) (version *core.ManagedObject, err error) {
	switch {
	case Processing[action] && id.Alias == "" && id.Version == 0:
		version, err = LoadObjectOf(k, tenant, id.Text)
	case k.Ports.FindVersion == nil:
		return nil, core.Errorf(core.FeatureNotSupported, "key families are not named here; name an object")
	default:
		version, err = k.Ports.FindVersion(k, tenant, id, Protecting[action])
	}
	if core.CodeOf(err) == core.ItemNotFound {
		return nil, NoKey(id)
	}
	return version, err
}

// NoKey is the answer for a key that does not exist, and for one that the caller may not see.
func NoKey(id core.Identifier) error {
	return core.Errorf(core.ItemNotFound, "there is no key %s", ReferenceText(id))
}

// ReferenceText returns a reference as clients write it, for records and errors.
func ReferenceText(id core.Identifier) string {
	name := id.Text
	if id.Alias != "" {
		name = "alias/" + id.Alias
	}
	if id.Version != 0 {
		name += "@" + strconv.FormatInt(id.Version, 10)
	}
	return core.ClientText(name)
}

// MaySee reports whether the caller may read the attributes of an object. If not, or if the
// policy does not decide that, a denial is answered as if the object did not exist.
func MaySee(k *Call, o *core.ManagedObject) bool {
	may, err := k.Permits(core.ActionGetAttributes, o, core.Asked{})
	if err != nil || !may {
		k.Record.Detail = "denied, and answered as absent"
		return false
	}
	return true
}
