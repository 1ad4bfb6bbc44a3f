package kmipd

import (
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// Anyone who keeps what a connection lends sees the pattern afterwards, if there is
// one, and nothing of the next message. A test that plants such a fault finds it.
func TestLentBufferIsRetired(t *testing.T) {
	want := "\x00"
	if core.Poison {
		want = string(rune(core.PoisonByte))
	}
	b := buffers.Get().(*[]byte)
	*b = append((*b)[:0], "a message"...)
	alias := *b
	putBuffer(b)
	if got := string(alias); got != strings.Repeat(want, len(got)) {
		t.Errorf("a buffer that was put back holds %q", got)
	}
	if next := buffers.Get().(*[]byte); core.Poison && next == b {
		t.Error("a buffer that holds the pattern is used again")
	}
}
