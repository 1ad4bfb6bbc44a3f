package kmipd

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
	"github.com/keyreeve/keyreeve/server/origin"
)

// countingMessages counts the answers that it makes.
type countingMessages struct {
	Messages
	answers atomic.Int64
}

func (m *countingMessages) Answer(ctx context.Context, o *origin.Origin, msg, buf []byte) []byte {
	defer m.answers.Add(1)
	return m.Messages.Answer(ctx, o, msg, buf)
}

// smallBuffer has a socket keep little of what is sent over it.
func smallBuffer(option int) func(_, _ string, c syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) error {
		return c.Control(func(fd uintptr) { syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, option, 8192) })
	}
}

// A client sends many requests and reads no answer for longer than lingerTime, so that
// the server waits to write one. Then the server stops. The client goes on sending while
// it reads: every answer that was made arrives, and the connection is not reset.
func TestSlowReaderGetsItsAnswersAtStop(t *testing.T) {
	t.Parallel()
	w := messagetest.New(t, messagetest.SameStore, audit.New("n"))
	srv := newServer(w)
	counted := &countingMessages{Messages: srv.Messages}
	srv.Messages = counted
	l, err := (&net.ListenConfig{Control: smallBuffer(syscall.SO_SNDBUF)}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := narrowClient(t, l.Addr().String(), serveOn(t, srv, l))
	const requests = 400
	for range requests {
		if _, err := c.Conn.Write(w.Get); err != nil {
			t.Fatal(err)
		}
	}
	time.Sleep(lingerTime + 100*time.Millisecond)
	stopped := make(chan error, 1)
	go func() { stopped <- srv.Shutdown(context.Background()) }()
	for srv.stoppingFor() == 0 {
		time.Sleep(time.Millisecond)
	}
	time.Sleep(stopRead + 100*time.Millisecond)
	arrived := readToEnd(t, c, w.Get)
	if err := <-stopped; err != nil {
		t.Errorf("the stop ends with %v", err)
	}
	if made := counted.answers.Load(); arrived != made || made == 0 || made == requests {
		t.Errorf("%d requests, %d answers were made, %d arrived; want some, not all, and each of them to arrive", requests, made, arrived)
	}
}

// narrowClient is a client that has little room for answers.
func narrowClient(t *testing.T, addr string, with *tls.Config) *kmiptest.Client {
	t.Helper()
	raw, err := (&net.Dialer{Timeout: time.Minute, Control: smallBuffer(syscall.SO_RCVBUF)}).Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { raw.Close() })
	return &kmiptest.Client{Conn: tls.Client(raw, with), Version: core.V1_4}
}

// readToEnd reads answers until the server ends the connection, and sends another request
// after each. It returns how many came.
func readToEnd(t *testing.T, c *kmiptest.Client, request []byte) (arrived int64) {
	t.Helper()
	for {
		if _, err := c.Receive(); err != nil {
			if !errors.Is(err, io.EOF) {
				t.Errorf("after %d answers the connection ends with %v", arrived, err)
			}
			return arrived
		}
		arrived++
		c.Conn.Write(request)
	}
}
