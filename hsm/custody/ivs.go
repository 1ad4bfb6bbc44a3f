package custody

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"sync"
)

// ivRoom is how many of the token's random bytes are kept for IVs.
const ivRoom = 4096

// ivSource keeps random bytes of the HSM from which IVs are made, so that an
// encryption in memory does not wait for a session each time. An IV is no secret, but
// nobody may foresee it, so what was given out is zeroed. Keys are never made of it.
// Safe for concurrent use.
type ivSource struct {
	random func(ctx context.Context, dst []byte) error // of the HSM

	mu   sync.Mutex
	kept []byte
}

// takeKept moves len(iv) bytes to iv; false if there are too few.
func (v *ivSource) takeKept(iv []byte) bool {
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

// replaceKept keeps fresh bytes in place of what is left.
func (v *ivSource) replaceKept(fresh []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.kept)
	v.kept = fresh
}

// fillIV fills iv with random bytes of the HSM that nobody was given before, mixed
// with random bytes of the operating system. If a snapshot of this machine's memory is
// put back, the bytes that are kept come again, and those of a system that notices the
// snapshot do not: an IV that came again would break AES-GCM.
func (v *ivSource) fillIV(ctx context.Context, iv []byte) error {
	if err := v.fillFromKept(ctx, iv); err != nil {
		return err
	}
	fresh := make([]byte, len(iv))
	rand.Read(fresh) // never fails
	subtle.XORBytes(iv, iv, fresh)
	return nil
}

// fillFromKept fills iv with bytes that are kept, or gets more of them.
func (v *ivSource) fillFromKept(ctx context.Context, iv []byte) error {
	if len(iv) > ivRoom/16 {
		return v.random(ctx, iv)
	}
	if v.takeKept(iv) {
		return nil
	}
	fresh := make([]byte, ivRoom)
	if err := v.random(ctx, fresh); err != nil {
		return err
	}
	rest := ivRoom - len(iv)
	copy(iv, fresh[rest:])
	clear(fresh[rest:])
	v.replaceKept(fresh[:rest])
	return nil
}
