package core

import (
	"bytes"
	"slices"
)

// Value is one value of the standard's data model: its type and what it holds.
// The zero Value has KindAny and stands for "no value".
//
//	Num     Integer, Long Integer, Enumeration, Boolean (0, 1), Date-Time
//	        (seconds since 1970), Interval (seconds), Date-Time Extended (µs)
//	Text    Text String
//	Bytes   Byte String; Big Integer as two's complement, big endian
//	Fields  Structure, in order
//
// Values are immutable once they are part of a [ManagedObject].
type Value struct {
	Kind   Kind
	Num    int64
	Text   string
	Bytes  []byte
	Fields []Field
}

// Field is a member of a structure.
type Field struct {
	Tag   Tag
	Value Value
}

// Constructors, one for each type.
func Int(n int32) Value               { return Value{Kind: KindInteger, Num: int64(n)} }
func Long(n int64) Value              { return Value{Kind: KindLongInteger, Num: n} }
func Enum[E ~uint32](e E) Value       { return Value{Kind: KindEnumeration, Num: int64(uint32(e))} }
func Text(s string) Value             { return Value{Kind: KindTextString, Text: s} }
func Bytes(b []byte) Value            { return Value{Kind: KindByteString, Bytes: b} }
func BigInt(b []byte) Value           { return Value{Kind: KindBigInteger, Bytes: b} }
func Date(unix int64) Value           { return Value{Kind: KindDateTime, Num: unix} }
func Interval(seconds uint32) Value   { return Value{Kind: KindInterval, Num: int64(seconds)} }
func Structure(fields ...Field) Value { return Value{Kind: KindStructure, Fields: fields} }
func Mask[E ~uint32](e E) Value       { return Value{Kind: KindInteger, Num: int64(int32(e))} }

// Bool returns a Boolean.
func Bool(b bool) Value {
	if b {
		return Value{Kind: KindBoolean, Num: 1}
	}
	return Value{Kind: KindBoolean}
}

// Field returns the first field with tag t, the zero Value if there is none.
func (v Value) Field(t Tag) Value {
	for i := range v.Fields {
		if v.Fields[i].Tag == t {
			return v.Fields[i].Value
		}
	}
	return Value{}
}

// Uint returns Num as the 32 bits of an enumeration or a mask.
func (v Value) Uint() uint32 { return uint32(v.Num) }

// IsZero reports whether v is no value at all.
func (v Value) IsZero() bool { return v.Kind == KindAny }

// Equal reports whether v and w are the same value of the same type; fields of
// structures are compared in order.
func (v Value) Equal(w Value) bool {
	return v.Kind == w.Kind && v.Num == w.Num && v.Text == w.Text && bytes.Equal(v.Bytes, w.Bytes) &&
		slices.EqualFunc(v.Fields, w.Fields, func(a, b Field) bool { return a.Tag == b.Tag && a.Value.Equal(b.Value) })
}
