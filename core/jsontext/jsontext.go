// Package jsontext writes texts as JSON strings, always the same bytes for the
// same text: the documents of rows are sealed, and audit records will be hashed.
// encoding/json escapes more, and what it escapes can change with Go.
// Start at [AppendString].
package jsontext

import (
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// DEL says how the character 0x7f is written. JSON lets it stand as it is.
type DEL bool

// The ways to write 0x7f.
const (
	KeepDEL   DEL = false
	EscapeDEL DEL = true
)

// AppendString appends s to dst as a JSON string, with its quotes. It escapes
// quotes, backslashes, the characters below 0x20, and 0x7f if del says so. Each
// byte that is not UTF-8 becomes U+FFFD, so two readers cannot see two texts.
func AppendString(dst []byte, s string, del DEL) []byte {
	dst = append(dst, '"')
	copied := 0 // bytes of s that are in dst
	for i := 0; i < len(s); {
		c := s[i]
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r == utf8.RuneError && n == 1 {
				dst = utf8.AppendRune(append(dst, s[copied:i]...), r)
				copied = i + 1
			}
			i += n
			continue
		}
		switch {
		case c == '"' || c == '\\':
			dst = append(append(dst, s[copied:i]...), '\\', c)
			copied = i + 1
		case c < ' ' || c == 0x7f && del == EscapeDEL:
			dst = appendEscape(append(dst, s[copied:i]...), uint16(c))
			copied = i + 1
		}
		i++
	}
	return append(append(dst, s[copied:]...), '"')
}

const hexDigits = "0123456789abcdef"

// appendEscape appends a UTF-16 unit as \u and four hexadecimal digits.
func appendEscape(dst []byte, unit uint16) []byte {
	return append(dst, '\\', 'u', hexDigits[unit>>12], hexDigits[unit>>8&15], hexDigits[unit>>4&15], hexDigits[unit&15])
}

// ForTerminal escapes what a terminal could act on in a JSON text, such as a
// change of direction. Programs read the same JSON, and it is harmless to people.
func ForTerminal(json string) string {
	var out []byte
	for _, r := range json {
		if unicode.IsPrint(r) {
			out = utf8.AppendRune(out, r)
			continue
		}
		for _, unit := range utf16.AppendRune(nil, r) {
			out = appendEscape(out, unit)
		}
	}
	return string(out)
}
