package server

import (
	"context"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// proven is an authenticator that always names the same principal.
type proven struct{ principal *core.Principal }

func (a proven) Identify(core.Evidence) func() (*core.Principal, error) {
	return func() (*core.Principal, error) { return a.principal, nil }
}

type declaredTenants struct{ asked int }

func (d *declaredTenants) RequireDeclared(context.Context, string) error { d.asked++; return nil }

// Who a client is costs next to nothing to ask for each message: the tenant is
// looked up once, and nothing is allocated. A principal is refused from the second
// in which its proof ends, also if its authenticator does not notice.
func TestAdmission(t *testing.T) {
	p := &core.Principal{Tenant: "acme", ID: "dev", Expires: time.Now().Add(time.Hour).Unix()}
	tenants := &declaredTenants{}
	identify := admission{auth: proven{p}, tenants: tenants}.Identify(core.Evidence{})
	if n := testing.AllocsPerRun(100, func() {
		if got, err := identify(); err != nil || got != p {
			t.Fatalf("%+v, %v", got, err)
		}
	}); n != 0 || tenants.asked != 1 {
		t.Errorf("%v allocations, %d looks at the tenant", n, tenants.asked)
	}
	p.Expires = time.Now().Unix() - 1
	if _, err := identify(); core.CodeOf(err) != core.AuthenticationNotSuccessful {
		t.Errorf("a proof that has expired: %v", err)
	}
}
