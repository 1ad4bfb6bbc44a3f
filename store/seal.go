package store

import (
	"encoding/binary"
	"strconv"
	"sync"

	"github.com/keyreeve/keyreeve/core"
)

// A seal binds a whole row: the table, the primary key, the tenant and every
// column, so that a change behind the server is noticed when the row is read.
// The rows of a tenant's objects are sealed under the tenant's key R; tenant
// keys and intents under R of the system set. Both databases seal the same
// bytes. A seal does not show that a row was deleted, or that a row was put
// back together with its old seal.

// sealVersion names the form of what is sealed. It changes with the columns.
const sealVersion = 1

// systemSet is the tenant whose key seals rows that belong to no tenant, or
// that decide about tenants.
const systemSet = ""

// sealInput is what a seal covers. Every field has its length in front of it, so that
// bytes cannot move from one column to the next.
type sealInput struct{ b []byte }

var sealInputPool = sync.Pool{New: func() any { return &sealInput{b: make([]byte, 0, 4096)} }}

// newSealInput begins a row with the table, the version of the form and the key.
func newSealInput(table string, key ...string) *sealInput {
	r := sealInputPool.Get().(*sealInput)
	r.b = r.b[:0]
	r.addText(table).addNumber(sealVersion)
	for _, k := range key {
		r.addText(k)
	}
	return r
}

// maxPooledInput bounds, in bytes, the buffers that are kept for the next row.
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

// null is the length of a column that is NULL, which no text or bytes can have.
const null = 0xffff_ffff

// addBytes tells NULL from no bytes.
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

// seals makes and checks the seals of all tables.
type seals struct{ sealer core.Sealer }

// sealRow returns the seal of a row and frees the row.
func (s seals) sealRow(tenant string, r *sealInput) ([]byte, error) {
	defer r.recycle()
	return s.sealer.Seal(tenant, r.b)
}

// checkRow frees the row. A wrong seal is reported as what, which names the row.
// Other errors pass as they are: a seal that could not be checked, because the
// token or the database did not answer, says nothing about the row.
func (s seals) checkRow(tenant string, r *sealInput, seal []byte, what func() error) error {
	defer r.recycle()
	err := s.sealer.CheckSeal(tenant, r.b, seal)
	if core.CodeOf(err) == core.CryptographicFailure {
		return what()
	}
	return err
}

// sealSystem and checkSystem are seal and check of the system set.
func (s seals) sealSystem(r *sealInput) ([]byte, error) {
	return s.sealRow(systemSet, r)
}

func (s seals) checkSystem(r *sealInput, seal []byte, what func() error) error {
	return s.checkRow(systemSet, r, seal, what)
}

// quoteName is a name of the database, bounded and quoted, since anyone may have
// written it.
func quoteName(s string) string { return strconv.Quote(s[:min(len(s), maxNameBytes)]) }
