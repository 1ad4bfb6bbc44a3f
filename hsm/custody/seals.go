package custody

import (
	"crypto/hmac"
	"encoding/binary"

	"github.com/keyreeve/keyreeve/core"
)

// Seal implements [core.Sealer]. It returns the seal of a row under the newest R of a
// tenant; the tenant "" has the system set.
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

// CheckSeal implements [core.Sealer]. It fails unless seal is the seal of row. The code is
// TokenUnavailable if the keys of the seal's epoch are not loaded.
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
	return core.Errorf(core.TokenUnavailable, "key R of epoch %d of tenant %q is not loaded from the HSM", epoch, tenant)
}

func errWrongSeal() error {
	return core.Errorf(core.CryptographicFailure, "a row of the database does not match its seal; restore it from a backup and find out who can write the database")
}
