package cli

import (
	"fmt"
	"os"
	"runtime"
	"testing"
)

// The floor of the heap counts for the collector, and the system provides next to none of it.
func TestHeapFloorIsNotTouched(t *testing.T) {
	resident := func() (pages int) {
		text, err := os.ReadFile("/proc/self/statm")
		if err != nil {
			t.Fatal(err)
		}
		var size int
		fmt.Sscan(string(text), &size, &pages)
		return pages
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	pages := resident()
	floor := raiseHeap()
	pages = resident() - pages
	runtime.ReadMemStats(&after)
	if grown := after.HeapAlloc - before.HeapAlloc; grown < heapFloor/2 {
		t.Errorf("the heap has grown by %d bytes", grown)
	}
	if bytes := pages * os.Getpagesize(); bytes > heapFloor/4 {
		t.Errorf("%d bytes of the floor are resident", bytes)
	}
	runtime.KeepAlive(floor)
}
