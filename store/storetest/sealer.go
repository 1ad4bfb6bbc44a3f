package storetest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"sync/atomic"

	"github.com/keyreeve/keyreeve/core"
)

// Sealer seals rows in Go, as the token does. The zero value has keys for each tenant. A
// store can read rows that were sealed by another Sealer.
type Sealer struct {
	// Missing, if not empty, names a tenant whose keys are not loaded.
	Missing atomic.Pointer[string]
	// Epoch is added to the epoch of new seals, which is 1.
	Epoch atomic.Int32
}

var _ core.Sealer = (*Sealer)(nil)

// Seal implements [core.Sealer].
func (s *Sealer) Seal(tenant string, row []byte) ([]byte, error) {
	return s.sealOf(tenant, uint16(1+s.Epoch.Load()), row)
}

// CheckSeal implements [core.Sealer].
func (s *Sealer) CheckSeal(tenant string, row, seal []byte) error {
	if len(seal) < 2 {
		return core.Errorf(core.CryptographicFailure, "the seal has %d bytes", len(seal))
	}
	want, err := s.sealOf(tenant, binary.BigEndian.Uint16(seal), row)
	if err == nil && !hmac.Equal(want, seal) {
		err = core.Errorf(core.CryptographicFailure, "the seal is wrong")
	}
	return err
}

func (s *Sealer) sealOf(tenant string, epoch uint16, row []byte) ([]byte, error) {
	if missing := s.Missing.Load(); missing != nil && *missing == tenant {
		return nil, core.Errorf(core.TokenUnavailable, "the keys of tenant %q are not loaded", tenant)
	}
	h := hmac.New(sha256.New, binary.BigEndian.AppendUint16([]byte("storetest "+tenant), epoch))
	h.Write(row)
	return h.Sum(binary.BigEndian.AppendUint16(nil, epoch)), nil
}

// EncryptBody implements [core.Sealer].
func (s *Sealer) EncryptBody(name, body []byte) ([]byte, error) {
	key, err := s.bodyKey(uint16(1 + s.Epoch.Load()))
	if err != nil {
		return nil, err
	}
	return key.Seal(binary.BigEndian.AppendUint16(nil, uint16(1+s.Epoch.Load())), nil, body, name), nil
}

// DecryptBody implements [core.Sealer].
func (s *Sealer) DecryptBody(name, encrypted []byte) ([]byte, error) {
	if len(encrypted) < core.BodyOverhead {
		return nil, core.Errorf(core.CryptographicFailure, "the body has %d bytes", len(encrypted))
	}
	key, err := s.bodyKey(binary.BigEndian.Uint16(encrypted))
	if err != nil {
		return nil, err
	}
	body, err := key.Open(nil, nil, encrypted[2:], name)
	if err != nil {
		return nil, core.Errorf(core.CryptographicFailure, "the body was changed")
	}
	return body, nil
}

func (s *Sealer) bodyKey(epoch uint16) (cipher.AEAD, error) {
	key, err := s.sealOf("", epoch, []byte("bodies"))
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key[2:])
	if err != nil {
		return nil, err
	}
	return cipher.NewGCMWithRandomNonce(block)
}
