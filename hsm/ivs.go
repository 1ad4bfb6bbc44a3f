package hsm

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
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

// freshIV fills iv with random bytes of the token that nobody was given before, mixed
// with random bytes of the operating system. If a snapshot of this machine's memory is
// put back, the bytes that are kept come again, and those of a system that notices the
// snapshot do not: an IV that came again would break AES-GCM.
func (t *Token) freshIV(ctx context.Context, iv []byte) error {
	if err := t.keptIV(ctx, iv); err != nil {
		return err
	}
	fresh := make([]byte, len(iv))
	rand.Read(fresh) // never fails
	subtle.XORBytes(iv, iv, fresh)
	return nil
}

// keptIV fills iv with bytes that are kept, or gets more of them.
func (t *Token) keptIV(ctx context.Context, iv []byte) error {
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
