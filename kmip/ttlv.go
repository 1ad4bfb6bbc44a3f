package kmip

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/core"
)

const headerBytes = 8 // of a TTLV item

// item is one TTLV item (KMIP 2.1 §10.1.3): its value without padding, which
// aliases the message.
type item struct {
	tag   core.Tag
	kind  core.Kind
	value []byte
}

// fixedLength is the length in bytes of types that have one.
var fixedLength = [...]int{core.KindInteger: 4, core.KindLongInteger: 8, core.KindEnumeration: 4, core.KindBoolean: 8,
	core.KindDateTime: 8, core.KindInterval: 4, core.KindDateTimeExtended: 8}

func padded(n int) int { return (n + 7) &^ 7 }

// FrameLength returns the length in bytes of a whole message from its first 8 bytes,
// so that a reader can refuse the message before it allocates memory.
func FrameLength(header []byte, maxBytes int) (int, error) {
	if len(header) < headerBytes {
		return 0, malformed("a message has at least 8 bytes")
	}
	n := uint64(binary.BigEndian.Uint32(header[4:])) + headerBytes
	if header[0] != 0x42 || core.Kind(header[3]) != core.KindStructure || n%8 != 0 {
		return 0, malformed("the message is not TTLV")
	}
	if n > uint64(maxBytes) {
		return 0, core.Errorf(core.InvalidMessage, "the message has %d bytes; the limit is %d", n, maxBytes)
	}
	return int(n), nil
}

func malformed(format string, args ...any) error {
	return &core.Error{Code: core.InvalidMessage, Detail: fmt.Sprintf(format, args...)}
}

// Validate checks every item of a message of exactly one item: types and their
// lengths, padding, nesting, Booleans, UTF-8. It takes time linear in the message
// and no memory. Afterwards nextItem cannot fail. The limits are those of an answer;
// requests have lower ones.
func Validate(msg []byte) error {
	_, err := validate(msg, maxAnswerItems, maxAnswerItems)
	return err
}

// itemBytes is what an item takes in memory when it is read, beside its text or
// bytes: as an attribute, or as a field of a value.
const itemBytes = 160

// validate returns about how many bytes the values of the message take when they
// are read. It refuses more than maxItems, and more than maxFields directly in one
// structure.
func validate(msg []byte, maxItems, maxFields int) (decoded int, err error) {
	if len(msg) > MaxMessageBytes {
		return 0, malformed("the message has %d bytes; the limit is %d", len(msg), MaxMessageBytes)
	}
	var open [maxDepth]struct {
		end    int // where the structure ends
		fields int // it has so far
	}
	depth, items := 0, 0
	for at := 0; at < len(msg) || depth > 0; {
		for depth > 0 && at == open[depth-1].end {
			depth--
		}
		if at == len(msg) {
			break
		}
		end := len(msg)
		if depth > 0 {
			in := &open[depth-1]
			end = in.end
			if in.fields++; in.fields > maxFields {
				return 0, malformed("a structure has more than %d fields, the last of them %v", maxFields, leadingTag(msg[at:]))
			}
		} else if at > 0 {
			return 0, malformed("%d bytes follow the message", len(msg)-at)
		}
		if items++; items > maxItems {
			return 0, malformed("the message has more than %d items", maxItems)
		}
		kind, length, err := checkHeader(msg[at:end])
		if err != nil {
			return 0, err
		}
		if kind == core.KindStructure {
			if depth == maxDepth {
				return 0, malformed("the message is nested more than %d deep", maxDepth)
			}
			at += headerBytes
			open[depth].end, open[depth].fields = at+length, 0
			depth++
			continue
		}
		if err := checkValue(kind, msg[at+headerBytes:at+headerBytes+padded(length)], length, msg[at:]); err != nil {
			return 0, err
		}
		if kind == core.KindTextString {
			decoded += length // text is copied; bytes stay in the message
		}
		at += headerBytes + padded(length)
	}
	if len(msg) == 0 {
		return 0, malformed("the message is empty")
	}
	return decoded + items*itemBytes, nil
}

// checkHeader reads the header at the start of b, which ends where its parent does.
func checkHeader(b []byte) (core.Kind, int, error) {
	if len(b) < headerBytes {
		return 0, 0, malformed("%d bytes at the end of a structure are too few for an item", len(b))
	}
	tag, kind, length := leadingTag(b), core.Kind(b[3]), uint64(binary.BigEndian.Uint32(b[4:]))
	switch {
	case b[0] != 0x42 && b[0] != 0x54:
		return 0, 0, malformed("0x%06X is not a tag", uint32(tag))
	case kind < core.KindStructure || kind > core.KindDateTimeExtended:
		return 0, 0, malformed("%v has type %v, which does not exist", tag, kind)
	case int(kind) < len(fixedLength) && fixedLength[kind] != 0 && int(length) != fixedLength[kind]:
		return 0, 0, malformed("%v has %d bytes; an item of type %v has %d", tag, length, kind, fixedLength[kind])
	case (kind == core.KindStructure || kind == core.KindBigInteger) && length%8 != 0:
		return 0, 0, malformed("%v has type %v and %d bytes, which is not a multiple of 8", tag, kind, length)
	case kind == core.KindBigInteger && length == 0:
		return 0, 0, malformed("%v is a Big Integer without bytes", tag)
	case (length+7)&^7 > uint64(len(b)-headerBytes):
		return 0, 0, malformed("%v is longer than the structure around it", tag)
	}
	return kind, int(length), nil
}

