package member

import (
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// A handle is dropped while the library is started again: the number it had is
// another object's now, which must stay.
func TestDroppedHandlesSpareTheNewLibrary(t *testing.T) {
	s, _ := newTenantSite(t)
	m := s.module
	m.conn.broken.Store(true) // a first fault, long ago
	if err := m.conn.reconnect(); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		k := core.Key{Tenant: "default", ID: string(rune('A' + i)), Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Mask: core.MaskEncrypt}
		material, _, err := s.Generate(bg, k, core.KeySpec{Kind: core.KeyAES, Class: core.ClassN, Mode: core.ModeWrapped, Bits: 256, Format: core.KeyFormatTypeRaw})
		if err != nil {
			t.Fatal(err)
		}
		k.Material = &material
		ref, err := s.Reference(k)
		if err != nil {
			t.Fatal(err)
		}
		v, err := m.pinHandle(bg, &ref)
		if err != nil {
			t.Fatal(err)
		}
		m.handles.releasePin(v)
	}
	for n, tenant := range []string{"second", "third"} {
		if err := s.LoadKeySets(bg, []core.KeySet{s.makeSet(t, int64(n+2), tenant)}); err != nil {
			t.Fatal(err)
		}
	}
	// As reconnect does, with the drops arriving while it works.
	if err := m.conn.gate.closeWithin(time.Second); err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		m.handles.dropAll()
		close(done)
	}()
	time.Sleep(50 * time.Millisecond)
	m.conn.sessions.discardIdle()
	if err := m.conn.restart(); err != nil {
		t.Fatal(err)
	}
	m.conn.gate.reopen()
	<-done
	if left := s.labels(t); len(left) != 4*len(core.KeyPurposes) {
		t.Errorf("%d keys of 4 sets are left in the token", len(left))
	}
}
