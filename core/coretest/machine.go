package coretest

import (
	"crypto/tls"
	"net"
	"os"
	"syscall"
	"testing"
	"time"
)

// MemoryDir makes a folder that is removed after the test. It is in memory if the system
// has such a place: SoftHSM2 and databases write a lot of small files.
func MemoryDir(t testing.TB) string {
	t.Helper()
	base := "/dev/shm"
	if _, err := os.Stat(base); err != nil {
		base = os.TempDir()
	}
	dir, err := os.MkdirTemp(base, "keyreeve-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// ProcessorTime returns what this process has used so far on all processors: unlike the
// time on the wall, it does not grow because the machine is busy.
func ProcessorTime(t testing.TB) time.Duration {
	t.Helper()
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		t.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// CloseBeneath closes the TCP connection beneath one of TLS, so that TLS' alert is not
// sent. linger is that of [net.TCPConn.SetLinger]: with 0 the peer gets a reset.
func CloseBeneath(c *tls.Conn, linger int) {
	raw := c.NetConn().(*net.TCPConn)
	raw.SetLinger(linger)
	raw.Close()
}
