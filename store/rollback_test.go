package store_test

import (
	"bytes"
	"io"
	"net"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// If a database hangs when a refused change is rolled back, the caller waits no longer than
// for any other query. It gets the error for which the change was refused.
func TestRollbackEnds(t *testing.T) {
	t.Parallel()
	s := created(t, silentAt(t, storetest.Postgres(t), "ROLLBACK\x00"))
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

// silentAt returns the URL of a way to a database that forwards nothing after the client
// has sent word.
func silentAt(t *testing.T, database, word string) string {
	t.Helper()
	target := storetest.Address(t, database)
	return storetest.Redirect(t, database, func(client net.Conn) {
		server, err := net.Dial("tcp", target)
		if err != nil {
			client.Close()
			return
		}
		go io.Copy(client, server)
		until(client, server, []byte(word))
	})
}

// until forwards the bytes of a client up to a word. Then it only reads until the client
// closes its connection.
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
