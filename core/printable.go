package core

import "strings"

// Printable returns one line of ASCII, at most so many bytes long, of a text that
// somebody sent. Other characters become question marks; what is cut off becomes dots.
func Printable(s string, most int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, s)
	if len(s) > most {
		s = s[:most-3] + "..."
	}
	return s
}
