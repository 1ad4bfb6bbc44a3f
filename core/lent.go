package core

// PoisonByte fills memory whose use has ended, where [Poison] is set. It is
// ASCII, so that it shows as text and passes every check of a text.
const PoisonByte = '~'

// PoisonText stands for a text whose use has ended.
const PoisonText = "~~~~~~~~~~~~~~~~"

// Retire ends the use of bytes that were lent: a received message, an answer, a
// secret. It zeroes b and reports whether others may have its room.
//
// In builds with the tag poison or the race detector it fills b with PoisonByte
// instead, and nobody may have it again. Whatever still refers to b then shows
// the pattern for ever, and a test finds it. Otherwise it would show the next
// message, which may be another tenant's.
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
