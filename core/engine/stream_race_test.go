package engine

import (
	"bytes"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// A part whose record cannot be stored ends its stream: the client is told that
// it failed, and its data must not be in what a later part answers.
func TestUnrecordedPartEndsItsStream(t *testing.T) {
	w := newWorld(t)
	first, err := w.hashPart(w.alice, []byte("a"), nil, true, false)
	if err != nil {
		t.Fatal(err)
	}
	w.store.refuse = core.Errorf(core.StoreUnavailable, "disk full")
	if _, err := w.hashPart(w.alice, []byte("b"), first.Correlation, false, false); core.CodeOf(err) != core.AuditUnavailable {
		t.Fatal(err)
	}
	w.store.refuse = nil
	if _, err := w.hashPart(w.alice, []byte("b"), first.Correlation, false, true); core.CodeOf(err) != core.InvalidCorrelationValue {
		t.Errorf("after a part that was not recorded: %v", err)
	}
	if n := w.streams; n.all != 0 || n.held != 0 || len(n.idle) != 0 {
		t.Errorf("left: %d streams, %d bytes", n.all, n.held)
	}
}

// An IV of no bytes is none: one is made, told, and used for every part.
func TestEmptyIVIsNone(t *testing.T) {
	w := newWorld(t)
	yes := true
	for _, mode := range []core.BlockCipherMode{core.BlockCipherModeGCM, core.BlockCipherModeCBC, core.BlockCipherModeCTR} {
		id := w.aesKey(core.TagActivationDate, core.Date(1))
		p := &core.CryptographicParameters{BlockCipherMode: mode}
		out, err := w.Encrypt(ctx, w.alice, &core.EncryptInput{ID: core.ID(id), Parameters: p, Data: make([]byte, 16), IV: []byte{}, Init: &yes})
		if err != nil || len(out.IV) == 0 {
			t.Errorf("%v: IV %x, %v", mode, out.IV, err)
			continue
		}
		for _, s := range w.streams.idle {
			if s.object == id && !bytes.Equal(s.given, out.IV) {
				t.Errorf("%v: the stream has IV %x and the client was told %x", mode, s.given, out.IV)
			}
		}
		if _, err := w.Decrypt(ctx, w.alice, &core.DecryptInput{ID: core.ID(id), Parameters: p, Data: make([]byte, 16), IV: []byte{}, Init: &yes}); core.CodeOf(err) != core.InvalidMessage {
			t.Errorf("%v, Decrypt without IV: %v", mode, err)
		}
	}
}

// What a stream remembers beside its data counts too.
func TestRememberedIsBounded(t *testing.T) {
	w := newWorld(t)
	yes := true
	id := w.aesKey(core.TagActivationDate, core.Date(1))
	big := make([]byte, maxHeldInAll/4+1)
	for i := range 4 {
		_, err := w.Encrypt(ctx, w.alice, &core.EncryptInput{ID: core.ID(id), Parameters: &core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM},
			Data: []byte("x"), IV: make([]byte, 12), AAD: big, Init: &yes})
		if (core.CodeOf(err) == core.Busy) != (i == 3) {
			t.Errorf("stream %d with %d bytes of Additional Data: %v", i+1, len(big), err)
		}
	}
}
