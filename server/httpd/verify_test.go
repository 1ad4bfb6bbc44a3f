package httpd

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/proof"
	"github.com/keyreeve/keyreeve/server/httpd/door"
)

// countedFor is an issuer of tokens that notes for whom wrong ones count.
type countedFor struct{ all []string }

func (*countedFor) Recognizes(string) bool { return true }

func (f *countedFor) ForConnection(address string) proof.IdentifyBearer {
	return func(context.Context, *core.Principal, string) (*core.Principal, error) {
		f.all = append(f.all, address)
		return nil, core.Errorf(core.AuthenticationNotSuccessful, "the token is not right")
	}
}

// Who asks about wrong tokens of others is not slowed down at the next login from its address.
func TestWrongTokensAskedAboutAreNoLogins(t *testing.T) {
	f := &countedFor{}
	s := &service{door.New(door.Options{Bearers: []proof.BearerAuthenticator{f}}), Options{}}
	r := httptest.NewRequest("POST", "https://x/v1/auth/verify", nil)
	for _, c := range []struct{ tenant, id string }{{"t", "a"}, {"t", "b"}, {"u", "a"}} {
		if p, err := s.principalOfToken(&core.Caller{Principal: &core.Principal{Tenant: c.tenant, ID: c.id}}, r, "wrong"); p != nil || err != nil {
			t.Errorf("a wrong token: %v, %v; want nobody", p, err)
		}
	}
	seen := map[string]bool{door.AddressOf(r): true}
	for _, address := range f.all {
		if seen[address] {
			t.Errorf("a wrong token counts for %q, as one of somebody else or a login from the address", address)
		}
		seen[address] = true
	}
}
