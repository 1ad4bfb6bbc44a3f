package store

import (
	"encoding/binary"
	"strconv"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// A seal covers a whole row: the table, the primary key, the tenant and each column.
// So a row that something else changed is noticed when it is read. The rows of a
// tenant's objects are sealed under the tenant's key R; tenant keys and intents under
// R of the system set. Both databases seal the same bytes. A seal does not show that a
// row was deleted, or that an old row was restored together with its seal.

// sealVersion is the version of the form of seal inputs. It changes with the columns.
const sealVersion = 1

// systemSet is the tenant whose key seals the rows that belong to no tenant, or that
// decide about tenants.
const systemSet = ""

// sealInput is the bytes that a seal covers. The length of each field precedes it, so
// that bytes cannot move from one column to the next.
type sealInput struct{ b []byte }

var sealInputPool = sync.Pool{New: func() any { return &sealInput{b: make([]byte, 0, 4096)} }}

// newSealInput begins with the table, the version of the form and the primary key.
func newSealInput(table string, key ...string) *sealInput {
	r := sealInputPool.Get().(*sealInput)
	r.b = r.b[:0]
	r.addText(table).addNumber(sealVersion)
	for _, k := range key {
		r.addText(k)
	}
	return r
}

// maxPooledInput bounds, in bytes, the buffers that are kept for other rows.
const maxPooledInput = 64 << 10

func (r *sealInput) recycle() {
	if cap(r.b) <= maxPooledInput {
		sealInputPool.Put(r)
	}
}

func (r *sealInput) addText(s string) *sealInput {
	r.b = append(binary.BigEndian.AppendUint32(r.b, uint32(len(s))), s...)
	return r
}

// null is the length that stands for NULL. No text or bytes can have it.
const null = 0xffff_ffff

// addBytes adds bytes. nil, for NULL, differs from empty bytes.
func (r *sealInput) addBytes(b []byte) *sealInput {
	if b == nil {
		r.b = binary.BigEndian.AppendUint32(r.b, null)
		return r
	}
	r.b = append(binary.BigEndian.AppendUint32(r.b, uint32(len(b))), b...)
	return r
}

func (r *sealInput) addNumber(n int64) *sealInput {
	r.b = binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(r.b, 8), uint64(n))
	return r
}

// seals creates and checks the seals of all tables.
type seals struct{ sealer core.Sealer }

// sealRow returns the seal of a row. It recycles r.
func (s seals) sealRow(tenant string, r *sealInput) ([]byte, error) {
	defer r.recycle()
	return s.sealer.Seal(tenant, r.b)
}

// checkRow checks the seal of a row. It fails with tampered, which names the row, if
// the seal is wrong. Other errors are returned as they are: the seal could not be
// checked, because the token or the database did not answer. It recycles r.
func (s seals) checkRow(tenant string, r *sealInput, seal []byte, tampered func() error) error {
	defer r.recycle()
	err := s.sealer.CheckSeal(tenant, r.b, seal)
	if core.CodeOf(err) == core.CryptographicFailure {
		return tampered()
	}
	return err
}

// sealSystem and checkSystem are sealRow and checkRow for the system set.
func (s seals) sealSystem(r *sealInput) ([]byte, error) {
	return s.sealRow(systemSet, r)
}

func (s seals) checkSystem(r *sealInput, seal []byte, tampered func() error) error {
	return s.checkRow(systemSet, r, seal, tampered)
}

// quoteName shortens and quotes a name that was read from the database, because it may
// be tampered with.
func quoteName(s string) string { return strconv.Quote(s[:min(len(s), maxNameBytes)]) }
