package core

// PoisonByte fills memory whose use has ended, if [Poison] is set. It is ASCII, so
// that it is visible in text and passes every check of a text.
const PoisonByte = '~'

// PoisonText stands for a text whose use has ended.
const PoisonText = "~~~~~~~~~~~~~~~~"

// Retire ends the use of bytes that were lent: a received message, an answer, a
// secret. It zeroes b and reports whether b may be reused.
//
// In builds with the tag poison or the race detector it fills b with PoisonByte
// instead, and b must not be reused. Anything that still refers to b then shows the
// pattern, and a test finds it. Otherwise it would show the next message, which may
// be another tenant's.
func Retire(b []byte) (reusable bool) {
	if !Poison {
		clear(b)
		return true
	}
	for i := range b {
		b[i] = PoisonByte
	}
	return false
}
