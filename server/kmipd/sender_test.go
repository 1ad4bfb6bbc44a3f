package kmipd

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/fair"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/bounds"
	"github.com/keyreeve/keyreeve/server/message/messagetest"
)

// trusting takes every user name for a member of group dev, whatever the password.
type trusting struct{}

func (trusting) ForConnection(string) core.IdentifySender {
	return func(_ context.Context, certificate *core.Principal, credentials []core.Credential) (*core.Principal, error) {
		return &core.Principal{Tenant: certificate.Tenant, ID: credentials[0].Username, Groups: []string{"dev"}, Method: core.MethodPassword, Certificate: certificate}, nil
	}
}

// getAs returns the request of a Get by a user.
func getAs(t *testing.T, w messagetest.World, user string) []byte {
	t.Helper()
	given := core.Credential{Type: core.CredentialTypeUsernameAndPassword, Username: user, Password: []byte("x")}
	msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{Credentials: []core.Credential{given}}, kmiptest.Item(&kmip.Get, &core.GetInput{ID: core.ID(w.Key)}))
	if err != nil {
		t.Fatal(err)
	}
	return msg
}

// Messages of users count for the connection's certificate: its slot, memory and turn stay with that
// principal, whoever sends.
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
