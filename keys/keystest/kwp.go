package keystest

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"testing"
)

// WrapKWP wraps more than 8 bytes under an AES key by RFC 5649, which is AES Key Wrap Padding.
func WrapKWP(t testing.TB, kek, b []byte) []byte {
	t.Helper()
	block, err := aes.NewCipher(kek)
	if err != nil {
		t.Fatal(err)
	}
	a := binary.BigEndian.AppendUint32([]byte{0xA6, 0x59, 0x59, 0xA6}, uint32(len(b)))
	r := append(bytes.Clone(b), make([]byte, (8-len(b)%8)%8)...)
	n := len(r) / 8
	for j := range 6 {
		for i := range n {
			x := append(bytes.Clone(a), r[8*i:8*i+8]...)
			block.Encrypt(x, x)
			a = binary.BigEndian.AppendUint64(nil, binary.BigEndian.Uint64(x[:8])^uint64(n*j+i+1))
			copy(r[8*i:], x[8:])
		}
	}
	return append(a, r...)
}
