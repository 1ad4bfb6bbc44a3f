package custody

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"hash"
	"sync"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm"
)

// The fixed texts that a key R signs. Each gives one key of this process, so a MAC of one
// use is never valid for another. R signs nothing else: no byte of a caller reaches it.
const (
	materialMACText = "keyreeve material mac v1"
	rowSealText     = "keyreeve row seal v1"
)

// sealBytes is the length of a seal: the epoch of R, then HMAC-SHA256.
const sealBytes = 2 + sha256.Size

// rowKeys are the HMAC keys that are derived from one epoch of R.
type rowKeys struct {
	material macKey // of the material MAC
	row      macKey // of row seals
}

// macKey makes HMAC-SHA256 values. Safe for concurrent use.
type macKey struct{ states *sync.Pool }

// macState is an HMAC that is being computed, with a buffer for its input.
type macState struct {
	hash hash.Hash
	buf  []byte
}

func newMACKey(key []byte) macKey {
	return macKey{&sync.Pool{New: func() any { return &macState{hash: hmac.New(sha256.New, key)} }}}
}

// appendMAC appends a MAC to dst. write writes its input.
func (k macKey) appendMAC(dst []byte, write func(*macState)) []byte {
	s := k.states.Get().(*macState)
	defer k.states.Put(s)
	s.hash.Reset()
	write(s)
	return s.hash.Sum(dst)
}

// withEpoch returns the start of a MAC, which names the epoch of its key.
func withEpoch(epoch int) []byte {
	return binary.BigEndian.AppendUint16(make([]byte, 0, sealBytes), uint16(epoch))
}

// deriveRowKeys derives the keys of MACs in the HSM, by HMAC of fixed texts.
func deriveRowKeys(ctx context.Context, member hsm.Member, label string) (k rowKeys, err error) {
	for _, d := range []struct {
		text string
		key  *macKey
	}{{materialMACText, &k.material}, {rowSealText, &k.row}} {
		used, err := member.Use(ctx, &hsm.Key{Label: label}, hsm.Use{Operation: hsm.Sign, Mechanism: hsm.Mechanism{Type: hsm.SHA256HMAC}, Data: []byte(d.text)})
		if err != nil {
			return k, err
		}
		*d.key = newMACKey(used.Data)
	}
	return k, nil
}

// writeMaterial writes the fields of a row that the material MAC binds, each with its
// length.
func (s *macState) writeMaterial(k *core.Key) {
	m, b := k.Material, s.buf[:0]
	for _, text := range [...]string{"v1", k.Tenant, k.ID, string(m.Mode), string(m.Class), m.Wrap, string(m.Kind)} {
		b = append(appendLength(b, len(text)), text...)
	}
	for _, v := range [...]uint64{uint64(m.Epoch), uint64(k.Type), uint64(k.Algorithm), uint64(k.Mask), uint64(m.Length), uint64(m.Format)} {
		b = binary.BigEndian.AppendUint64(appendLength(b, 8), v)
	}
	b = append(appendLength(b, len(m.CKAID)), m.CKAID...)
	s.buf = appendLength(b, len(m.Blob))
	s.hash.Write(s.buf)
	s.hash.Write(m.Blob)
	s.buf = appendLength(s.buf[:0], len(m.TTLV))
	s.hash.Write(s.buf)
	s.hash.Write(m.TTLV)
}

func appendLength(b []byte, n int) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) }
