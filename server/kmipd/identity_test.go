package kmipd

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
)

// connected opens a connection that ends with the test.
func connected(t *testing.T, addr string, client *tls.Config) *kmiptest.Client {
	t.Helper()
	c, err := kmiptest.Dial(addr, client, core.V1_4)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// serveOneSlot serves a door at which each principal has one slot. auth takes every client
// for the principal of w, until a test stores another one.
func serveOneSlot(t *testing.T, w messagetest.World) (auth *coretest.Authenticator, srv *Server, dial func() *kmiptest.Client) {
	t.Helper()
	auth, srv = coretest.Always(w.Principal), newServer(w)
	srv.Auth, srv.Memory, srv.Compute = auth, bounds.NewMemory(64<<20, 16<<20), fair.NewProcessors(1)
	srv.Limits.Slots.PerPrincipal = 1
	addr, client := listen(t, srv)
	return auth, srv, func() *kmiptest.Client { return connected(t, addr, client) }
}

// otherPrincipal is another principal of the tenant of w.
func otherPrincipal(w messagetest.World) *core.Principal {
	return &core.Principal{Tenant: w.Principal.Tenant, ID: "other", Method: "mtls"}
}

// The principal of a client can change between two messages of one connection. The next
// message is the new principal's, and so are the slot, the memory and the turn.
func TestPrincipalChangesBetweenMessages(t *testing.T) {
	w := messagetest.New(t, messagetest.SameStore, audit.New("n"))
	dev, other := w.Principal, otherPrincipal(w)
	auth, srv, dial := serveOneSlot(t, w)
	get := func(c *kmiptest.Client) core.ResultReason {
		t.Helper()
		raw, err := c.Send(w.Get)
		if err != nil {
			t.Fatal(err)
		}
		r, err := kmip.ParseResponse(raw)
		if err != nil || len(r.Items) != 1 {
			t.Fatalf("%+v, %v", r, err)
		}
		return r.Items[0].Reason
	}
	first := dial()
	if r := get(first); r != 0 {
		t.Fatalf("dev's Get of its own key: %v", r)
	}
	auth.Store(other)
	if r := get(first); r != core.ReasonPermissionDenied {
		t.Errorf("another principal's Get of the key: %v", r)
	}
	if u := srv.Memory.Usage(); u.Principals != 1 {
		t.Errorf("%d principals have accounts of one connection", u.Principals)
	}
	auth.Store(dev) // whose only slot a second connection takes
	second := dial()
	if r := get(second); r != 0 {
		t.Errorf("dev's second connection: %v", r)
	}
	if r := get(first); r != core.ReasonGeneralFailure {
		t.Errorf("a connection of a principal that has no slot left: %v", r)
	}
	if _, err := first.Send(w.Get); err == nil {
		t.Error("a connection that was refused stays open")
	}
	auth.Store(nil)
	if r := get(second); r != core.ReasonAuthenticationNotSuccessful {
		t.Errorf("evidence that has expired: %v", r)
	}
	if _, err := second.Send(w.Get); err == nil {
		t.Error("a connection whose evidence has expired stays open")
	}
	for end := time.Now().Add(10 * time.Second); srv.Memory.Usage().Principals > 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("afterwards: %+v", srv.Memory.Usage())
		}
	}
}

// keptEntries is a store whose records a test reads.
type keptEntries struct {
	core.Store
	mu   *sync.Mutex
	last *[]string
}

func (k keptEntries) Commit(ctx context.Context, c *core.Change) error {
	k.mu.Lock()
	for _, w := range c.Writes {
		if a, ok := w.(core.AppendEntry); ok {
			*k.last = append(*k.last, string(a.Entry.Body))
		}
	}
	k.mu.Unlock()
	return k.Store.Commit(ctx, c)
}

// If a connection belongs to another principal now, and that principal has no slot left,
// the message is refused and recorded as the new principal's.
func TestRefusedChangeNamesTheNewPrincipal(t *testing.T) {
	var mu sync.Mutex
	var last []string
	w := messagetest.New(t, func(s core.Store) core.Store { return keptEntries{s, &mu, &last} }, audit.New("n"))
	auth, _, dial := serveOneSlot(t, w)
	first := dial()
	if _, err := first.Send(w.Get); err != nil {
		t.Fatal(err)
	}
	auth.Store(otherPrincipal(w))
	second := dial()
	if _, err := second.Send(w.Get); err != nil {
		t.Fatal(err)
	}
	mu.Lock()
	last = nil
	mu.Unlock()
	if _, err := first.Send(w.Get); err != nil { // is other's now, who has a connection
		t.Fatal(err)
	}
	mu.Lock()
	defer mu.Unlock()
	for _, e := range last {
		if strings.Contains(e, `"principal":"dev"`) {
			t.Error("the record names dev, who the client is not any more")
		}
	}
	if len(last) == 0 {
		t.Error("the refusal left no record")
	}
}

// trusting takes every user name for a member of group dev, whatever the password.
type trusting struct{}

