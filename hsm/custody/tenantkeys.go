package custody

import (
	"crypto/cipher"
	"crypto/hmac"
	"encoding/binary"

	"github.com/keyreeve/keyreeve/core"
)

// The material MAC binds what the database says of a key to its blob: anyone who
// writes the database can neither swap blobs between rows nor widen a key's mask.
// AES key wrap has no place for such data.

// tenantKeys are the keys of one tenant: the labels of those in the HSM by purpose and
// epoch, and the keys of its MACs, which are derived in the HSM. The tenant "" has the
// system set.
type tenantKeys struct {
	labels  map[string]map[int]string // purpose -> epoch -> label
	newest  map[string]int
	rowKeys map[int]rowKeys // by epoch of R

	bodyKeys map[int]cipher.AEAD // by epoch of V; only in the system set
}

// keyLabel returns the label of a tenant's key.
func (n *tenantKeys) keyLabel(purpose string, epoch int) (string, error) {
	if l, ok := n.labels[purpose][epoch]; ok {
		return l, nil
	}
	return "", core.Errorf(core.TokenUnavailable, "key %s of epoch %d of this tenant is not loaded from the HSM", purpose, epoch)
}

// newestKEK returns the label and the epoch of the KEK that new keys of a class are
// wrapped under.
func (n *tenantKeys) newestKEK(c core.Class) (label string, epoch int, err error) {
	epoch = n.newest[string(c)]
	label, err = n.keyLabel(string(c), epoch)
	return label, epoch, err
}

// bindMaterial sets the MAC in m: of a row with the material m, under the newest row key.
func (n *tenantKeys) bindMaterial(k core.Key, m *core.Material) {
	k.Material = m
	m.MAC = n.materialMAC(&k, n.newest[purposeSeal])
}

// materialMAC is HMAC-SHA256 over length-prefixed fields; its first two bytes are the
// row key's epoch.
func (n *tenantKeys) materialMAC(k *core.Key, epoch int) []byte {
	return n.rowKeys[epoch].material.appendMAC(withEpoch(epoch), func(s *macState) { s.writeMaterial(k) })
}

// verifyMaterial fails unless the material MAC of a row is right.
func (n *tenantKeys) verifyMaterial(k core.Key) error {
	if k.Material == nil || len(k.Material.MAC) != sealBytes {
		return errTampered(k.ID)
	}
	epoch := int(binary.BigEndian.Uint16(k.Material.MAC))
	if _, ok := n.rowKeys[epoch]; !ok || !hmac.Equal(n.materialMAC(&k, epoch), k.Material.MAC) {
		return errTampered(k.ID)
	}
	return nil
}

func errTampered(id string) error {
	return core.Errorf(core.Tampered, "the key material of object %q was changed outside keyreeve: its MAC is wrong, so it is not used. Restore the row from a backup, and find out who can write the database", id)
}
