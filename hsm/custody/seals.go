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

// The fixed texts that a key R signs. Each gives one key of this process, so a
// MAC of one use is never valid for another. R never signs anything else: no
// byte of a caller reaches it.
const (
	materialMACText = "keyreeve material mac v1"
	rowSealText     = "keyreeve row seal v1"
)

// sealBytes is the length of a seal: the epoch of R, then HMAC-SHA256.
const sealBytes = 2 + sha256.Size

// rowKeys are the HMAC keys that one epoch of R gives.
type rowKeys struct {
	material macKey // of the material MAC: see materialmac.go
	row      macKey // of row seals
}

// macKey makes HMAC-SHA256 values. Safe for concurrent use.
type macKey struct{ states *sync.Pool }

// macState is an HMAC under way, with room for what is hashed.
type macState struct {
	hash hash.Hash
	buf  []byte
}

func newMACKey(key []byte) macKey {
	return macKey{&sync.Pool{New: func() any { return &macState{hash: hmac.New(sha256.New, key)} }}}
}

// sum appends the MAC of what write hashes to dst.
func (k macKey) sum(dst []byte, write func(*macState)) []byte {
	s := k.states.Get().(*macState)
	defer k.states.Put(s)
	s.hash.Reset()
	write(s)
	return s.hash.Sum(dst)
}

// withEpoch is the start of a MAC that names the epoch of its key.
func withEpoch(epoch int) []byte {
	return binary.BigEndian.AppendUint16(make([]byte, 0, sealBytes), uint16(epoch))
}

// Seal returns the seal of a row under the newest R of a tenant's keys. The
// tenant "" is the system set. It implements [core.Sealer].
func (i *Installation) Seal(tenant string, row []byte) ([]byte, error) {
	n, err := i.keysOf(tenant)
	if err != nil {
		return nil, err
	}
	epoch := n.newest[purposeSeal]
	keys, ok := n.rowKeys[epoch]
	if !ok {
		return nil, noRowKeys(tenant, epoch)
	}
	return keys.row.sum(withEpoch(epoch), func(s *macState) { s.hash.Write(row) }), nil
}

// CheckSeal returns an error unless seal is the seal of row. The error has the
// code TokenUnavailable if the keys of the seal's epoch are not loaded.
func (i *Installation) CheckSeal(tenant string, row, seal []byte) error {
	n, err := i.keysOf(tenant)
	if err != nil {
		return err
	}
	if len(seal) != sealBytes {
		return errSeal()
	}
	epoch := int(binary.BigEndian.Uint16(seal))
	keys, ok := n.rowKeys[epoch]
	if !ok {
		return noRowKeys(tenant, epoch)
	}
	if !hmac.Equal(keys.row.sum(withEpoch(epoch), func(s *macState) { s.hash.Write(row) }), seal) {
		return errSeal()
	}
	return nil
}

func noRowKeys(tenant string, epoch int) error {
	return core.Errorf(core.TokenUnavailable, "no key R of epoch %d of tenant %q is loaded from the token", epoch, tenant)
}

func errSeal() error {
	return core.Errorf(core.CryptographicFailure, "a row of the database does not match its seal; restore it from a backup and find out who can write the database")
}

// deriveRowKeys has the HSM derive the keys of MACs by HMAC of fixed texts.
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
