package directory

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
)

// requestOf returns a request of alice with an Idempotency-Key.
func requestOf(key, content string) *OnceRequest {
	return &OnceRequest{Principal: &core.Principal{Tenant: "t", ID: "alice"}, Route: "POST /v1/keys", Key: key, Content: []byte(content)}
}

// Two nodes that do not know of each other yet cannot both store what they have made. The second
// one then finds what the first has made. The database has neither the key nor the request.
func TestOnceOnTwoNodes(t *testing.T) {
	s, one, first := openWith(t, true, NewOnce)
	two := s.unopened()
	second := NewOnce(two)
	if err := two.Open(ctx); err != nil {
		t.Fatal(err)
	}
	r := requestOf("the key", "the content")
	a, err := first.Begin(r)
	if err != nil || a.Repeated {
		t.Fatal(a, err)
	}
	if _, err := first.Begin(r); core.CodeOf(err) != core.Conflict || core.RetryAfterOf(err) != 1 {
		t.Errorf("a repeat beside it: %v; want Conflict and 1 s", err)
	}
	b, err := second.Begin(r)
	if err != nil || b.Repeated {
		t.Fatal(b, err)
	}
	if err := first.Save(ctx, a.Once, "made by one"); err != nil {
		t.Fatal(err)
	}
	a.End()
	if err := second.Save(ctx, b.Once, "made by two"); core.CodeOf(err) != core.Conflict {
		t.Errorf("the second node stores its own: %v; want Conflict", err)
	}
	if made, found, err := second.ReadAgain(ctx, r); made != "made by one" || !found || err != nil {
		t.Errorf("the second node finds %q, %v, %v", made, found, err)
	}
	b.End()
	for _, node := range []*Once{first, second} {
		if got, err := node.Begin(r); err != nil || !got.Repeated || got.Made != "made by one" || got.Once != nil {
			t.Errorf("a repeat is %+v, %v", got, err)
		} else {
			got.End()
		}
		for what, other := range map[string]*OnceRequest{"content": requestOf("the key", "another content")} {
			if _, err := node.Begin(other); !errors.Is(err, ErrOtherRequest) {
				t.Errorf("another %s: %v; want ErrOtherRequest", what, err)
			}
		}
		for what, change := range map[string]func(*OnceRequest){"tenant": func(r *OnceRequest) { r.Principal = &core.Principal{Tenant: "u", ID: "alice"} },
			"principal": func(r *OnceRequest) { r.Principal = &core.Principal{Tenant: "t", ID: "bob"} }, "route": func(r *OnceRequest) { r.Route = "POST /v1/users" }, "key": func(r *OnceRequest) { r.Key = "other" }} {
			other := *r
			change(&other)
			if got, err := node.Begin(&other); err != nil || got.Repeated {
				t.Errorf("another %s is a repeat: %+v, %v", what, got, err)
			} else {
				got.End()
			}
		}
	}
	e, err := one.Get(core.EntryOnce, "t", r.entryID())
	if err != nil || strings.Contains(string(e.Body)+e.ID, "the key") || strings.Contains(string(e.Body), "the content") {
		t.Errorf("the entry is %+v, %v", e, err)
	}
	if day := int64(OnceLifetime / time.Second); len(first.Ended(s.clock.Now()+day-1, 10)) != 0 || len(first.Ended(s.clock.Now()+day, 10)) != 1 {
		t.Error("the entry does not end after a day")
	}
}

// A principal takes at most its share of the keys of a tenant. One that is refused is told when the
// first of its keys ends. Another tenant is not concerned.
func TestOnceIsBounded(t *testing.T) {
	s, _, once := openWith(t, false, NewOnce)
	now := s.clock.Now()
	add := func(tenant, principal string, n int, ends int64) {
		for i := range n {
			id := fmt.Sprint(tenant, principal, i)
			once.known[id] = knownEnding{tenant: tenant, principal: principal, ends: ends}
			if once.ofTenant[tenant] == nil {
				once.ofTenant[tenant] = map[string]bool{}
			}
			once.ofTenant[tenant][id] = true
		}
	}
	begin := func(want core.Code, wait int64) {
		t.Helper()
		got, err := once.Begin(requestOf("a", ""))
		if err == nil {
			got.End()
		}
		if core.CodeOf(err) != want && (err != nil || want != core.Internal) || core.RetryAfterOf(err) != wait {
			t.Errorf("%v, %d s; want code %v and %d s", err, core.RetryAfterOf(err), want, wait)
		}
	}
	add("t", "bob", 1, now+10)
	add("t", "alice", maxOncePerPrincipal-1, now+100)
	begin(core.Internal, 0)
	add("t", "alice", maxOncePerPrincipal, now+100)
	begin(core.TooManyRequests, 100)
	add("t", "alice", maxOncePerPrincipal, now)
	begin(core.TooManyRequests, 1)
	clear(once.known)
	clear(once.ofTenant)
	add("u", "carol", maxOncePerTenant, now+100)
	begin(core.Internal, 0)
	add("t", "bob", maxOncePerTenant/2, now+50)
	add("t", "carol", maxOncePerTenant/2, now+60)
	begin(core.TooManyRequests, 50)
}
