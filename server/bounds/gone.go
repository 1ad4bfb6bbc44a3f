package bounds

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"
)

// Gone reports whether the client of a TCP connection has closed its sending side
// or reset the connection. It sees that also while requests that have arrived are
// still unread. A client that closes its sending side before it has its answer is
// taken as gone, as net/http does: TCP does not tell the two apart.
//
// c may be wrapped. It reports false if c is not a TCP connection.
func Gone(c net.Conn) bool {
	raw := RawConn(c)
	if raw == nil {
		return false
	}
	gone := false
	err := raw.Control(func(fd uintptr) {
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLRDHUP}}
		n, err := unix.Poll(fds, 0)
		gone = err == nil && n > 0 && fds[0].Revents&(unix.POLLRDHUP|unix.POLLHUP|unix.POLLERR|unix.POLLNVAL) != 0
	})
	return gone || err != nil // an error: this side has closed it
}

// HasUnsent reports whether bytes that were written to a TCP connection have not reached
// the system of its client. They are lost if the connection is reset.
//
// c may be wrapped. It reports false if c is not a TCP connection.
func HasUnsent(c net.Conn) bool {
	raw := RawConn(c)
	if raw == nil {
		return false
	}
	unsent := 0
	err := raw.Control(func(fd uintptr) { unsent, _ = unix.IoctlGetInt(int(fd), unix.TIOCOUTQ) })
	return err == nil && unsent > 0
}

// RawConn returns the socket below a connection that may be wrapped. It returns nil
// if that is no TCP connection.
func RawConn(c net.Conn) syscall.RawConn {
	t := unwrap[*net.TCPConn](c)
	if t == nil {
		return nil
	}
	raw, err := t.SyscallConn()
	if err != nil {
		return nil
	}
	return raw
}
