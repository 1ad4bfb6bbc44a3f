package store

import (
	"strings"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds on what one Commit may hold. The doors bound requests long before; a
// breach here is a fault of a caller inside.
const (
	maxNameBytes  = 512      // tenant, Unique Identifier, owner, group, id of an intent
	maxBlobBytes  = 64 << 20 // sealed material of one object, each of its blobs
	maxTokenBytes = 255      // a CKA_ID
	maxEntryBytes = 1 << 20  // body of one audit entry

	maxChecksBytes = 4096 // check values of a set of keys
)

func checkEntry(e *core.Entry) error {
	if len(e.Body) == 0 || len(e.Body) > maxEntryBytes {
		return core.Errorf(core.Internal, "an audit entry has %d bytes; it must have 1 to %d", len(e.Body), maxEntryBytes)
	}
	if err := checkName("tenant", e.Tenant, true); err != nil {
		return err
	}
	return checkName("node", e.Node, true)
}

func checkObject(o *core.ManagedObject) error {
	m := &o.Material
	if max(len(m.Blob), len(m.TTLV)) > maxBlobBytes || max(len(m.Token), len(m.MAC)) > maxTokenBytes {
		return core.Errorf(core.InvalidField, "the material of an object has blobs of %d and %d bytes, a CKA_ID of %d, a MAC of %d; at most %d and %d fit",
			len(m.Blob), len(m.TTLV), len(m.Token), len(m.MAC), maxBlobBytes, maxTokenBytes)
	}
	for _, name := range [...]string{string(m.Mode), string(m.Class), m.Wrap, string(m.Kind)} {
		if strings.ContainsRune(name, ',') || !clean(name) {
			return core.Errorf(core.Internal, "the material of object %s has the name %q, which has a comma or is no text", o.ID, name)
		}
	}
	if m.MAC == nil && (m.Blob != nil || m.TTLV != nil) {
		return core.Errorf(core.Internal, "the material of object %s has a blob and no MAC that binds it", o.ID)
	}
	if err := checkName("Unique Identifier", o.ID, false); err != nil {
		return err
	}
	if err := checkName("tenant", o.Tenant, false); err != nil {
		return err
	}
	if err := checkName("owner", o.Owner, true); err != nil {
		return err
	}
	return checkName("group", o.Group, true)
}

func checkSet(k *core.KeySet) error {
	states := map[string]bool{core.KeySetPending: true, core.KeySetActive: true, core.KeySetRetired: true}
	if !states[k.State] || k.Number < 1 || k.Epoch < 1 || k.Epoch > core.MaxKeyEpoch || len(k.Checks) > maxChecksBytes || (k.State == core.KeySetActive) != (len(k.Checks) > 0) {
		return core.Errorf(core.Internal, "set %d of epoch %d has the state %q and %d bytes of check values; an active one has up to %d, another none", k.Number, k.Epoch, k.State, len(k.Checks), maxChecksBytes)
	}
	return checkName("tenant", k.Tenant, false)
}

func checkIntent(i *core.Intent) error {
	if len(i.Token) == 0 || len(i.Token) > maxTokenBytes {
		return core.Errorf(core.Internal, "an intent names a CKA_ID of %d bytes; it must have 1 to %d", len(i.Token), maxTokenBytes)
	}
	if err := checkName("id of an intent", i.ID, false); err != nil {
		return err
	}
	if err := checkName("tenant", i.Tenant, true); err != nil {
		return err
	}
	if err := checkName("kind of an intent", i.Kind, true); err != nil {
		return err
	}
	for what, name := range map[string]string{"label of an intent": i.Label, "process of an intent": i.Process, "nonce of an intent": i.Nonce} {
		if err := checkName(what, name, true); err != nil {
			return err
		}
	}
	return checkName("object", i.Object, true)
}

func checkName(what, s string, emptyAllowed bool) error {
	switch {
	case s == "" && !emptyAllowed:
		return core.Errorf(core.InvalidField, "the %s is empty", what)
	case len(s) > maxNameBytes:
		return core.Errorf(core.InvalidField, "the %s has %d bytes; at most %d are allowed", what, len(s), maxNameBytes)
	case !clean(s):
		return core.Errorf(core.InvalidField, "the %s is not UTF-8 text without NUL", what)
	}
	return nil
}
