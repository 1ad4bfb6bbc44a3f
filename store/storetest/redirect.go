package storetest

import (
	"net"
	"net/url"
	"testing"
)

// Redirect returns the URL of a database with another address in it: serve gets each
// connection to that address. The address is closed with the test.
func Redirect(t testing.TB, database string, serve func(client net.Conn)) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			client, err := l.Accept()
			if err != nil {
				return
			}
			go serve(client)
		}
	}()
	u := parseURL(t, database)
	u.Host = l.Addr().String()
	return u.String()
}

// Address returns the host and port in the URL of a database.
func Address(t testing.TB, database string) string {
	t.Helper()
	return parseURL(t, database).Host
}

func parseURL(t testing.TB, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}
