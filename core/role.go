package core

import (
	"bytes"
	"encoding/json"
	"slices"
)

// Role is a role that a tenant has declared: a name for the actions that it permits.
type Role struct {
	Description string   `json:"description,omitempty"`
	Actions     []string `json:"actions"` // words or names of actions, as [ActionsNamed] knows them
}

// SystemRole is that of the administrators of the server, who look after the tenants.
const SystemRole = "system"

// BuiltInRoles are the roles to which policies.rego gives a meaning. No tenant can
// declare one.
var BuiltInRoles = []string{"admin", "operator", "user", "auditor", "viewer", "monitor", SystemRole}

// maxRoleActions bounds the actions of one role.
const maxRoleActions = 256

// Check returns an error if a field of r is out of its bounds.
func (r *Role) Check() error {
	switch {
	case len(r.Description) > MaxDirectoryReason || !printableText(r.Description):
		return Errorf(InvalidField, "description: a description has at most %d bytes of printable text", MaxDirectoryReason)
	case len(r.Actions) == 0 || len(r.Actions) > maxRoleActions:
		return Errorf(InvalidField, "actions: a role permits 1 to %d actions, not %d", maxRoleActions, len(r.Actions))
	}
	for i, a := range r.Actions {
		if ActionsNamed(a) == nil || slices.Contains(r.Actions[:i], a) {
			return Errorf(InvalidField, "actions: %q is no action or is there twice; encrypt, rotate and \"Get Attributes\" are some", ClientText(a))
		}
	}
	return nil
}

// Permits reports whether the role permits an action. No role permits an action that
// administers the server.
func (r *Role) Permits(a Action) bool {
	return a.Kind() != AdministerAction && slices.ContainsFunc(r.Actions, func(name string) bool { return slices.Contains(ActionsNamed(name), a) })
}

// MaxAttached bounds the policies that are attached to one holder or object.
const MaxAttached = 32

// The kinds of holders of key policies besides objects. A holder is named
// "role:admin".
const (
	UserHolder        = "user:"
	RoleHolder        = "role:"
	GroupHolder       = "group:"
	ObjectGroupHolder = "keyGroup:"
)

// PolicyAttribute names the key policies that are attached to an object: the custom
// attribute y-keyreeve-policy has one instance for each. Only the server sets attributes
// of vendor y. Re-key gives them to the replacement.
var PolicyAttribute = AttributeName{Vendor: "y", Name: "keyreeve-policy"}

// UsesAttribute counts the uses that statements with a total have permitted: the custom attribute
// y-keyreeve-uses has an instance "POLICY@VERSION/SID=COUNT" for each. Only the server sets it.
// Re-key gives the counts to the replacement, which could otherwise be used as often again.
var UsesAttribute = AttributeName{Vendor: "y", Name: "keyreeve-uses"}

// NoncesAttribute is how many encryptions with random IVs are reserved for a key, on all nodes:
// the custom attribute y-keyreeve-nonces. EnvelopesAttribute is there, and true, if the key has
// made an envelope, RawCipherAttribute if it has encrypted in a way that could break envelopes.
// Only the server sets them, and Re-key gives none to the replacement.
var (
	NoncesAttribute    = AttributeName{Vendor: "y", Name: "keyreeve-nonces"}
	EnvelopesAttribute = AttributeName{Vendor: "y", Name: "keyreeve-envelopes"}
	RawCipherAttribute = AttributeName{Vendor: "y", Name: "keyreeve-raw-cipher"}
	CipherAttributes   = []AttributeName{NoncesAttribute, EnvelopesAttribute, RawCipherAttribute} // all three
)

// Policies lists the key policies that are attached to the object itself.
func (o *ManagedObject) Policies() (names []string) {
	for i := range o.Attributes {
		if a := &o.Attributes[i]; PolicyAttribute.Names(a) {
			names = append(names, a.Value.Text)
		}
	}
	return names
}

// Body is the content of a directory entry, as its kind has it.
type Body interface{ Check() error }

// EncodeBody returns the JSON of a body, always the same text for the same body.
func EncodeBody(b Body) ([]byte, error) {
	if err := b.Check(); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	if err := e.Encode(b); err != nil {
		return nil, Wrap(Internal, err, "a directory entry cannot be written")
	}
	return bytes.TrimSuffix(out.Bytes(), []byte("\n")), nil
}

// DecodeBody reads what [EncodeBody] wrote into b. It refuses every other text.
func DecodeBody(text []byte, b Body) error {
	if err := json.Unmarshal(text, b); err != nil {
		return Errorf(InvalidField, "the body of a directory entry is no JSON of its kind") // the cause could quote a secret
	}
	again, err := EncodeBody(b)
	if err != nil {
		return err
	}
	if !bytes.Equal(again, text) {
		return Errorf(InvalidField, "the body of a directory entry is not in the form that the server writes")
	}
	return nil
}
