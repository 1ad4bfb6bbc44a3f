package hsm

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/core"
)

// RawGet is the limit that a Get of a key not in memory is measured by: the
// bare calls C_UnwrapKey, C_GetAttributeValue and C_DestroyObject on a class C
// key, in a loop on as many sessions, with nothing around them. It returns how
// many were done.
func (t *Token) RawGet(ctx context.Context, k core.Key, sessions int, d time.Duration) (int64, error) {
	var done atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, sessions)
	end := time.Now().Add(d)
	for range sessions {
		wg.Go(func() {
			errs <- t.do(ctx, "loop", func(s p11.SessionHandle) error {
				buf := make([]byte, 256)
				defer clear(buf)
				for time.Now().Before(end) {
					h, err := t.unwrap(s, k, template(p11.CKO_SECRET_KEY, p11.CKK_GENERIC_SECRET, false, true, nil), k.Material.Blob)
					if err != nil {
						return err
					}
					if _, err = t.glue.readValue(s, h, buf); err == nil {
						err = t.lib.DestroyObject(s, h)
					}
					if err != nil {
						return err
					}
					done.Add(1)
				}
				return nil
			})
		})
	}
	wg.Wait()
	for range sessions {
		if err := <-errs; err != nil {
			return 0, err
		}
	}
	return done.Load(), nil
}
