package adminsocket_test

import (
	"errors"
	"net"
	"path/filepath"
	"testing"

	"github.com/keyreeve/keyreeve/server/adminsocket"
)

// A question that reached no server was not done. Of one that was sent and has no whole answer,
// nobody knows.
func TestAskWithoutAnAnswer(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "s")
	if err := adminsocket.Ask(socket, "GET", "/", nil, nil); !errors.Is(err, adminsocket.ErrNoServer) {
		t.Errorf("no server: %v", err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	for _, answer := range []string{"", "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"certificate\":"} {
		go func() {
			c, err := l.Accept()
			if err != nil {
				return
			}
			c.Read(make([]byte, 4096))
			c.Write([]byte(answer))
			c.Close()
		}()
		var out struct{ Certificate string }
		if err := adminsocket.Ask(socket, "POST", "/", nil, &out); !errors.Is(err, adminsocket.ErrNoAnswer) || errors.Is(err, adminsocket.ErrNoServer) {
			t.Errorf("the answer %q: %v", answer, err)
		}
	}
}
