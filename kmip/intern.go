package kmip

import "sync"

// Bounds of the table of Unique Identifiers: how many, and the longest in bytes.
const (
	maxInterned      = 16 * 1024
	maxInternedBytes = 64
)

// interned keeps one copy of each Unique Identifier: clients use few keys, again
// and again. A full table is cleared.
var interned = struct {
	sync.RWMutex
	m map[string]string
}{m: map[string]string{}}

func intern(b []byte) string {
	interned.RLock()
	s, ok := interned.m[string(b)]
	interned.RUnlock()
	if ok {
		return s
	}
	s = string(b)
	if len(s) > maxInternedBytes {
		return s
	}
	interned.Lock()
	defer interned.Unlock()
	if len(interned.m) >= maxInterned {
		clear(interned.m)
	}
	interned.m[s] = s
	return s
}
