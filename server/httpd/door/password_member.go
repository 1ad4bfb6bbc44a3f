package door

import (
	"bytes"
	"encoding/json"
	"io"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/core"
)

// DecodeWithPassword is decode for a body that may have a member "password". encoding/json
// makes copies that nobody can zero, so the password is taken out of the body before. It
// is nil if there is none. The caller zeroes it.
func DecodeWithPassword(r io.Reader, v Specified) (password []byte, err error) {
	b, err := readBody(r)
	defer retireBody(b)
	if err != nil {
		return nil, err
	}
	text := findPassword(b)
	if text != nil {
		if err := json.Unmarshal(text, (*zeroedText)(&password)); err != nil || bytes.ContainsRune(password, utf8.RuneError) {
			clear(password)
			return nil, core.Errorf(core.InvalidMessage, `the member "password" is no valid text`)
		}
		hidden := text[1 : len(text)-1]
		for i := range hidden {
			hidden[i] = '*'
		}
	}
	if err := DecodeBytes(b, v); err != nil {
		clear(password)
		return nil, err
	}
	return password, nil
}

// zeroedText keeps a text as bytes, and zeroes those from which it was read.
type zeroedText []byte

// UnmarshalText implements [encoding.TextUnmarshaler].
func (z *zeroedText) UnmarshalText(b []byte) error {
	*z = append(make([]byte, 0, len(b)), b...)
	clear(b)
	return nil
}

// findPassword returns the JSON string that is the value of the member "password" of the
// object in b, with its quotes; nil if there is none. It reads no further than it can: the
// strict decoder refuses what is no JSON, and a second such member.
func findPassword(b []byte) []byte {
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
			if depth == 1 && string(b[i:end]) == `"password"` {
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
