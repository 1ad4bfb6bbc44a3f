package handshake

import (
	"io"
	"net"
	"testing"
	"time"
)

// A client is busy: it reads nothing of what was sent, or goes on sending, for longer than
// quietTime, and only then reads. It gets all that was sent, and no reset.
func TestBusyClientReceivesAll(t *testing.T) {
	for what, isBusy := range map[string]func(client net.Conn){
		"it sends after a pause": func(client net.Conn) {
			time.Sleep(quietTime * 3 / 2)
			client.Write([]byte("more"))
		},
		"it sends all the time": func(client net.Conn) {
			for range 15 {
				client.Write([]byte("more"))
				time.Sleep(quietTime / 10)
			}
		},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			client, served := connectedPair(t)
			const sent = 128 << 10
			ended := make(chan error, 1)
			go func() {
				_, err := served.Write(make([]byte, sent))
				HearOut(served)
				served.Close()
				ended <- err
			}()
			isBusy(client)
			client.Write([]byte("even more"))
			got, err := io.ReadAll(client)
			if len(got) != sent || err != nil {
				t.Errorf("%d of %d bytes arrived, then %v", len(got), sent, err)
			}
			client.Close()
			if err := <-ended; err != nil {
				t.Errorf("the server's write: %v", err)
			}
		})
	}
}

// connectedPair returns the two ends of a TCP connection. The client's has little room, and
// the server's has room for all that a test sends.
func connectedPair(t *testing.T) (client, served *net.TCPConn) {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if client, err = net.DialTCP("tcp", nil, l.Addr().(*net.TCPAddr)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	client.SetReadBuffer(4096)
	if served, err = l.AcceptTCP(); err != nil {
		t.Fatal(err)
	}
	served.SetWriteBuffer(1 << 20)
	return client, served
}
