package door

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

var slotLimits = bounds.SlotLimits{Connections: 100, PerPeer: 100, Waiting: 100, WaitingPerNet: 100, PerPrincipal: 50, PerTenant: 50}

// Work ends when its client has gone, however it went and whatever it sent before.
func TestWorkEndsWithItsConnection(t *testing.T) {
	began, ended := make(chan bool, 100), make(chan bool, 100)
	d := New(Options{Auth: coretest.Always(&core.Principal{Tenant: "default", ID: "dev"}), Operation: time.Minute})
	slow := Route{answer: func(_ *core.Caller, r *http.Request) (any, error) {
		began <- true
		select {
		case <-r.Context().Done():
			ended <- true
		case <-time.After(20 * time.Second):
			ended <- false
		}
		return nil, core.Errorf(core.Busy, "the test gave up")
	}}
	h := httptest.NewUnstartedServer(nil)
	h.Config = Server(d.authenticated(d.routeHandler(slow)), nil, time.Minute)
	h.Listener = bounds.Listen(h.Listener, slotLimits, nil)
	h.StartTLS()
	defer h.Close()
	const request = "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
	for what, leave := range map[string]func(*tls.Conn){
		"close":                        func(c *tls.Conn) { c.Close() },
		"close without TLS' alert":     func(c *tls.Conn) { coretest.CloseBeneath(c, -1) },
		"reset":                        func(c *tls.Conn) { coretest.CloseBeneath(c, 0) },
		"close behind another request": func(c *tls.Conn) { fmt.Fprint(c, request); c.Close() },
		"close in another request":     func(c *tls.Conn) { fmt.Fprint(c, "G"); c.Close() },
	} {
		c, err := tls.Dial("tcp", h.Listener.Addr().String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(c, request)
		<-began
		leave(c)
		if !<-ended {
			t.Errorf("%s: the work goes on", what)
		}
	}
}

// Who a client is can change between two requests of one connection. The next
// request is the new principal's, and so is the connection's slot.
func TestPrincipalChangesBetweenRequests(t *testing.T) {
	a, b := &core.Principal{Tenant: "default", ID: "a"}, &core.Principal{Tenant: "default", ID: "b"}
	auth := coretest.Always(a)
	d := New(Options{Auth: auth, Operation: time.Minute})
	who := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Header().Set("Who", callerOf(r).Principal.ID) })
	h := httptest.NewUnstartedServer(nil)
	h.Config = Server(d.authenticated(who), nil, time.Minute)
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
