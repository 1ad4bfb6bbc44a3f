package cli

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"
)

// The floor of the heap counts for the collector, and the system provides next to none of it. It is
// asked for in a process of its own, as at the start of a server: memory that others have used is
// resident already.
func TestHeapFloorIsNotTouched(t *testing.T) {
	const alone = "KEYREEVE_TEST_ALONE"
	if os.Getenv(alone) == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestHeapFloorIsNotTouched$")
		cmd.Env = append(os.Environ(), alone+"=1")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("%v\n%s", err, out)
		}
		return
	}
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
