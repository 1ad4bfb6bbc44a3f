package httpd

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/server/bounds"
)

// Who a client is can change between two requests of one connection. The next
// request is the new principal's, and so is the connection's slot.
func TestPrincipalChangesBetweenRequests(t *testing.T) {
	a, b := &core.Principal{Tenant: "default", ID: "a"}, &core.Principal{Tenant: "default", ID: "b"}
	auth := coretest.Always(a)
	s := &service{Options{Auth: auth, Operation: time.Minute}}
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Who", callerOf(r).Principal.ID) })
	h := httptest.NewUnstartedServer(nil)
	h.Config = Server(s.authenticated(who), nil, time.Minute)
	one := slotLimits
	one.PerPrincipal = 1
	h.Listener = bounds.Listen(h.Listener, one, nil)
	h.StartTLS()
	defer h.Close()
	dial := func() func() string {
		t.Helper()
		c, err := tls.Dial("tcp", h.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		answers := bufio.NewReader(c)
		return func() string {
			t.Helper()
			fmt.Fprint(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			res, err := http.ReadResponse(answers, nil)
			if err != nil {
				t.Fatal(err)
			}
			return res.Header.Get("Who")
		}
	}
	first, second := dial(), dial()
	for _, next := range []struct {
		ask  func() string
		as   *core.Principal
		want string
	}{{first, a, "a"}, {first, b, "b"}, {second, a, "a"}} {
		auth.Store(next.as)
		if got := next.ask(); got != next.want {
			t.Errorf("as %s the request is %q's", next.want, got)
		}
	}
}
