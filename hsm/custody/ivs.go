package custody

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"sync"
)

// ivRoom is how many random bytes of the HSM are kept for IVs.
const ivRoom = 4096

// ivSource keeps random bytes of the HSM to make IVs of, so that an encryption in memory
// does not wait for a session each time. An IV is not secret, but nobody may predict it,
// so used bytes are zeroed. Keys are never made of these bytes. Safe for concurrent use.
type ivSource struct {
	random func(ctx context.Context, dst []byte) error // of the HSM

	mu   sync.Mutex
	kept []byte
}

// takeKept moves len(iv) kept bytes to iv. It reports false if there are too few.
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

// replaceKept keeps fresh bytes in place of the remaining ones.
func (v *ivSource) replaceKept(fresh []byte) {
	v.mu.Lock()
	defer v.mu.Unlock()
	clear(v.kept)
	v.kept = fresh
}

// fillIV fills iv with random bytes of the HSM, each used once, mixed with random bytes of
// the operating system. If a snapshot of this machine is restored, the kept bytes come
// again. The bytes of an operating system that notices the restore are new, so no IV comes
// again, which would break AES-GCM.
func (v *ivSource) fillIV(ctx context.Context, iv []byte) error {
	if err := v.fillFromKept(ctx, iv); err != nil {
		return err
	}
	fresh := make([]byte, len(iv))
	rand.Read(fresh) // never fails
	subtle.XORBytes(iv, iv, fresh)
	return nil
}

// fillFromKept fills iv with kept bytes, and gets more from the HSM if there are too few.
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
