package client_test

import (
	"io"
	"net"
	"strings"
	"testing"
	"time"
)

// A proxy is asked for a connection to the server, and sees nothing else.
func TestProxy(t *testing.T) {
	p := atTerminal(t)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	seen := make(chan string, 1)
	go func() {
		c, err := l.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		c.SetDeadline(time.Now().Add(10 * time.Second))
		b := make([]byte, 4096)
		n, _ := c.Read(b)
		io.WriteString(c, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		seen <- string(b[:n])
	}()
	p.env = []string{"HTTPS_PROXY=http://" + l.Addr().String(), "NO_PROXY=", "KEYREEVE_URL=https://kms.example.com:8443", "KEYREEVE_TOKEN=kr1_s3cret_s3cret"}
	p.must(6, "", "key", "create")
	if got := <-seen; !strings.HasPrefix(got, "CONNECT kms.example.com:8443 HTTP/1.1\r\n") || strings.Contains(got, "s3cret") {
		t.Errorf("the proxy sees %q", got)
	}
	p.env = append(p.env, "NO_PROXY=example.com", "KEYREEVE_URL=https://127.0.0.1:1")
	p.must(6, "", "key", "create")
}
