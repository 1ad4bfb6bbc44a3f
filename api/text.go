package api

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"unicode/utf8"
)

// EncodingUTF8 is the encoding of an [Encoded] text that is the text itself.
const EncodingUTF8 = "utf8"

// Encoded is a text that is base64, or the text itself if the member "encoding" beside it
// says so. It may be secret: it can be zeroed.
type Encoded []byte

// UnmarshalJSON implements [json.Unmarshaler].
func (e *Encoded) UnmarshalJSON(literal []byte) error {
	if literal[0] != '"' || bytes.IndexByte(literal, '\\') >= 0 || !utf8.Valid(literal) {
		return json.Unmarshal(literal, (*unescaped)(e))
	}
	inside := literal[1 : len(literal)-1]
	*e = append(make([]byte, 0, len(inside)), inside...)
	return nil
}

// unescaped is a text whose escapes encoding/json reads. It zeroes the copy that was made for
// them, of which nobody else knows.
type unescaped []byte

// UnmarshalText implements [encoding.TextUnmarshaler].
func (u *unescaped) UnmarshalText(text []byte) error {
	*u = append(make([]byte, 0, len(text)), text...)
	clear(text)
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (e Encoded) MarshalText() ([]byte, error) { return e, nil }

// Decode returns the bytes that a text stands for, and zeroes the text. It reports false if
// the text is no base64.
func (e Encoded) Decode(encoding *string) ([]byte, bool) {
	defer clear(e)
	if encoding != nil && *encoding == EncodingUTF8 {
		return append(make([]byte, 0, len(e)), e...), true
	}
	if !isBase64(e) {
		return nil, false
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(e)))
	n, err := base64.StdEncoding.Decode(out, e)
	if err != nil {
		clear(out)
		return nil, false
	}
	return out[:n], true
}

// Wipe zeroes the plaintext of an answer that has been sent.
func (a DecryptAnswer) Wipe() { clear(a.Plaintext) }

// Wipe zeroes the key in clear of an answer that has been sent.
func (a DataKeyAnswer) Wipe() { clear(a.Plaintext) }

// Wipe zeroes the bytes in clear of an answer that has been sent.
func (a UnwrapAnswer) Wipe() { clear(a.KeyMaterial) }

// Wipe zeroes the bytes in clear of an answer that has been sent.
func (a DeriveAnswer) Wipe() { clear(a.Derived) }

// Wipe zeroes the random bytes of an answer that has been sent: they may be a key.
func (a RandomAnswer) Wipe() { clear(a.Random) }

// Encode returns the text for some bytes. It reports false if they are no UTF-8 and must be.
func Encode(b []byte, encoding *string) (Encoded, bool) {
	if encoding != nil && *encoding == EncodingUTF8 {
		return append(Encoded{}, b...), utf8.Valid(b)
	}
	return base64.StdEncoding.AppendEncode(make([]byte, 0, base64.StdEncoding.EncodedLen(len(b))), b), true
}

// NullableText is a text that null removes.
type NullableText struct {
	Given bool
	Text  string // "" for null
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *NullableText) UnmarshalJSON(b []byte) error {
	n.Given = true
	return json.Unmarshal(b, &n.Text)
}
