package hsm

import (
	"context"
	"sync"
)

// ivRoom is how many of the token's random bytes are kept for IVs.
const ivRoom = 4096

// ivs keeps random bytes of the token from which IVs are made, so that an encryption
// in memory does not wait for a session each time. An IV is no secret, but nobody may
// foresee it, so what was given out is zeroed. Keys are never made of it.
// Safe for concurrent use.
type ivs struct {
	mu   sync.Mutex
	kept []byte
}

// take moves len(iv) bytes to iv; false if there are too few.
func (v *ivs) take(iv []byte) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	rest := len(v.kept) - len(iv)
	if rest < 0 {
		return false
	}
	copy(iv, v.kept[rest:])
	clear(v.kept[rest:])
	v.kept = v.kept[:rest]
	return true
}

// put keeps fresh bytes in place of what is left.
func (v *ivs) put(fresh []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.kept)
	v.kept = fresh
}

// freshIV fills iv with random bytes of the token that nobody was given before.
func (t *Token) freshIV(ctx context.Context, iv []byte) error {
	if len(iv) > ivRoom/16 {
		return t.Random(ctx, iv)
	}
	if t.ivs.take(iv) {
		return nil
	}
	fresh := make([]byte, ivRoom)
	if err := t.Random(ctx, fresh); err != nil {
		return err
	}
	rest := ivRoom - len(iv)
	copy(iv, fresh[rest:])
	clear(fresh[rest:])
	t.ivs.put(fresh[:rest])
	return nil
}
