package custody_test

import (
	"bytes"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/hsmtest"
)

// Reconnects come while keys are used and evicted: what Encrypt acknowledged
// must decrypt under the key that was named, and no tenant key may go.
func TestHandlesDoNotOutliveTheLibrary(t *testing.T) {
	f := openFaulty(t, func(c *hsmtest.Settings) { c.Copies, c.Handles = -1, 4 })
	var keys []core.Key
	for i := range 24 {
		k := aesKey(fmt.Sprint("k", i))
		m, _, err := f.Generate(ctx, k, spec(core.KeyAES, core.ClassN, core.ModeWrapped, 256))
		keys = append(keys, keep(t, k, m, err))
	}
	before, err := f.Labels(ctx)
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var check []func() error
	stop := time.Now().Add(4 * time.Second)
	var wg sync.WaitGroup
	failed := map[string]int{}
	for w := range 6 {
		wg.Go(func() {
			for i := w; time.Now().Before(stop); i += 5 {
				k, text := keys[i%len(keys)], fmt.Appendf(nil, "text %d of %d", i, w)
				out, err := f.Encrypt(ctx, k, gcm(text))
				mu.Lock()
				if err != nil {
					failed[err.Error()]++
				} else if len(check) < 200000 {
					check = append(check, func() error {
						in := gcm(out.Data)
						in.IV, in.Tag = out.IV, out.Tag
						back, err := f.Decrypt(ctx, k, in)
						if err == nil && !bytes.Equal(back.Data, text) {
							err = fmt.Errorf("other text")
						}
						return err
					})
				}
				mu.Unlock()
			}
		})
	}
	pulses := 0
	wg.Go(func() {
		for time.Now().Before(stop) {
			f.Rule("C_GenerateRandom 0x30 0")
			f.Random(ctx, make([]byte, 16))
			f.Rule()
			pulses++
			time.Sleep(5 * time.Millisecond)
		}
	})
	wg.Wait()
	if pulses == 0 || len(check) == 0 {
		t.Fatalf("%d reconnects and %d ciphertexts: nothing was tried", pulses, len(check))
	}
	t.Logf("%d reconnects asked, %d encrypted; errors: %v", pulses, len(check), failed)
	if err := soon(func() error { return f.Random(ctx, make([]byte, 16)) }); err != nil {
		t.Error("after:", err)
	}
	after, err := f.Labels(ctx)
	t.Logf("token objects before %d, after %d (%v)", len(before), len(after), err)
	if len(after) != len(before) {
		t.Errorf("%d of %d token objects are left", len(after), len(before))
	}
	bad := map[string]int{}
	n := 0
	for _, c := range check {
		if err := c(); err != nil {
			bad[err.Error()]++
			n++
		}
	}
	if n > 0 {
		t.Errorf("%d of %d acknowledged ciphertexts do not decrypt: %v", n, len(check), bad)
	}
}
