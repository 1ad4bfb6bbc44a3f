package door

import (
	"bytes"
	"encoding/json"
	"io"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/core"
)

// DecodeWithPassword is [DecodeWithSecret] for the member "password".
func DecodeWithPassword(r io.Reader, v Specified) (password []byte, err error) {
	return DecodeWithSecret(r, v, "password")
}

// DecodeWithSecret is decode for a body that may have a text member that is secret.
// encoding/json makes copies that nobody can zero, so the text is taken out of the body
// before: v gets as many letters A in its place as it has characters. It is nil if there is
// none. The caller zeroes it.
func DecodeWithSecret(r io.Reader, v Specified, member string) (secret []byte, err error) {
	b, err := readBody(r)
	defer retireBody(b)
	if err != nil {
		return nil, err
	}
	text := findMember(b, member)
	if text != nil {
		if err := json.Unmarshal(text, (*zeroedText)(&secret)); err != nil || bytes.ContainsRune(secret, utf8.RuneError) {
			clear(secret)
			return nil, core.Errorf(core.InvalidMessage, "the member %q is no valid text", member)
		}
		hideText(text, utf8.RuneCount(secret))
	}
	if err := DecodeBytes(b, v); err != nil {
		clear(secret)
		return nil, err
	}
	return secret, nil
}

// hideText writes n letters A in the place of a JSON string, and spaces behind it where the string
// was longer, because it had escapes.
func hideText(text []byte, n int) {
	for i := range text {
		switch {
		case i == 0 || i == n+1:
			text[i] = '"'
		case i <= n:
			text[i] = 'A'
		default:
			text[i] = ' '
		}
	}
}

// zeroedText keeps a text as bytes, and zeroes those from which it was read.
type zeroedText []byte

// UnmarshalText implements [encoding.TextUnmarshaler].
func (z *zeroedText) UnmarshalText(b []byte) error {
	*z = append(make([]byte, 0, len(b)), b...)
	clear(b)
	return nil
}

// findMember returns the JSON string that is the value of a member of the object in b, with
// its quotes; nil if there is none. It reads no further than it can: the
// strict decoder refuses what is no JSON, and a second such member.
func findMember(b []byte, member string) []byte {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '{', '[':
			depth++
		case '}', ']':
			depth--
		case '"':
			end := stringEnd(b, i)
			if end < 0 {
				return nil
			}
			if depth == 1 && string(b[i+1:end-1]) == member {
				if value := stringAfterColon(b[end:]); value != nil {
					return value
				}
			}
			i = end - 1
		}
	}
	return nil
}

// stringEnd returns the index behind the string that begins at i, -1 if it does not end.
func stringEnd(b []byte, i int) int {
	for i++; i < len(b); i++ {
		switch b[i] {
		case '\\':
			i++
		case '"':
			return i + 1
		}
	}
	return -1
}

// stringAfterColon returns the string that follows a colon, nil if there is another value
// or no colon.
func stringAfterColon(b []byte) []byte {
	rest, found := bytes.CutPrefix(bytes.TrimLeft(b, " \t\r\n"), []byte(":"))
	rest = bytes.TrimLeft(rest, " \t\r\n")
	if !found || len(rest) == 0 || rest[0] != '"' {
		return nil
	}
	end := stringEnd(rest, 0)
	if end < 0 {
		return nil
	}
	return rest[:end]
}
