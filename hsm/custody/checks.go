package custody

import (
	"encoding/binary"
	"fmt"

	"github.com/keyreeve/keyreeve/core"
)

// encodeChecks writes the check values of a set, in the order of core.KeyPurposes: for
// each purpose its letter, the length in two bytes and the value.
func encodeChecks(values [][]byte) (b []byte) {
	for i, p := range core.KeyPurposes {
		b = append(b, p[0])
		b = binary.BigEndian.AppendUint16(b, uint16(len(values[i])))
		b = append(b, values[i]...)
	}
	return b
}

// decodeChecks reads them again. nil gives no check values: only the system set has none,
// until the row of the installation is verified.
func decodeChecks(b []byte) (map[string][]byte, error) {
	values := map[string][]byte{}
	if b == nil {
		return values, nil
	}
	for _, p := range core.KeyPurposes {
		if len(b) < 3 || b[0] != p[0] {
			return nil, fmt.Errorf("the check value of key %s is missing", p)
		}
		n := int(binary.BigEndian.Uint16(b[1:]))
		if b = b[3:]; n == 0 || n > len(b) {
			return nil, fmt.Errorf("the check value of key %s is cut off", p)
		}
		values[p], b = b[:n], b[n:]
	}
	if len(b) > 0 {
		return nil, fmt.Errorf("%d bytes follow the last one", len(b))
	}
	return values, nil
}
