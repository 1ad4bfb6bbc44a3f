// Package document writes and reads the document of an object's row: all attributes as
// JSON, always the same text for the same attributes.
//
//	[{"t":"420057","E":2},{"n":["x","Site"],"i":1,"T":"Oslo"}, ...]
//
// "t" is the tag in hexadecimal. "n" is vendor and name of a custom attribute; "m" is
// the same in base64, if they are not clean text. "i" is the index, unless it is 0. The
// last member is the value, under a letter for its type: see kindLetters. This is not
// the JSON of the protocol, so it does not change with a version of the protocol.
//
// The seal of the row covers the text, so a change of the form breaks all rows.
// Start at [Append] and [Read].
package document

import (
	"encoding/base64"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/jsontext"
)

// maxDepth bounds the depth of structures, when documents are read and written.
const maxDepth = 32

// kindLetters has the letter of each item type. A Text String that is not clean text is
// in base64, under the letter base64TextLetter.
var kindLetters = [...]byte{
	core.KindAny:              'A',
	core.KindStructure:        'S',
	core.KindInteger:          'I',
	core.KindLongInteger:      'L',
	core.KindBigInteger:       'G',
	core.KindEnumeration:      'E',
	core.KindBoolean:          'B',
	core.KindTextString:       'T',
	core.KindByteString:       'Y',
	core.KindDateTime:         'D',
	core.KindInterval:         'V',
	core.KindDateTimeExtended: 'X',
}

const base64TextLetter = 'U'

// kindByLetter is the inverse of kindLetters.
var kindByLetter = func() (k [256]core.Kind) {
	for kind, letter := range kindLetters {
		k[letter] = core.Kind(kind)
	}
	k[base64TextLetter] = core.KindTextString
	return k
}()

// documentBase64 is the base64 of documents: standard alphabet, no padding, strict.
var documentBase64 = base64.RawStdEncoding.Strict()

// Append appends the document of attributes to dst. It fails with InvalidField for an
// unknown item type, or if structures are nested too deep.
func Append(dst []byte, as core.Attributes) ([]byte, error) {
	dst = append(dst, '[')
	var err error
	for i := range as {
		a := &as[i]
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendName(append(dst, '{'), a)
		if a.Index != 0 {
			dst = strconv.AppendInt(append(dst, `,"i":`...), int64(a.Index), 10)
		}
		if dst, err = appendValue(append(dst, ','), &a.Value, 0); err != nil {
			return dst, err
		}
		dst = append(dst, '}')
	}
	return append(dst, ']'), nil
}

func appendName(dst []byte, a *core.Attribute) []byte {
	if a.Tag != 0 {
		return appendTag(dst, a.Tag)
	}
	key, put := `"n":[`, appendText
	if !IsStorable(a.Vendor) || !IsStorable(a.Name) {
		key, put = `"m":[`, appendBase64[string]
	}
	dst = append(put(append(dst, key...), a.Vendor), ',')
	return append(put(dst, a.Name), ']')
}

const hexDigits = "0123456789abcdef"

func appendTag(dst []byte, t core.Tag) []byte {
	dst = append(dst, `"t":"`...)
	for shift := 20; shift >= 0; shift -= 4 {
		dst = append(dst, hexDigits[t>>shift&15])
	}
	return append(dst, '"')
}

func appendValue(dst []byte, v *core.Value, depth int) ([]byte, error) {
	if int(v.Kind) >= len(kindLetters) || depth > maxDepth {
		return dst, core.Errorf(core.InvalidField, "an attribute has a value of type %v at depth %d; only the types of the standard can be stored, and structures up to depth %d", v.Kind, depth, maxDepth)
	}
	letter := kindLetters[v.Kind]
	if v.Kind == core.KindTextString && !IsStorable(v.Text) {
		letter = base64TextLetter
	}
	dst = append(dst, '"', letter, '"', ':')
	switch v.Kind {
	case core.KindStructure:
		return appendFields(dst, v.Fields, depth)
	case core.KindTextString:
		if letter == base64TextLetter {
			return appendBase64(dst, v.Text), nil
		}
		return appendText(dst, v.Text), nil
	case core.KindByteString, core.KindBigInteger:
		return appendBase64(dst, v.Bytes), nil
	}
	return strconv.AppendInt(dst, v.Num, 10), nil
}

func appendFields(dst []byte, fields []core.Field, depth int) ([]byte, error) {
	dst = append(dst, '[')
	var err error
	for i := range fields {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(appendTag(append(dst, '{'), fields[i].Tag), ',')
		if dst, err = appendValue(dst, &fields[i].Value, depth+1); err != nil {
			return dst, err
		}
		dst = append(dst, '}')
	}
	return append(dst, ']'), nil
}

func appendBase64[B string | []byte](dst []byte, b B) []byte {
	return append(documentBase64.AppendEncode(append(dst, '"'), []byte(b)), '"')
}

// appendText appends clean text as a JSON string. DEL is not escaped: documents that
// have it are sealed.
func appendText(dst []byte, s string) []byte {
	return jsontext.AppendString(dst, s, jsontext.KeepDEL)
}

// IsStorable reports whether both databases can store s as text: UTF-8 without NUL.
func IsStorable(s string) bool {
	return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0
}