func (trusting) ForConnection(string) proof.IdentifySender {
	return func(_ context.Context, certificate *core.Principal, credentials []proof.Credential) (*core.Principal, error) {
		return &core.Principal{Tenant: certificate.Tenant, ID: credentials[0].Username, Groups: []string{"dev"}, Method: core.MethodPassword, Certificate: certificate}, nil
	}
}

// getAs returns the request of a Get by a user.
func getAs(t *testing.T, w messagetest.World, user string) []byte {
	t.Helper()
	given := proof.Credential{Type: core.CredentialTypeUsernameAndPassword, Username: user, Password: []byte("x")}
	msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{Credentials: []proof.Credential{given}}, kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID(w.Key)}))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// Messages of users count for the connection's certificate: its slot, memory and turn stay with that
// principal, also if another user sends the next one.
func TestUsersShareTheSlotOfTheCertificate(t *testing.T) {
	w := messagetest.New(t, messagetest.SameStore, audit.New("n"))
	srv := newServer(w)
	srv.Users, srv.Memory, srv.Compute = trusting{}, bounds.NewMemory(64<<20, 16<<20), fair.NewProcessors(1)
	srv.Limits.Slots.PerPrincipal = 1
	addr, client := listen(t, srv)
	c := connected(t, addr, client)
	for _, user := range []string{"alice", "bob", "alice"} {
		raw, err := c.Send(getAs(t, w, user))
		if err != nil {
			t.Fatal(err)
		}
		if r, err := kmip.ParseResponse(raw); err != nil || r.Items[0].Status != core.StatusSuccess {
			t.Fatalf("%s, of the key's group: %+v, %v", user, r, err)
		}
		if u := srv.Memory.Usage(); u.Principals != 1 {
			t.Errorf("after %s: %d principals have accounts of one connection", user, u.Principals)
		}
	}
	second, err := kmiptest.Dial(addr, client, core.V1_4)
	if err == nil {
		defer second.Close()
		if _, err = second.Send(getAs(t, w, "carol")); err == nil {
			t.Error("a second connection of the certificate was served; want its one slot to be taken")
		}
	}
}

// If the answer to a user's message comes too late, the record names the user. The next message,
// without credentials, is the certificate's again.
func TestLateAnswerIsRecordedForTheUser(t *testing.T) {
	var mu sync.Mutex
	var records []string
	w := messagetest.New(t, func(s core.Store) core.Store { return keptEntries{s, &mu, &records} }, audit.New("n"))
	hsm := waiting{began: make(chan bool, 10), ended: make(chan bool, 10)}
	w.HSM.HSM = hsm
	srv := newServer(w)
	srv.Users = trusting{}
	srv.Limits.Operation = 300 * time.Millisecond
	addr, client := listen(t, srv)
	late := func(msg []byte) string {
		t.Helper()
		mu.Lock()
		records = nil
		mu.Unlock()
		if _, err := connected(t, addr, client).Send(msg); err != nil {
			t.Fatal(err)
		}
		<-hsm.began
		<-hsm.ended
		mu.Lock()
		defer mu.Unlock()
		for _, r := range records {
			if strings.Contains(r, "left behind") {
				return r
			}
		}
		t.Fatal("no record says that the operation was left behind")
		return ""
	}
	if r := late(getAs(t, w, "alice")); !strings.Contains(r, `"alice"`) {
		t.Errorf("the record of alice's late Get is %s", r)
	}
	if r := late(w.Get); !strings.Contains(r, `"dev"`) {
		t.Errorf("the record of a late Get without credentials is %s", r)
	}
}

// A connection whose check hangs, as while an OCSP responder is silent, is asked once. The idle
// connections of clients that are refused meanwhile end, and those of others go on.
func TestSlowCheckDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		srv := &Server{conns: map[*conn]struct{}{}}
		add := func(identify func() (*core.Principal, error)) *conn {
			end, _ := net.Pipe()
			c := &conn{server: srv, tls: tls.Server(end, nil), identify: identify}
			c.idle.Store(true)
			srv.conns[c] = struct{}{}
			return c
		}
		var asked atomic.Int32
		answered := make(chan struct{})
		for range 50 {
			add(func() (*core.Principal, error) {
				asked.Add(1)
				<-answered
				return nil, nil
			})
		}
		good := add(func() (*core.Principal, error) { return nil, nil })
		refused := add(func() (*core.Principal, error) {
			return nil, core.Errorf(core.AuthenticationNotSuccessful, "revoked")
		})
		ctx, cancel := context.WithCancel(t.Context())
		go srv.watchIdentities(ctx)
		time.Sleep(4 * identifyEvery)
		synctest.Wait()
		if !refused.ending.Load() || good.ending.Load() || asked.Load() != 50 {
			t.Errorf("the refused one ends: %v, the good one: %v, and 50 slow checks were begun %d times", refused.ending.Load(), good.ending.Load(), asked.Load())
		}
		cancel()
		close(answered)
	})
}
