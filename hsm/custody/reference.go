package custody

import (
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// Reference returns the name of a client's key for the HSM. The key may be used as its
// mask says, and is never extractable. The material MAC is checked first.
func (i *Installation) Reference(k core.Key) (ref hsm.Key, err error) {
	n, err := i.checkRow(k)
	if err != nil {
		return ref, err
	}
	m := k.Material
	if m.Mode == core.ModeData {
		return ref, core.Errorf(core.IllegalOperation, "object %s is stored as data, which the HSM cannot use as a key", k.ID)
	}
	typ := keyTypeOf(m.Kind, m.Length)
	ref, err = i.referTo(n, k, m.Blob, hsm.Template{Type: typ, Sensitive: true, Uses: usesOf(k.Mask, typ.IsPrivate()), Unmodifiable: true})
	ref.MAC = m.MAC
	return ref, err
}

// referTo returns the name of a client's key with a blob of its row and a template of the
// caller. The row has been checked. No handle is kept.
func (i *Installation) referTo(n *tenantKeys, k core.Key, blob []byte, t hsm.Template) (ref hsm.Key, err error) {
	m := k.Material
	ref = hsm.Key{Tenant: k.Tenant, ID: k.ID, Template: t}
	if m.Mode == core.ModeResident {
		ref.Label, ref.CKAID = i.ObjectLabel(k.Tenant, k.ID), m.CKAID
		return ref, nil
	}
	if len(blob) == 0 {
		return ref, core.Errorf(core.CryptographicFailure, "object %s has no key material", k.ID)
	}
	ref.Blob = blob
	ref.KEK, err = n.keyLabel(string(m.Class), m.Epoch)
	return ref, err
}

// newKeyTemplate returns the template of a new key: of a session object that will be
// wrapped, or of a token object with its final flags.
func (i *Installation) newKeyTemplate(k *core.Key, s core.KeySpec, length int) hsm.Template {
	t := hsm.Template{Type: keyTypeOf(s.Kind, length), Sensitive: true, Extractable: true}
	if s.Mode == core.ModeResident {
		t.Sensitive, t.Extractable = s.Class != core.ClassC, s.Class != core.ClassN
		t.Uses = usesOf(k.Mask, t.Type.IsPrivate()) | derivingUses(k.Mask, t.Type)
		t.Label, t.CKAID = i.ObjectLabel(k.Tenant, k.ID), s.CKAID
	}
	return t
}
