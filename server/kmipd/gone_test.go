package kmipd

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/certs"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/message"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
)

// newServer returns a door to the engine of w.
func newServer(w messagetest.World) *Server {
	log := slog.New(slog.DiscardHandler)
	limits := Limits{Slots: bounds.SlotLimits{Connections: 100, PerPeer: 100, Waiting: 100, WaitingPerNet: 100, PerPrincipal: 50, PerTenant: 50},
		Handshake: time.Minute, Read: time.Minute, Idle: time.Minute, Write: time.Minute, Operation: time.Minute}
	return &Server{Messages: message.New(message.VerbsOf(w.Engine), message.Settings{Log: log}), Logins: w.Engine, Auth: coretest.Always(w.Principal), Limits: limits, Log: log}
}

// listen serves a door over TLS on the loopback, for clients with the returned settings.
func listen(t testing.TB, srv *Server) (addr string, client *tls.Config) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return l.Addr().String(), serveOn(t, srv, l)
}

// serveOn serves a door over TLS on a listener, for clients with the returned settings.
func serveOn(t testing.TB, srv *Server, l net.Listener) (client *tls.Config) {
	t.Helper()
	dir := t.TempDir()
	if err := errors.Join(certs.Init(dir), certs.Issue(dir, certs.Request{Name: "dev", Tenant: "default"})); err != nil {
		t.Fatal(err)
	}
	client, err := kmiptest.Config(dir+"/certs", "dev")
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.LoadX509KeyPair(dir+"/certs/server.pem", dir+"/certs/server-key.pem")
	if err != nil {
		t.Fatal(err)
	}
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: client.RootCAs}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(context.Background(), l) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		srv.Shutdown(ctx)
		<-served
	})
	return client
}

// waiting is an HSM whose Clear lasts until its context ends.
type waiting struct {
	messagetest.HSM
	began, ended chan bool
}

func (w waiting) Clear(ctx context.Context, _ core.Key, dst []byte) ([]byte, error) {
	w.began <- true
	select {
	case <-ctx.Done():
		w.ended <- true
	case <-time.After(20 * time.Second):
		w.ended <- false
	}
	return nil, core.Errorf(core.TokenUnavailable, "the test's HSM gave up")
}

// Work ends when its client has gone, however it went and whatever it sent
// before, and when the operation has lasted too long.
func TestWorkEndsWithItsConnection(t *testing.T) {
	w := messagetest.New(t, messagetest.SameStore, audit.New("n"))
	get := w.Get
	hsm := waiting{began: make(chan bool, 100), ended: make(chan bool, 100)}
	w.HSM.HSM = hsm
	srv := newServer(w)
	addr, with := listen(t, srv)
	short := newServer(w)
	short.Limits.Operation = 300 * time.Millisecond
	shortAddr, shortWith := listen(t, short)
	noAlert := func(k *kmiptest.Client, linger int) { coretest.CloseBeneath(k.Conn.(*tls.Conn), linger) }
	for what, leave := range map[string]func(*kmiptest.Client){
		"close":                       func(k *kmiptest.Client) { k.Close() },
		"close without TLS' alert":    func(k *kmiptest.Client) { noAlert(k, -1) },
		"reset":                       func(k *kmiptest.Client) { noAlert(k, 0) },
		"close behind other requests": func(k *kmiptest.Client) { k.Conn.Write(get); k.Conn.Write(get); k.Close() },
		"close in another request":    func(k *kmiptest.Client) { k.Conn.Write(get[:20]); k.Close() },
		"reset behind other requests": func(k *kmiptest.Client) { k.Conn.Write(get); noAlert(k, 0) },
	} {
		k, err := kmiptest.Dial(addr, with, core.V1_4)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.Conn.Write(get); err != nil {
			t.Fatal(err)
		}
		<-hsm.began
		leave(k)
		if !<-hsm.ended {
			t.Errorf("%s: the work goes on", what)
		}
	}
	k, err := kmiptest.Dial(shortAddr, shortWith, core.V1_4)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	raw, err := k.Send(get)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := kmip.ParseResponse(raw); err != nil || len(r.Items) != 1 || r.Items[0].Reason != core.ReasonGeneralFailure {
		t.Errorf("an operation that lasts too long is answered %+v, %v", r, err)
	}
	<-hsm.began
	if !<-hsm.ended {
		t.Error("the work goes on after limits.operation")
	}
	if len(hsm.began) > 0 {
		t.Errorf("%d more requests were begun after their clients had gone", len(hsm.began))
	}
}
