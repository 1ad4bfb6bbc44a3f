package server_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// needles finds known secrets in files and in memory, in every form in which a
// program could keep them. A secret is looked for in pieces of pieceBytes, so
// that a part of a copy is found too.
type needles struct {
	byStart map[uint32][]pattern
	maybe   [1 << 18]uint64 // a bit for each 24-bit start, since most bytes start nothing
}

// pattern is one form of one piece of a secret.
type pattern struct {
	name  string // of the secret
	form  string
	bytes []byte
}

const pieceBytes = 16

// longestPattern is that of hexadecimal.
const longestPattern = 2 * pieceBytes

func newNeedles() *needles { return &needles{byStart: map[uint32][]pattern{}} }

// add looks for a secret as it is, and turned round: math/big keeps numbers with
// their last byte first.
func (n *needles) add(name string, secret []byte) {
	turned := bytes.Clone(secret)
	slices.Reverse(turned)
	n.pieces(name, "", secret)
	n.pieces(name, "turned ", turned)
}

func (n *needles) pieces(name, form string, secret []byte) {
	for at := 0; at+pieceBytes <= len(secret); at += pieceBytes {
		p := secret[at : at+pieceBytes]
		n.pattern(name, form+"raw", p)
		n.pattern(name, form+"hex", []byte(hex.EncodeToString(p)))
		n.pattern(name, form+"HEX", []byte(strings.ToUpper(hex.EncodeToString(p))))
		for shift := range 3 {
			// What the bytes before and behind the piece do not change.
			from, to := (shift*8+5)/6, (shift+pieceBytes)*8/6
			b := append(make([]byte, shift), p...)
			n.pattern(name, form+"base64", []byte(base64.StdEncoding.EncodeToString(b))[from:to])
			n.pattern(name, form+"base64url", []byte(base64.URLEncoding.EncodeToString(b))[from:to])
		}
	}
}

func (n *needles) pattern(name, form string, b []byte) {
	start := binary.LittleEndian.Uint32(b)
	n.maybe[start&0xffffff>>6] |= 1 << (start & 63)
	n.byStart[start] = append(n.byStart[start], pattern{name, form, b})
}

var zeroPage [4096]byte

// in calls hit for every pattern in b.
func (n *needles) in(b []byte, hit func(p pattern, at int)) {
	for i := 0; i+longestPattern/2 <= len(b); i++ {
		if i%len(zeroPage) == 0 && bytes.HasPrefix(b[i:], zeroPage[:]) {
			i += len(zeroPage) - longestPattern // most of a heap is empty
		}
		start := uint32(b[i]) | uint32(b[i+1])<<8 | uint32(b[i+2])<<16
		if n.maybe[start>>6]&(1<<(start&63)) == 0 {
			continue
		}
		for _, p := range n.byStart[start|uint32(b[i+3])<<24] {
			if bytes.HasPrefix(b[i:], p.bytes) {
				hit(p, i)
			}
		}
	}
}

// inFile searches a whole file, or a part of one.
func (n *needles) inFile(r io.ReaderAt, from, to int64, hit func(p pattern, at int64)) {
	const step = 1 << 20
	buf := make([]byte, step+longestPattern)
	for at := from; at < to; at += step {
		m, err := r.ReadAt(buf[:min(int64(len(buf)), to-at)], at)
		if m == 0 && err != nil {
			continue // not mapped, or not readable
		}
		n.in(buf[:m], func(p pattern, i int) {
			if i < step { // what begins later begins the next step
				hit(p, at+int64(i))
			}
		})
	}
}

// mapping is a line of /proc/PID/maps.
type mapping struct {
	from, to int64
	writable bool
	what     string
}

// readable lists what of a process' memory can be read.
func readable(t *testing.T, pid int) (all []mapping) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n") {
		f := strings.Fields(line)
		ends := strings.SplitN(f[0], "-", 2)
		from, err1 := strconv.ParseUint(ends[0], 16, 64)
		to, err2 := strconv.ParseUint(ends[1], 16, 64)
		if err := errors.Join(err1, err2); err != nil || len(f) < 5 {
			t.Fatalf("a line of maps is %q: %v", line, err)
		}
		what := strings.Join(f[5:], " ")
		if f[1][0] == 'r' && to < 1<<63 && !strings.HasPrefix(what, "[vv") {
			all = append(all, mapping{int64(from), int64(to), f[1][1] == 'w', what})
		}
	}
	return all
}

// The search finds every form of every piece, wherever it begins.
func TestNeedlesAreFound(t *testing.T) {
	secret := make([]byte, 40) // two pieces and a rest
	rand.Read(secret)
	turned := bytes.Clone(secret)
	slices.Reverse(turned)
	n := newNeedles()
	n.add("planted", secret)
	for _, s := range [][]byte{secret, turned} {
		for shift := range 3 {
			for form, encode := range map[string]func([]byte) string{
				"raw": func(b []byte) string { return string(b) }, "hex": hex.EncodeToString,
				"HEX":       func(b []byte) string { return strings.ToUpper(hex.EncodeToString(b)) },
				"base64":    base64.StdEncoding.EncodeToString,
				"base64url": base64.RawURLEncoding.EncodeToString,
			} {
				hay := append(make([]byte, 1<<20-17), encode(append(make([]byte, shift), s...))...) // over the seam of two steps
				hay = append(hay, make([]byte, 100)...)
				found := map[string]int{}
				n.inFile(bytes.NewReader(hay), 0, int64(len(hay)), func(p pattern, _ int64) { found[p.form]++ })
				total := 0
				for name, c := range found {
					if strings.HasSuffix(name, form) {
						total += c
					}
				}
				if total < 2 {
					t.Errorf("%s, shifted by %d: %v found, not two pieces", form, shift, found)
				}
			}
		}
	}
}
