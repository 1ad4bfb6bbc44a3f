package core

import (
	"bytes"
	"testing"
)

// Retire leaves nothing of what was there, and lends nothing again where it
// leaves the pattern.
func TestLentBytesAreRetired(t *testing.T) {
	b := []byte("a secret")
	reusable := Retire(b)
	want := make([]byte, len(b))
	if Poison {
		want = bytes.Repeat([]byte{PoisonByte}, len(b))
	}
	if !bytes.Equal(b, want) || reusable == Poison {
		t.Errorf("%q is left, and reusable is %v", b, reusable)
	}
	s := NewSecret()
	s.Set(append(s.Bytes()[:0], "a secret"...))
	kept := s.Bytes()
	s.Release()
	if bytes.Contains(kept, []byte("secret")) || (Poison && !bytes.Equal(kept, want)) {
		t.Errorf("%q is left of a Secret", kept)
	}
}
