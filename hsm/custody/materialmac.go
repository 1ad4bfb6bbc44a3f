package custody

import (
	"crypto/hmac"
	"encoding/binary"

	"github.com/keyreeve/keyreeve/core"
)

// The material MAC binds what the database says of a key to its blob: anyone who
// writes the database can neither swap blobs between rows nor widen a key's mask.
// AES key wrap has no place for such data.

// bind puts the MAC of a row with the material m, under the newest row key, into m.
func (n *tenantKeys) bind(k core.Key, m *core.Material) {
	k.Material = m
	m.MAC = n.materialMAC(&k, n.newest[purposeSeal])
}

// materialMAC is HMAC-SHA256 over length-prefixed fields; its first two bytes are the
// row key's epoch.
func (n *tenantKeys) materialMAC(k *core.Key, epoch int) []byte {
	return n.rowKeys[epoch].material.sum(withEpoch(epoch), func(s *macState) { s.writeMaterial(k) })
}

func (s *macState) writeMaterial(k *core.Key) {
	m, b := k.Material, s.buf[:0]
	for _, text := range [...]string{"v1", k.Tenant, k.ID, string(m.Mode), string(m.Class), m.Wrap, string(m.Kind)} {
		b = append(appendLength(b, len(text)), text...)
	}
	for _, v := range [...]uint64{uint64(m.Epoch), uint64(k.Type), uint64(k.Algorithm), uint64(k.Mask), uint64(m.Length), uint64(m.Format)} {
		b = binary.BigEndian.AppendUint64(appendLength(b, 8), v)
	}
	b = append(appendLength(b, len(m.Token)), m.Token...)
	s.buf = appendLength(b, len(m.Blob))
	s.hash.Write(s.buf)
	s.hash.Write(m.Blob)
	s.buf = appendLength(s.buf[:0], len(m.TTLV))
	s.hash.Write(s.buf)
	s.hash.Write(m.TTLV)
}

func appendLength(b []byte, n int) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) }

// verify refuses a row that is not as it was sealed.
func (n *tenantKeys) verify(k core.Key) error {
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
	return core.Errorf(core.Tampered, "the key material of object %q is not as keyreeve wrote it: its MAC is wrong; it is not used. Restore the row from a backup, and find out who can write the database", id)
}
