package custody

import (
	"crypto/hmac"
	"encoding/binary"

	"github.com/keyreeve/keyreeve/core"
)

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
		return nil, errNoRowKeys(tenant, epoch)
	}
	return keys.row.appendMAC(withEpoch(epoch), func(s *macState) { s.hash.Write(row) }), nil
}

// CheckSeal returns an error unless seal is the seal of row. The error has the
// code TokenUnavailable if the keys of the seal's epoch are not loaded.
func (i *Installation) CheckSeal(tenant string, row, seal []byte) error {
	n, err := i.keysOf(tenant)
	if err != nil {
		return err
	}
	if len(seal) != sealBytes {
		return errWrongSeal()
	}
	epoch := int(binary.BigEndian.Uint16(seal))
	keys, ok := n.rowKeys[epoch]
	if !ok {
		return errNoRowKeys(tenant, epoch)
	}
	if !hmac.Equal(keys.row.appendMAC(withEpoch(epoch), func(s *macState) { s.hash.Write(row) }), seal) {
		return errWrongSeal()
	}
	return nil
}

func errNoRowKeys(tenant string, epoch int) error {
	return core.Errorf(core.TokenUnavailable, "no key R of epoch %d of tenant %q is loaded from the token", epoch, tenant)
}

func errWrongSeal() error {
	return core.Errorf(core.CryptographicFailure, "a row of the database does not match its seal; restore it from a backup and find out who can write the database")
}
