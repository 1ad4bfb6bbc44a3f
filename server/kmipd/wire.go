package kmipd

import (
	"net"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/keyreeve/keyreeve/core/fair"
)

// wire is the connection below TLS. It zeroes what crypto/tls leaves of requests:
// that package decrypts a record in the buffer it read it into and keeps the
// buffer as it is until the next record comes, so that an idle connection would
// hold the last key registered (docs/decisions/0006-nothing-stays-in-memory.md).
//
// It relies on three things, which TestWireForgets tries: TLS asks for bytes only
// when it has given away all it has decrypted; what it hands to Read is its
// buffer's free part to the end; and what it has read and not yet used, a part of
// one record, lies right before that. Should a Go release change the last two,
// records break and connections end; nothing is kept by that.
//
// It is used by one reader at a time, as TLS does.
type wire struct {
	net.Conn
	raw    syscall.RawConn // of Conn; nil: not a TCP connection, so Write does without
	turn   *fair.Turn      // of the request that is answered; nil before there is one
	room   []byte          // TLS' buffer, as far as it has been handed to Read; always to its end
	used   int             // of room: what lies behind has not been written to
	header [recordHeader]byte
	have   int // bytes read of the record under way
	left   int // bytes to come of it, when its header is whole
}

// Write writes to the connection. While the client does not read, the turn of its
// request pauses, so that it keeps no processor from others.
func (w *wire) Write(p []byte) (n int, err error) {
	if w.raw == nil || w.turn == nil {
		return w.Conn.Write(p)
	}
	var failed error
	paused := false
	err = w.raw.Write(func(fd uintptr) bool {
		if paused {
			w.turn.Resume()
		}
		for n < len(p) && failed == nil {
			var m int
			switch m, failed = unix.Write(int(fd), p[n:min(len(p), n+writePiece)]); failed {
			case nil:
				n += m
			case unix.EINTR:
				failed = nil
			case unix.EAGAIN:
				failed = nil
				paused = w.turn.Pause()
				return false
			}
		}
		return true
	})
	if paused {
		w.turn.Resume()
	}
	if err == nil && failed != nil {
		err = &net.OpError{Op: "write", Net: "tcp", Err: failed}
	}
	return n, err
}

// writePiece bounds one system call, in bytes.
const writePiece = 64 << 10

// recordHeader is the length of a TLS record's header in bytes; the last two are
// the length of the rest (RFC 8446 §5.1).
const recordHeader = 5

// Read first zeroes the bytes that the reader had before, then reads from the
// connection. It never reads past the end of a record, so that a buffer that was grown
// for the record is seen from its first byte when the next one begins.
func (w *wire) Read(p []byte) (int, error) {
	w.zeroUsed(p)
	part := p
	if w.left > 0 {
		part = p[:min(len(p), w.left)]
	}
	n, err := w.Conn.Read(part)
	w.used = len(w.room) - len(p) + n
	w.followRecords(part[:n])
	return n, err
}

// zeroUsed zeroes the buffer that p is the end of, except the part of a record before
// p. If TLS has replaced the buffer by a larger one, it zeroes all of the old one.
func (w *wire) zeroUsed(p []byte) {
	if len(p) == 0 {
		return
	}
	if len(w.room) == 0 || &w.room[len(w.room)-1] != &p[len(p)-1] {
		w.zeroAll()
		w.room = p
	}
	if before := len(p) - len(w.room); before > 0 {
		w.room, w.used = p, w.used+before
	}
	at := len(w.room) - len(p)
	clear(w.room[:max(0, at-w.have)])
	clear(w.room[at:max(at, w.used)])
}

// followRecords follows the records in what was read.
func (w *wire) followRecords(b []byte) {
	for len(b) > 0 {
		n := min(len(b), w.left)
		if w.have < recordHeader {
			n = copy(w.header[w.have:], b)
		} else {
			w.left -= n
		}
		b = b[n:]
		if w.have += n; w.have == recordHeader {
			w.left = int(w.header[3])<<8 | int(w.header[4])
		}
		if w.have >= recordHeader && w.left == 0 {
			w.have = 0
		}
	}
}

// zeroAll zeroes the rest of the buffer once nobody reads any more.
func (w *wire) zeroAll() {
	clear(w.room[:w.used])
	w.room, w.used = nil, 0
}
