package hsm

import (
	"context"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// A handle is dropped while the library is started anew: the number it had is
// another object's now, which must stay.
func TestReapSparesTheNewLibrary(t *testing.T) {
	ctx := context.Background()
	tok := devToken(t)
	load := func(name string) {
		var keys []core.TenantKey
		for i, p := range []string{"N", "X", "C", "D", "R"} {
			k := core.TenantKey{Tenant: name, Purpose: p, Epoch: 1, Token: append([]byte(name + "---------------")[:15], byte(i)), State: "active"}
			if err := tok.MakeTenantKey(ctx, k); err != nil {
				t.Fatal(err)
			}
			keys = append(keys, k)
		}
		if err := tok.LoadTenantKeys(ctx, keys); err != nil {
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
	left, err := tok.Objects(ctx)
	if err != nil || len(left) != 15 {
		t.Errorf("%d of 15 tenant keys are left in the token (%v)", len(left), err)
	}
}
