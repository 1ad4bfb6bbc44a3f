package hsm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// A handle is dropped while the library is started anew: the number it had is
// another object's now, which must stay.
func TestReapSparesTheNewLibrary(t *testing.T) {
	ctx := context.Background()
	tok := devToken(t)
	id := strings.Repeat("0", 32)
	if _, err := tok.MakeSystemSet(ctx, id); err != nil {
		t.Fatal(err)
	}
	if err := tok.OpenInstallation(ctx, id); err != nil {
		t.Fatal(err)
	}
	var number int64
	load := func(name string) {
		number++
		set := core.KeySet{Number: number, Tenant: name, Epoch: 1, State: core.KeySetActive}
		var err error
		if set.Checks, err = tok.MakeKeySet(ctx, set); err != nil {
			t.Fatal(err)
		}
		if err := tok.LoadKeySets(ctx, []core.KeySet{set}); err != nil {
			t.Fatal(err)
		}
	}
	load("default")
	tok.broken.Store(true) // a first fault, long ago
	if err := tok.reconnect(); err != nil {
		t.Fatal(err)
	}
	for i := range 40 {
		k := core.Key{Tenant: "default", ID: string(rune('A' + i)), Type: core.ObjectTypeSymmetricKey, Algorithm: core.AlgorithmAES, Mask: core.MaskEncrypt}
		m, _, err := tok.Generate(ctx, k, core.KeySpec{Kind: core.KeyAES, Class: core.ClassN, Mode: core.ModeWrapped, Bits: 256, Format: core.KeyFormatTypeRaw})
		if err != nil {
			t.Fatal(err)
		}
		k.Material = &m
		v, err := tok.use(ctx, k)
		if err != nil {
			t.Fatal(err)
		}
		tok.handles.unpin(v)
	}
	load("second")
	load("third")
	// As reconnect does, with the drops arriving while it works.
	if err := tok.life.alone(time.Second); err != nil {
		t.Fatal(err)
	}
	done := make(chan bool)
	go func() {
		tok.handles.forgetAll()
		close(done)
	}()
	time.Sleep(50 * time.Millisecond)
	tok.drainIdle()
	if err := tok.restart(); err != nil {
		t.Fatal(err)
	}
	tok.life.over()
	<-done
	left, err := tok.Labels(ctx)
	if err != nil || len(left) != 4*len(core.KeyPurposes) {
		t.Errorf("%d keys of 4 sets are left in the token (%v)", len(left), err)
	}
}
