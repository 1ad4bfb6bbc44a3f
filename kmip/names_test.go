package kmip

import (
	"bytes"
	"encoding/hex"
	"encoding/xml"
	"io"
	"strconv"

	"github.com/gemalto/kmip-go/ttlv"

	"github.com/keyreeve/keyreeve/core"
)

// The library's encodings take their names from its one global table, so core's
// names go there.
func init() { register(&ttlv.DefaultRegistry) }

func register(r *ttlv.Registry) {
	for _, t := range core.Tags() {
		r.RegisterTag(ttlv.Tag(t.Tag), t.Name)
		if t.Enum == nil {
			continue
		}
		e := ttlv.NewEnum()
		if t.Enum.Mask {
			e = ttlv.NewBitmask()
		}
		for _, v := range t.Enum.Values {
			e.RegisterValue(v.Value, v.Name)
		}
		r.RegisterEnum(ttlv.Tag(t.Tag), &e)
	}
}

// maxPrintDepth bounds the messages that are given to the library: its walk takes
// time exponential in the depth.
const maxPrintDepth = 12

// Print writes a message for people, as an indented tree of names and values. The
// message is validated first.
func Print(w io.Writer, msg []byte) error {
	if err := printable(msg); err != nil {
		return err
	}
	return printTree(w, msg, "")
}

// XML renders a validated message in the standard's XML encoding (KMIP Profiles
// 2.1 §5.5) by the library's encoder.
func XML(msg []byte) ([]byte, error) {
	if err := printable(msg); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	err := xml.NewEncoder(&b).Encode(ttlv.TTLV(msg))
	return b.Bytes(), err
}

// JSON is the same in the JSON encoding (KMIP Profiles 2.1 §5.4).
func JSON(msg []byte) ([]byte, error) {
	if err := printable(msg); err != nil {
		return nil, err
	}
	return ttlv.TTLV(msg).MarshalJSON()
}

func printable(msg []byte) error {
	if err := Validate(msg); err != nil {
		return err
	}
	if d := depthOf(msg); d > maxPrintDepth {
		return malformed("the message is nested %d deep; at most %d are shown", d, maxPrintDepth)
	}
	return nil
}

func depthOf(b []byte) int {
	deepest := 0
	for len(b) > 0 {
		var it item
		if it, b = nextItem(b); it.kind == core.KindStructure {
			deepest = max(deepest, depthOf(it.value))
		}
	}
	return deepest + 1
}

func printTree(w io.Writer, b []byte, indent string) error {
	for len(b) > 0 {
		var it item
		it, b = nextItem(b)
		line := indent + ttlv.DefaultRegistry.FormatTag(ttlv.Tag(it.tag))
		switch it.kind {
		case core.KindStructure:
		case core.KindTextString:
			line += ": " + strconv.Quote(string(it.value))
		case core.KindByteString, core.KindBigInteger:
			line += ": " + hex.EncodeToString(it.value)
		case core.KindEnumeration:
			line += ": " + ttlv.DefaultRegistry.FormatEnum(ttlv.Tag(it.tag), uint32(it.number()))
		default:
			line += ": " + strconv.FormatInt(it.number(), 10)
		}
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			return err
		}
		if it.kind == core.KindStructure {
			if err := printTree(w, it.value, indent+"  "); err != nil {
				return err
			}
		}
	}
	return nil
}
