package core

import "fmt"

// Tag names a field of the standard, 0x420001 and up; 0x54xxxx are extensions.
type Tag uint32

// Kind is the item type of a value (KMIP 2.1 §10.1.3); its numbers are the
// standard's. In tables KindAny means that the type of a field varies.
type Kind uint8

// The item types of KMIP 1.0 to 2.1.
const (
	KindAny              Kind = 0
	KindStructure        Kind = 1
	KindInteger          Kind = 2
	KindLongInteger      Kind = 3
	KindBigInteger       Kind = 4
	KindEnumeration      Kind = 5
	KindBoolean          Kind = 6
	KindTextString       Kind = 7
	KindByteString       Kind = 8
	KindDateTime         Kind = 9
	KindInterval         Kind = 10
	KindDateTimeExtended Kind = 11
)

var kindNames = [...]string{"Any", "Structure", "Integer", "Long Integer", "Big Integer", "Enumeration", "Boolean",
	"Text String", "Byte String", "Date-Time", "Interval", "Date-Time Extended"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("item type %#x", uint8(k))
}

// IsVendor reports whether t is a vendor's own tag (KMIP 2.1 §10.1.2: 540000 to 54FFFF).
func (t Tag) IsVendor() bool { return t>>16 == 0x54 }

// TagInfo is a row of the table of tags. Kind is KindAny if the type varies by version
// or place. Enum is nil unless the values have names.
type TagInfo struct {
	Tag          Tag
	Name, XML    string
	Kind         Kind
	Enum         *EnumInfo
	Since, Until Version
}

// Tags lists every tag of the standard in ascending order. Do not change it.
func Tags() []TagInfo { return tagTable }

// Info returns the tag's row, or nil for a tag the standard does not list.
func (t Tag) Info() *TagInfo { return tagByNumber[t] }

// String returns the standard's name, or the number of an unknown tag.
func (t Tag) String() string {
	if i := t.Info(); i != nil {
		return i.Name
	}
	return fmt.Sprintf("0x%06X", uint32(t))
}

// TagByName finds a tag by its display name ("Activation Date") or its XML
// name ("ActivationDate").
func TagByName(name string) (Tag, bool) {
	t, ok := tagByName[name]
	return t, ok
}

var (
	tagByNumber = map[Tag]*TagInfo{}
	tagByName   = map[string]Tag{}
)

func init() {
	for i := range tagTable {
		t := &tagTable[i]
		tagByNumber[t.Tag] = t
		tagByName[t.Name], tagByName[t.XML] = t.Tag, t.Tag
	}
}

// EnumValue is a row of an enumeration.
type EnumValue struct {
	Value        uint32
	Name, XML    string
	Since, Until Version
}

// EnumInfo is one enumeration or bit mask of the standard.
type EnumInfo struct {
	Name, XML string
	Mask      bool
	Values    []EnumValue
	byValue   map[uint32]*EnumValue
	byName    map[string]uint32
}

func newEnum(name, xml string, mask bool, values []EnumValue) *EnumInfo {
	e := &EnumInfo{Name: name, XML: xml, Mask: mask, Values: values,
		byValue: make(map[uint32]*EnumValue, len(values)), byName: make(map[string]uint32, 2*len(values))}
	for i := range values {
		v := &values[i]
		e.byValue[v.Value] = v
		e.byName[v.Name], e.byName[v.XML] = v.Value, v.Value
	}
	return e
}

// Enums lists every enumeration and mask. Do not change it.
func Enums() []*EnumInfo { return enumTable }

// Lookup returns the row of value v, or nil.
func (e *EnumInfo) Lookup(v uint32) *EnumValue { return e.byValue[v] }

// ByName finds a value by its display name or XML name.
func (e *EnumInfo) ByName(name string) (uint32, bool) {
	v, ok := e.byName[name]
	return v, ok
}

// NameOf returns the display name of v. Bits of a mask are joined by "|". An unknown
// value is shown as its number.
func (e *EnumInfo) NameOf(v uint32) string {
	if r := e.byValue[v]; r != nil {
		return r.Name
	}
	if !e.Mask || v == 0 {
		return fmt.Sprintf("0x%08X", v)
	}
	s := ""
	for _, r := range e.Values {
		if v&r.Value != 0 {
			s, v = s+"|"+r.Name, v&^r.Value
		}
	}
	if v != 0 {
		s += fmt.Sprintf("|0x%08X", v)
	}
	return s[1:]
}

// EnumName returns the name of a value of an enumeration, or "" for 0.
func EnumName[E interface {
	~uint32
	String() string
}](v E) string {
	if v == 0 {
		return ""
	}
	return v.String()
}

// TagSet is a set of tags.
type TagSet map[Tag]bool
