package custody

import (
	"context"
	"sync"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// Bounds on unwrapping by PKCS#1 v1.5. Anyone who may try often enough can decrypt the
// messages of others by its padding errors.
const (
	pkcs1Failures = 32                     // of one key within pkcs1Window; then the key is refused
	pkcs1Window   = time.Hour              // from the first failure
	pkcs1Answer   = 100 * time.Millisecond // answers come after multiples of it
	maxPKCS1Keys  = 1024                   // keys with failures at a time
)

// pkcs1Oracle guards unwrapping by PKCS#1 v1.5. Safe for concurrent use.
type pkcs1Oracle struct {
	mu       sync.Mutex
	failures map[[2]string]*pkcs1Count // by tenant and object
}

type pkcs1Count struct {
	since time.Time
	n     int
}

// guardUnwrap runs unwrap if the setting and the key allow it. The mask of the key must be
// only Unwrap Key: with Decrypt there would be a second oracle. Every try counts as a
// failure until it succeeds.
func (o *pkcs1Oracle) guardUnwrap(ctx context.Context, allowed bool, with core.Key, unwrap func() error) error {
	if !allowed {
		return core.Errorf(core.UnsupportedByHSM, "keys wrapped by PKCS#1 v1.5 are not unwrapped; use OAEP, or turn on hsm.unwrap_pkcs1")
	}
	if with.Mask != core.MaskUnwrapKey {
		return core.Errorf(core.IncompatibleUsageMask, "PKCS#1 v1.5 unwraps only under keys whose Cryptographic Usage Mask is Unwrap Key and nothing else; the mask of object %s is %v", with.ID, with.Mask)
	}
	start := time.Now()
	if err := o.chargeTry(with, start); err != nil {
		return err
	}
	err := unwrap()
	if core.CodeOf(err) != core.CryptographicFailure {
		o.refundTry(with)
	}
	wait := time.NewTimer(pkcs1Answer - time.Since(start)%pkcs1Answer)
	defer wait.Stop()
	select {
	case <-wait.C:
	case <-ctx.Done():
	}
	return err
}

// chargeTry counts a failure of a key, or refuses the try.
func (o *pkcs1Oracle) chargeTry(with core.Key, now time.Time) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := [2]string{with.Tenant, with.ID}
	if o.failures == nil {
		o.failures = map[[2]string]*pkcs1Count{}
	}
	if len(o.failures) >= maxPKCS1Keys {
		for id, c := range o.failures {
			if now.Sub(c.since) >= pkcs1Window {
				delete(o.failures, id)
			}
		}
	}
	c := o.failures[key]
	if c == nil || now.Sub(c.since) >= pkcs1Window {
		if c == nil && len(o.failures) >= maxPKCS1Keys {
			return core.Errorf(core.Busy, "%d keys have failed to unwrap by PKCS#1 v1.5 within an hour, which is the limit; try again in an hour, or use OAEP", maxPKCS1Keys)
		}
		c = &pkcs1Count{since: now}
		o.failures[key] = c
	}
	if c.n >= pkcs1Failures {
		return core.Errorf(core.PermissionDenied, "object %s has failed to unwrap %d times within an hour, so it does not unwrap by PKCS#1 v1.5 until the hour is over; use OAEP", with.ID, pkcs1Failures)
	}
	c.n++
	return nil
}

// refundTry takes a failure back.
func (o *pkcs1Oracle) refundTry(with core.Key) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if c := o.failures[[2]string{with.Tenant, with.ID}]; c != nil && c.n > 0 {
		c.n--
	}
}
