package custody

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/asn1"
	"encoding/binary"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// clearText reads keys that may leave the HSM in clear. Bytes that are not a key of the
// HSM are encrypted under the tenant's key D.
type clearText struct {
	keys   *Installation
	member hsm.Member
	copies *clearCopies
}

// maxClear bounds the bytes of one object; the engine accepts no more.
const maxClear = 1 << 20

// Sizes of AES-GCM with D, in bytes.
const (
	gcmIVBytes  = 12
	gcmTagBytes = 16
)

// Clear appends the bytes of a class C key, or of data, to dst. It reads them from the
// locked copy if there is one. The caller zeroes them.
func (c *clearText) Clear(ctx context.Context, k core.Key, dst []byte) ([]byte, error) {
	if k.Material.Class == core.ClassC {
		if out, ok := c.copies.appendCopy(&k, dst); ok {
			return out, nil
		}
	}
	n, err := c.keys.checkRow(k)
	if err != nil {
		return dst, err
	}
	if k.Material.Class == core.ClassN || (k.Material.Class == core.ClassX && k.Material.Mode != core.ModeData) {
		return dst, core.Errorf(core.Sensitive, "object %s does not leave the HSM in clear", k.ID)
	}
	buf := make([]byte, min(maxClear, clearRoom(k.Material)))
	defer clear(buf)
	size, err := c.readVerified(ctx, n, k, buf)
	if err != nil {
		return dst, err
	}
	b, err := cutFill(k.Material, buf[:size])
	if err != nil {
		return dst, err
	}
	if k.Material.Class == core.ClassC {
		c.copies.remember(&k, b)
	}
	return append(dst, b...), nil
}

// withClear lends a class C key's bytes to f and zeroes them.
func (c *clearText) withClear(ctx context.Context, k core.Key, f func(b []byte) error) error {
	s := core.NewSecret()
	defer s.Release()
	b, err := c.Clear(ctx, k, s.Bytes()[:0])
	if err != nil {
		return err
	}
	s.Set(b)
	return f(b)
}

// clearRoom returns a length that the clear bytes do not exceed: a blob is longer than
// its content, and the value of a token object is not longer than its DER.
func clearRoom(m *core.Material) int { return max(len(m.Blob), m.Length) + 64 }

// readVerified reads the bytes of a row into buf. The row has been checked.
func (c *clearText) readVerified(ctx context.Context, n *tenantKeys, k core.Key, buf []byte) (int, error) {
	switch k.Material.Mode {
	case core.ModeData:
		return c.openData(ctx, n, k, buf)
	case core.ModeResident:
		ref, err := c.keys.Reference(k)
		if err != nil {
			return 0, err
		}
		return c.member.Read(ctx, &ref, buf)
	}
	ref, err := c.keys.referTo(n, k, k.Material.Blob, hsm.Template{})
	if err != nil {
		return 0, err
	}
	return c.member.Read(ctx, &ref, buf)
}

// cutFill removes the zeros that were added for the key wrap: after the true length of a
// symmetric key, or after the DER of a private one.
func cutFill(m *core.Material, b []byte) ([]byte, error) {
	if !isPrivate(m.Kind) {
		if len(b) < m.Length {
			return nil, core.Errorf(core.CryptographicFailure, "the HSM returned %d bytes of a key of %d", len(b), m.Length)
		}
		return b[:m.Length], nil
	}
	var der asn1.RawValue
	rest, err := asn1.Unmarshal(b, &der)
	if err != nil {
		return nil, core.Wrap(core.CryptographicFailure, err, "the private key from the HSM is not PKCS#8")
	}
	return b[:len(b)-len(rest)], nil
}

// openData decrypts a row that was made by sealData.
func (c *clearText) openData(ctx context.Context, n *tenantKeys, k core.Key, buf []byte) (int, error) {
	blob := k.Material.Blob
	if len(blob) < gcmIVBytes+gcmTagBytes {
		return 0, errTampered(k.ID)
	}
	label, err := n.keyLabel(purposeData, k.Material.Epoch)
	if err != nil {
		return 0, err
	}
	used, err := c.member.Use(ctx, &hsm.Key{Label: label}, hsm.Use{Operation: hsm.Decrypt, Mechanism: dataMechanism(k, k.Material, blob[:gcmIVBytes]), Data: blob[gcmIVBytes:], Into: buf})
	return len(used.Data), err
}

// sealData encrypts bytes that are not a key of the HSM under D. The identity of the row
// is bound as additional data and by the material MAC.
func (c *clearText) sealData(ctx context.Context, k core.Key, m *core.Material, b []byte) error {
	n, err := c.keys.keysOf(k.Tenant)
	if err != nil {
		return err
	}
	m.Wrap, m.Epoch = formatGCM, n.newest[purposeData]
	label, err := n.keyLabel(purposeData, m.Epoch)
	if err != nil {
		return err
	}
	iv := make([]byte, gcmIVBytes)
	rand.Read(iv)
	used, err := c.member.Use(ctx, &hsm.Key{Label: label}, hsm.Use{Operation: hsm.Encrypt, Mechanism: dataMechanism(k, m, iv), Data: nonEmpty(b)})
	if err != nil {
		return err
	}
	m.Blob = append(append(make([]byte, 0, gcmIVBytes+len(used.Data)), used.IV...), used.Data...)
	n.bindMaterial(k, m)
	return nil
}

// nonEmpty returns b, or one zero byte if b is empty: the binding cannot pass empty data.
// The true length cuts it off again.
func nonEmpty(b []byte) []byte {
	if len(b) == 0 {
		return []byte{0}
	}
	return b
}

// dataMechanism returns the mechanism that encrypts a row under D.
func dataMechanism(k core.Key, m *core.Material, iv []byte) hsm.Mechanism {
	return hsm.Mechanism{Type: hsm.AESGCM, IV: iv, AAD: dataIdentity(k, m), TagBits: 8 * gcmTagBytes}
}

// dataIdentity returns the additional data of a row: its identity, each field with its
// length.
func dataIdentity(k core.Key, m *core.Material) []byte {
	var b []byte
	for _, s := range []string{"keyreeve data v1", k.Tenant, k.ID, string(m.Class)} {
		b = binary.BigEndian.AppendUint32(b, uint32(len(s)))
		b = append(b, s...)
	}
	b = binary.BigEndian.AppendUint32(b, uint32(k.Type))
	return binary.BigEndian.AppendUint64(b, uint64(m.Length))
}

// digest returns the SHA-256 of clear bytes. Go's hash keeps the last block of its data
// in its state, and a short key is only one block. So the HSM makes the digest, unless
// the bytes may leave in clear. nil: the HSM cannot make it.
func (c *clearText) digest(ctx context.Context, class core.Class, b []byte) []byte {
	if class == core.ClassC {
		sum := sha256.Sum256(b)
		return sum[:]
	}
	used, err := c.member.Use(ctx, nil, hsm.Use{Operation: hsm.Digest, Mechanism: hsm.Mechanism{Type: hsm.SHA256}, Data: b})
	if err != nil {
		return nil
	}
	return used.Data
}
