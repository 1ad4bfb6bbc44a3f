package kmiptest

import (
	"bytes"
	"encoding/binary"

	"github.com/keyreeve/keyreeve/core"
)

// RawItem returns one TTLV item (KMIP 1.4 §9.1), padded. Nothing is checked: the length is
// that of the value, which may be wrong for its kind.
func RawItem(t core.Tag, k core.Kind, value ...[]byte) []byte {
	body := bytes.Join(value, nil)
	b := binary.BigEndian.AppendUint32(nil, uint32(t)<<8|uint32(k))
	b = append(binary.BigEndian.AppendUint32(b, uint32(len(body))), body...)
	return append(b, make([]byte, -len(body)&7)...)
}
