package uses

import (
	"bytes"
	"testing"
)

func TestCounterAfter(t *testing.T) {
	for _, c := range []struct {
		iv   []byte
		n    uint64
		want []byte
	}{
		{[]byte{0, 0, 0, 1}, 1, []byte{0, 0, 0, 2}},
		{[]byte{0, 0, 0xff, 0xff}, 1, []byte{0, 1, 0, 0}},
		{[]byte{0xff, 0xff, 0xff, 0xff}, 2, []byte{0, 0, 0, 1}},
		{[]byte{0, 0, 0, 0xff}, 0x10001, []byte{0, 1, 1, 0}},
	} {
		if got := counterAfter(c.iv, c.n); !bytes.Equal(got, c.want) {
			t.Errorf("%x + %d = %x, want %x", c.iv, c.n, got, c.want)
		}
	}
}
