package store_test

import (
	"bytes"
	"io"
	"net"
	"net/url"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// A database that stands still when a refused change is to be rolled back holds
// its caller no longer than any other question, and the change is refused for
// the reason that it was.
func TestRollbackEnds(t *testing.T) {
	t.Parallel()
	s, err := store.Create(ctx, silentAt(t, storetest.Postgres(t), "ROLLBACK\x00"), new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	birth := func() error {
		return s.Commit(ctx, core.ChangeOf(core.InsertObject{Object: storetest.Object("rollback", "twice")}))
	}
	if err := birth(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- birth() }()
	select {
	case err := <-ended:
		if core.CodeOf(err) != core.ObjectAlreadyExists {
			t.Errorf("the second birth: %v; want that it is there already", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("the caller waits for the ROLLBACK without end")
	}
	if _, err := s.Object(ctx, "rollback", "twice"); err != nil {
		t.Errorf("afterwards: %v", err)
	}
	s.Close() // not where a caller waits without end: it would wait for that one
}

// silentAt is the URL of a way to a database on which nothing gets through any
// more once the client has said word.
func silentAt(t *testing.T, database, word string) string {
	t.Helper()
	u, err := url.Parse(database)
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	target := u.Host
	u.Host = l.Addr().String()
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				return
			}
			go io.Copy(client, server)
			go until(client, server, []byte(word))
		}
	}()
	return u.String()
}

// until hands on what a client says, up to a word; then it listens alone, until
// the client has gone.
func until(client, server net.Conn, word []byte) {
	defer client.Close()
	defer server.Close()
	b := make([]byte, 64<<10)
	for quiet := false; ; {
		n, err := client.Read(b)
		if err != nil {
			return
		}
		if quiet = quiet || bytes.Contains(b[:n], word); quiet {
			continue
		}
		if _, err := server.Write(b[:n]); err != nil {
			return
		}
	}
}