// checkValue checks a padded value. whole begins with its header, for the message.
func checkValue(kind core.Kind, b []byte, length int, whole []byte) error {
	for _, p := range b[length:] {
		if p != 0 {
			return malformed("the padding of %v is not zero", leadingTag(whole))
		}
	}
	switch kind {
	case core.KindBoolean:
		if binary.BigEndian.Uint64(b) > 1 {
			return malformed("%v is a Boolean that is neither 0 nor 1", leadingTag(whole))
		}
	case core.KindTextString:
		if !utf8.Valid(b[:length]) {
			return malformed("%v is text that is not UTF-8", leadingTag(whole))
		}
	}
	return nil
}

func leadingTag(b []byte) core.Tag { return core.Tag(b[0])<<16 | core.Tag(b[1])<<8 | core.Tag(b[2]) }

// nextItem splits the first item off validated bytes.
func nextItem(b []byte) (item, []byte) {
	n := int(binary.BigEndian.Uint32(b[4:]))
	return item{leadingTag(b), core.Kind(b[3]), b[headerBytes : headerBytes+n : headerBytes+n]}, b[headerBytes+padded(n):]
}

// countItems returns the number of items in validated bytes. Slices are made with
// that capacity, because growing them would take several times the memory.
func countItems(b []byte) (n int) {
	for ; len(b) > 0; n++ {
		_, b = nextItem(b)
	}
	return n
}

// number returns the number in an item of a numeric type.
func (it item) number() int64 {
	switch it.kind {
	case core.KindInteger:
		return int64(int32(binary.BigEndian.Uint32(it.value)))
	case core.KindEnumeration, core.KindInterval:
		return int64(binary.BigEndian.Uint32(it.value))
	case core.KindLongInteger, core.KindBoolean, core.KindDateTime, core.KindDateTimeExtended:
		return int64(binary.BigEndian.Uint64(it.value))
	}
	return 0
}

// appendHeader appends an item's header.
func appendHeader(dst []byte, t core.Tag, k core.Kind, length int) []byte {
	dst = append(dst, byte(t>>16), byte(t>>8), byte(t), byte(k))
	return binary.BigEndian.AppendUint32(dst, uint32(length))
}

var zeros [8]byte

func appendPadded[T string | []byte](dst []byte, t core.Tag, k core.Kind, v T) []byte {
	dst = append(appendHeader(dst, t, k, len(v)), v...)
	return append(dst, zeros[:padded(len(v))-len(v)]...)
}

func append4(dst []byte, t core.Tag, k core.Kind, v uint32) []byte {
	dst = binary.BigEndian.AppendUint32(appendHeader(dst, t, k, 4), v)
	return append(dst, 0, 0, 0, 0)
}

func append8(dst []byte, t core.Tag, k core.Kind, v uint64) []byte {
	return binary.BigEndian.AppendUint64(appendHeader(dst, t, k, 8), v)
}

// openStructure appends a structure's header, whose length closeStructure fills in.
func openStructure(dst []byte, t core.Tag) ([]byte, int) {
	return appendHeader(dst, t, core.KindStructure, 0), len(dst)
}

func closeStructure(dst []byte, at int) {
	binary.BigEndian.PutUint32(dst[at+4:], uint32(len(dst)-at-headerBytes))
}

// appendValue appends a value of the data model under a tag.
func appendValue(dst []byte, t core.Tag, v core.Value) []byte {
	switch v.Kind {
	case core.KindStructure:
		dst, at := openStructure(dst, t)
		for _, f := range v.Fields {
			dst = appendValue(dst, f.Tag, f.Value)
		}
		closeStructure(dst, at)
		return dst
	case core.KindTextString:
		return appendPadded(dst, t, v.Kind, v.Text)
	case core.KindByteString:
		return appendPadded(dst, t, v.Kind, v.Bytes)
	case core.KindBigInteger:
		return appendBig(dst, t, v.Bytes)
	case core.KindInteger, core.KindEnumeration, core.KindInterval:
		return append4(dst, t, v.Kind, uint32(v.Num))
	}
	return append8(dst, t, v.Kind, uint64(v.Num))
}

// appendBig writes two's complement bytes, sign-extended to a multiple of 8 (KMIP 2.1 §10.1.5).
func appendBig(dst []byte, t core.Tag, b []byte) []byte {
	fill := byte(0)
	if len(b) > 0 && b[0]&0x80 != 0 {
		fill = 0xff
	}
	n := max(8, padded(len(b)))
	dst = appendHeader(dst, t, core.KindBigInteger, n)
	for range n - len(b) {
		dst = append(dst, fill)
	}
	return append(dst, b...)
}

// valueOf returns an item as a value of the data model. It copies text and bytes:
// values outlive the message.
func (it item) valueOf() core.Value {
	v := it.borrowedValue()
	cloneBytes(&v)
	return v
}

func cloneBytes(v *core.Value) {
	v.Bytes = bytes.Clone(v.Bytes)
	for i := range v.Fields {
		cloneBytes(&v.Fields[i].Value)
	}
}

// borrowedValue is valueOf for keys and credentials: bytes alias the message and are zeroed with it.
func (it item) borrowedValue() core.Value {
	v := core.Value{Kind: it.kind}
	switch it.kind {
	case core.KindStructure:
		v.Fields = make([]core.Field, 0, countItems(it.value))
		for b := it.value; len(b) > 0; {
			var f item
			f, b = nextItem(b)
			v.Fields = append(v.Fields, core.Field{Tag: f.tag, Value: f.borrowedValue()})
		}
	case core.KindTextString:
		v.Text = string(it.value)
	case core.KindByteString, core.KindBigInteger:
		v.Bytes = it.value
	default:
		v.Num = it.number()
	}
	return v
}
