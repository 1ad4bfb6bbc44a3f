package directory

import (
	"context"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// heldStore is a store whose commits for one tenant wait until they may end.
type heldStore struct {
	*failingStore
	tenant     string
	begun, end chan struct{}
}

func (s *heldStore) Commit(ctx context.Context, ch *core.Change) error {
	if ch.Writes[0].ForTenant() == s.tenant {
		close(s.begun)
		<-s.end
	}
	return s.failingStore.Commit(ctx, ch)
}

// While the request of one tenant is being stored, that of another tenant is stored, and the same
// request of the first tenant does not wait twice.
func TestTenantsAskForApprovalsAtOnce(t *testing.T) {
	held := &heldStore{newSite(t, false).store, "slow", make(chan struct{}), make(chan struct{})}
	d := New(Ports{Store: held, Clock: &handClock{}})
	desk := NewApprovals(d, NewAccessFacts(d), nil)
	if err := d.Open(ctx); err != nil {
		t.Fatal(err)
	}
	ask := func(tenant string) (string, error) {
		return desk.AskApproval(ctx, &core.WaitingRequest{Tenant: tenant, Requester: tenant + "/alice", Action: core.ActionDestroy, Hash: make([]byte, 32), Now: 1_700_000_000, Expires: 1_700_003_600,
			Gates: []core.Gate{{Statement: "p@1/s", GateTerms: core.GateTerms{Approvals: &core.ApprovalTerms{Needed: 1, From: []string{"user:bob"}}}}}})
	}
	ids := make(chan string, 2)
	for range cap(ids) {
		go func() {
			id, err := ask("slow")
			if err != nil {
				t.Errorf("the tenant whose commit is slow: %v", err)
			}
			ids <- id
		}()
	}
	<-held.begun
	if id, err := ask("fast"); err != nil || id == "" {
		t.Errorf("another tenant meanwhile: %q, %v; want an approval", id, err)
	}
	close(held.end)
	if one, two := <-ids, <-ids; one != two {
		t.Errorf("the same request waits twice, as %s and %s", one, two)
	}
}
