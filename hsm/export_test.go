package hsm

import "github.com/keyreeve/keyreeve/core"

// Kept counts the keys of which a handle or a copy is kept.
func Kept(t *Token, keys []core.Key) (n int) {
	for i := range keys {
		if _, ok := t.copies.get(&keys[i], nil); ok {
			n++
			continue
		}
		if v := t.handles.pin(keys[i]); v != nil {
			t.handles.unpin(v)
			n++
		}
	}
	return n
}
