package hsm

import (
	"crypto/hmac"
	"encoding/binary"
	"hash"

	"github.com/keyreeve/keyreeve/core"
)

// The row MAC binds what the database says of a key to its blob: who writes
// the database can neither swap blobs between rows nor widen a key's mask.
// AES key wrap has no place for such data.

// seal returns the MAC of a row under the newest row key.
func (n *tenant) seal(k core.Key) []byte {
	epoch := n.newest["R"]
	return n.mac(k, epoch)
}

// mac is HMAC-SHA256 over length-prefixed fields; its first two bytes are the
// row key's epoch.
func (n *tenant) mac(k core.Key, epoch int) []byte {
	return n.rowKeys[epoch].material.sum(withEpoch(epoch), func(h hash.Hash) { writeMaterial(h, &k) })
}

func writeMaterial(h hash.Hash, k *core.Key) {
	m := k.Material
	for _, s := range []string{"v1", k.Tenant, k.ID, string(m.Mode), string(m.Class), m.Wrap, string(m.Kind)} {
		writeField(h, []byte(s))
	}
	for _, v := range []uint64{uint64(m.Epoch), uint64(k.Type), uint64(k.Algorithm), uint64(k.Mask), uint64(m.Length), uint64(m.Format)} {
		var b [8]byte
		binary.BigEndian.PutUint64(b[:], v)
		writeField(h, b[:])
	}
	writeField(h, m.Token)
	writeField(h, m.Blob)
	writeField(h, m.TTLV)
}

func writeField(h hash.Hash, b []byte) {
	var n [4]byte
	binary.BigEndian.PutUint32(n[:], uint32(len(b)))
	h.Write(n[:])
	h.Write(b)
}

// verify refuses a row that is not as it was sealed.
func (n *tenant) verify(k core.Key) error {
	if k.Material == nil || len(k.Material.MAC) != sealBytes {
		return tampered(k)
	}
	epoch := int(binary.BigEndian.Uint16(k.Material.MAC))
	if _, ok := n.rowKeys[epoch]; !ok || !hmac.Equal(n.mac(k, epoch), k.Material.MAC) {
		return tampered(k)
	}
	return nil
}

func tampered(k core.Key) error {
	return core.Errorf(core.Tampered, "the key material of object %q is not as keyreeve wrote it: its MAC is wrong; it is not used. Restore the row from a backup, and find out who can write the database", k.ID)
}
