package custody

import (
	"bytes"
	"context"
	"sync"
	"testing"
)

// No byte of the token is given to two IVs, however many ask at once, and what was
// given out is zeroed.
func TestIVsAreGivenOnce(t *testing.T) {
	const size, each, callers = 12, 50, 8
	fresh := make([]byte, size*each*callers)
	for i := range len(fresh) / size {
		fresh[i*size], fresh[i*size+1] = byte(i), byte(i>>8)+1
	}
	backing := fresh
	var v ivSource
	v.replaceKept(fresh)
	var mu sync.Mutex
	seen := map[[size]byte]bool{}
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			for range each {
				var iv [size]byte
				if !v.takeKept(iv[:]) {
					t.Error("the bytes ended early")
					return
				}
				mu.Lock()
				if seen[iv] {
					t.Errorf("%x was given twice", iv)
				}
				seen[iv] = true
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	if v.takeKept(make([]byte, 1)) {
		t.Error("there was more than was put in")
	}
	if !bytes.Equal(backing, make([]byte, len(backing))) {
		t.Error("what was given out is still kept")
	}
}

// If the bytes that are kept come again, as after a snapshot of the machine's memory
// is put back, the IVs do not.
func TestIVsDoNotComeAgain(t *testing.T) {
	var v ivSource
	seen := map[string]bool{}
	for range 3 {
		v.replaceKept(make([]byte, 24))
		for range 2 {
			iv := make([]byte, 12)
			if err := v.fillIV(context.Background(), iv); err != nil {
				t.Fatal(err)
			}
			if seen[string(iv)] {
				t.Errorf("%x came again", iv)
			}
			seen[string(iv)] = true
		}
	}
}
