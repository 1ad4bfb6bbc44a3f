package core

import "fmt"

// Version is a protocol version of KMIP, major<<8 | minor, so that versions
// compare as numbers. The zero Version stands for "no bound" in tables and for
// "not KMIP" in a [Caller].
type Version uint16

// The versions that keyreeve speaks.
const (
	V1_0 Version = 0x0100
	V1_1 Version = 0x0101
	V1_2 Version = 0x0102
	V1_3 Version = 0x0103
	V1_4 Version = 0x0104
	V2_0 Version = 0x0200
	V2_1 Version = 0x0201
)

// Versions lists what the server speaks, most preferred first, as Discover
// Versions answers (KMIP 2.1 §6.1.16).
var Versions = []Version{V2_1, V2_0, V1_4, V1_3, V1_2, V1_1, V1_0}

// Major returns the version's major number.
func (v Version) Major() int { return int(v >> 8) }

// Minor returns the version's minor number.
func (v Version) Minor() int { return int(v & 0xff) }

func (v Version) String() string { return fmt.Sprintf("%d.%d", v.Major(), v.Minor()) }

// Within reports whether v lies between since and until; a zero bound is open.
func (v Version) Within(since, until Version) bool {
	return v >= since && (until == 0 || v <= until)
}
