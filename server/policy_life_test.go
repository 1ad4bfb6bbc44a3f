package server_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/server/servertest"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// closeGate is a policy that denies Encrypt with a key, to everybody.
func closeGate(id string) string {
	return fmt.Sprintf(`{"keyId":%q,"statements":[{"sid":"closed","principal":"*","actions":["encrypt"],"effect":"deny"}]}`, id)
}

// A version that waits comes into force on both nodes by itself: what was answered before its
// time was permitted, and from then on nothing is. Lists say what waits. A version that was
// withdrawn never comes into force.
func TestWaitingPolicyOnTwoNodes(t *testing.T) {
	url := storetest.Postgres(t)
	one := servertest.Start(t, "KEYREEVE_DEV_STORE="+url)
	nodes := []*servertest.Server{one, secondNode(t, one, url)}
	var clients []*kmiptest.Client
	for _, s := range nodes {
		clients = append(clients, dialWith(t, s, clientTLS(t, s, "dev"), core.V1_4))
	}
	id := aesKey(t, clients[0], activeNow)
	applyPolicy(t, one, "gate", strings.Replace(closeGate(id), "deny", "allow", 1))
	at := time.Now().Add(4 * time.Second).Truncate(time.Second)
	text := at.UTC().Format(time.RFC3339)
	if out := applyPolicy(t, one, "gate", closeGate(id), "--at", text); !strings.Contains(out, "gate@2 waits until "+text) {
		t.Errorf("policy apply --at says %q; want that version 2 waits", out)
	}
	out, err := one.Command("policy", "history", "gate", "--dir", one.Dir)
	if err != nil || !strings.Contains(out, "gate@2 | waits until "+text) || !strings.Contains(out, "gate@1 | in force") {
		t.Errorf("policy history says %q, %v; want which version waits and which is in force", out, err)
	}
	for i, c := range clients {
		closed := false
		for !closed {
			began := time.Now()
			err := encryptOver(c, id)
			switch closed = kmiptest.Reason(err) == core.ReasonPermissionDenied; {
			case !closed && err != nil:
				t.Fatal(err)
			case closed && time.Now().Before(at):
				t.Fatalf("node %d denies before the time of the version", i)
			case !closed && !began.Before(at.Add(time.Second)):
				t.Fatalf("node %d permits what began a second after the time of the version", i)
			}
		}
	}
	assertReasons(t, one, "Encrypt", "statement gate@2/closed denies it", 2)

	if out, err := one.Command("policy", "rollback", "gate", "1", "--dir", one.Dir); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	at = time.Now().Add(2 * time.Second).Truncate(time.Second)
	applyPolicy(t, one, "gate", closeGate(id), "--at", at.UTC().Format(time.RFC3339))
	if out, err := one.Command("policy", "withdraw", "gate", "--dir", one.Dir); err != nil || !strings.Contains(out, "gate@5 is in force") {
		t.Fatalf("policy withdraw: %v: %s", err, out)
	}
	for time.Now().Before(at.Add(time.Second)) {
		time.Sleep(10 * time.Millisecond)
	}
	for i, c := range clients {
		if err := encryptOver(c, id); err != nil {
			t.Errorf("node %d after the time of a version that was withdrawn: %v", i, err)
		}
	}
}
