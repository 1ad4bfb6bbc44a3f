package member

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/keyreeve/keyreeve/hsm"
)

// MeasureReads measures the limit for a Get of a key that is not in memory: only the calls
// C_UnwrapKey, C_GetAttributeValue and C_DestroyObject on a class C key, in a loop in each
// of the sessions. It returns how many reads were done.
func (m *Module) MeasureReads(ctx context.Context, k hsm.Key, sessions int, d time.Duration) (int64, error) {
	var done atomic.Int64
	var wg sync.WaitGroup
	errs := make(chan error, sessions)
	end := time.Now().Add(d)
	k.Template = readableSecret
	for range sessions {
		wg.Go(func() {
			errs <- m.perform(ctx, call{doing: "read in a loop", run: func(s p11.SessionHandle, _ p11.ObjectHandle) error {
				buf := make([]byte, 256)
				defer clear(buf)
				for time.Now().Before(end) {
					h, err := m.unwrapBlob(s, &k)
					if err != nil {
						return err
					}
					if _, err = m.conn.glue.readValue(s, h, buf); err == nil {
						err = m.conn.ctx.DestroyObject(s, h)
					}
					if err != nil {
						return err
					}
					done.Add(1)
				}
				return nil
			}})
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
