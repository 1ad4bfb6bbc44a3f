package bounds

import (
	"context"
	"sync/atomic"
)

// FreeBytes is what a message or an answer may take without being counted. The
// bounds on connections bound it.
const FreeBytes = 4096

// Hold is what one request has reserved. The zero Hold has no account and
// reserves nothing. One goroutine at a time reserves; the last one releases.
type Hold struct {
	account *Account
	bytes   atomic.Int64
}

// For names the account that the hold reserves from. What it has reserved moves
// there, whether that account has room or not.
func (h *Hold) For(a *Account) {
	if bytes := h.bytes.Load(); bytes != 0 {
		a.Take(bytes)
		h.account.Release(bytes)
	}
	h.account = a
}

// Reserve takes more bytes, as [Account.Reserve] does. Up to FreeBytes are free.
func (h *Hold) Reserve(ctx context.Context, bytes int) error {
	if h.account == nil || bytes <= FreeBytes {
		return nil
	}
	if err := h.account.Reserve(ctx, int64(bytes)); err != nil {
		return err
	}
	h.bytes.Add(int64(bytes))
	return nil
}

// Take counts bytes that are there already.
func (h *Hold) Take(bytes int) {
	if h.account == nil || bytes <= FreeBytes {
		return
	}
	h.account.Take(int64(bytes))
	h.bytes.Add(int64(bytes))
}

// Release gives back all that is reserved.
func (h *Hold) Release() {
	if n := h.bytes.Swap(0); n != 0 {
		h.account.Release(n)
	}
}
