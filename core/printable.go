package core

import "strings"

// Printable turns a received text into one line of ASCII that has at most so many
// bytes. Other characters become question marks. A text that was cut ends in dots.
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

// maxClientText bounds what a message shows of a text that a client sent, in bytes.
const maxClientText = 67

// ClientText returns a text that a client sent in a form that is fit for a message.
func ClientText(s string) string { return Printable(s, maxClientText) }
