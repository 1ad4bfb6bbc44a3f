package engine_test

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/kmip"
)

// triedAction does an operation once.
type triedAction struct {
	object bool // it touches an object
	state  core.State
	do     func(w *world, c *core.Caller, id string) error
	pair   bool // the object is the private key of a pair
}

// objectOf makes the object that an action is tried with.
func (w *world) objectOf(e triedAction) string {
	if e.pair {
		return w.keyPair().PrivateID
	}
	return w.inState(e.state)
}

// every does each operation once: on the key id, which is in a state that
// allows it, or on nothing.
var every = map[core.Action]triedAction{
	core.ActionActivate:         {object: true, state: core.PreActive, do: by("activate")},
	core.ActionRevoke:           {object: true, state: core.Active, do: by("compromise")},
	core.ActionDestroy:          {object: true, state: core.Deactivated, do: by("destroy")},
	core.ActionArchive:          {object: true, state: core.Active, do: by("archive")},
	core.ActionRecover:          {object: true, state: core.Active, do: by("recover")},
	core.ActionGet:              {object: true, state: core.Active, do: by("get")},
	core.ActionGetAttributes:    {object: true, state: core.Active, do: by("get attributes")},
	core.ActionGetAttributeList: {object: true, state: core.Active, do: by("get attribute list")},
	core.ActionAddAttribute:     {object: true, state: core.Active, do: by("add name")},
	core.ActionModifyAttribute:  {object: true, state: core.Active, do: by("modify attribute")},
	core.ActionSetAttribute:     {object: true, state: core.Active, do: by("set attribute")},
	core.ActionDeleteAttribute:  {object: true, state: core.Active, do: by("delete attribute")},
	core.ActionCheck:            {object: true, state: core.Active, do: by("check")},
	core.ActionReKey:            {object: true, state: core.Active, do: by("re-key")},
	core.ActionDeriveKey:        {object: true, state: core.Active, do: by("derive")},
	core.ActionReKeyKeyPair: {object: true, pair: true, do: func(w *world, c *core.Caller, id string) error {
		_, err := w.ReKeyKeyPair(ctx, c, &operation.RekeyKeyPairInput{ID: core.ID(id)})
		return err
	}},
	core.ActionEncrypt:         {object: true, state: core.Active, do: by("encrypt")},
	core.ActionDecrypt:         {object: true, state: core.Active, do: by("decrypt")},
	core.ActionSign:            {object: true, state: core.Active, do: by("sign")},
	core.ActionSignatureVerify: {object: true, state: core.Active, do: by("signature verify")},
	core.ActionMAC:             {object: true, state: core.Active, do: by("mac")},
	core.ActionMACVerify:       {object: true, state: core.Active, do: by("mac verify")},
	core.ActionCreate: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.Create(ctx, c, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm,
			core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))})
		return err
	}},
	core.ActionCreateKeyPair: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.CreateKeyPair(ctx, c, &operation.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC),
			core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(core.MaskSign))})
		return err
	}},
	core.ActionRegister: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.Register(ctx, c, &operation.RegisterInput{ObjectType: core.ObjectTypeOpaqueObject, Object: core.ObjectBody{Type: core.ObjectTypeOpaqueObject, OpaqueData: []byte("o")}})
		return err
	}},
	core.ActionLocate: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.Locate(ctx, c, &operation.LocateInput{MaximumItems: -1})
		return err
	}},
	core.ActionQuery: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.Query(ctx, c, &operation.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
		return err
	}},
	core.ActionDiscoverVersions: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.DiscoverVersions(ctx, c, &operation.DiscoverVersionsInput{})
		return err
	}},
	core.ActionHash: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.Hash(ctx, c, &operation.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: []byte("d")})
		return err
	}},
	core.ActionRNGRetrieve: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.RNGRetrieve(ctx, c, &operation.RNGRetrieveInput{Length: 8})
		return err
	}},
	core.ActionRNGSeed: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.RNGSeed(ctx, c, &operation.RNGSeedInput{Data: []byte("s")})
		return err
	}},
}

func by(step string) func(*world, *core.Caller, string) error {
	return func(w *world, c *core.Caller, id string) error { return w.step(c, step, id) }
}

// An operation that is learned later cannot be left out of the tests below.
func TestEveryOperationIsTried(t *testing.T) {
	have := slices.Sorted(maps.Keys(every))
	var want []core.Action
	for _, row := range kmip.Operations() {
		want = append(want, core.ActionOf(row.Code))
	}
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("tried are %v, offered are %v", have, want)
	}
}

// The policy is asked as the table of actions says: without an object, about one, or
// both. The record has the action too.
func TestActionsTouchWhatTheTableSays(t *testing.T) {
	for action, e := range every {
		w := newWorld(t)
		id := w.inState(core.Active)
		if e.object {
			id = w.objectOf(e)
		}
		j, asked := &keptRecords{}, &askedPolicy{Policy: w.Ports.Policy}
		w.Ports.Journal, w.Ports.Policy = j, asked
		if err := e.do(w, w.alice, id); err != nil {
			t.Errorf("%v: %v", action, err)
			continue
		}
		want := action.Info().Objects
		if bare, with := want != core.OneObject, want != core.NoObject; asked.bare[action] != bare || asked.with[action] != with {
			t.Errorf("%v: the policy was asked without an object: %v, about one: %v; the table says %v, %v", action, asked.bare[action], asked.with[action], bare, with)
		}
		if r := j.last(); r.Action != action {
			t.Errorf("%v is recorded as %v", action, r.Action)
		}
	}
}

// askedPolicy notes which actions it was asked for.
type askedPolicy struct {
	core.Policy
	bare, with map[core.Action]bool
}

func (p *askedPolicy) Decide(ctx context.Context, r *core.AccessRequest) (core.Decision, error) {
	if p.bare == nil {
		p.bare, p.with = map[core.Action]bool{}, map[core.Action]bool{}
	}
	if r.Object == nil {
		p.bare[r.Action] = true
	} else {
		p.with[r.Action] = true
	}
	return p.Policy.Decide(ctx, r)
}

// Each operation, however it ends, leaves exactly one record that says so. When
// it is denied, when the policy is broken and when the record cannot be stored,
// it is not answered and changes nothing.
func TestEveryOperationLeavesOneRecord(t *testing.T) {
	for op, e := range every {
		for _, c := range []struct {
			what   string
			policy core.Policy
			refuse error
			who    func(w *world) *core.Caller
			want   core.Code // Internal: it is allowed
			record string
		}{
			{what: "allowed", record: "allowed", want: core.Internal},
			{what: "broken policy", policy: tenantPolicy{fail: core.Errorf(core.PolicyUnavailable, "broken")}, want: core.PolicyUnavailable, record: "denied"},
			{what: "forbidden", policy: closed{}, want: core.PermissionDenied, record: "denied"},
			{what: "no record", refuse: core.Errorf(core.StoreUnavailable, "disk full"), want: core.AuditUnavailable},
			{what: "another tenant's", who: func(w *world) *core.Caller { return w.out }, want: core.ItemNotFound, record: "failed"},
		} {
			w := newWorld(t)
			id := w.inState(core.Active)
			if e.object {
				id = w.objectOf(e)
			}
			for _, tenant := range []string{"default", "other"} {
				if err := w.Tenants.Load(ctx, tenant); err != nil {
					t.Fatal(err)
				}
			}
			who := w.alice
			if c.who != nil {
				if who = c.who(w); !e.object {
					continue
				}
			}
			if c.policy != nil {
				w.Ports.Policy = c.policy
			}
			before, objects, records := maps.Clone(w.store.objects), len(w.store.objects), len(w.store.entries)
			w.store.refuse = c.refuse
			err := e.do(w, who, id)
			w.store.refuse = nil
			if (err == nil) != (c.want == core.Internal) || core.CodeOf(err) != c.want {
				t.Errorf("%v, %s: %v; want code %v", op, c.what, err, c.want)
			}
			if err != nil && (len(w.store.objects) != objects || !maps.Equal(before, w.store.objects)) {
				t.Errorf("%v, %s: it was not answered, and changed something", op, c.what)
			}
			got := w.store.entries[records:]
			if c.record == "" {
				if len(got) != 0 {
					t.Errorf("%v, %s: %d records were stored", op, c.what, len(got))
				}
				continue
			}
			if len(got) != 1 || !strings.HasPrefix(string(got[0].Body), op.String()+" "+c.record+" ") {
				t.Errorf("%v, %s: %d records; want one that says %s", op, c.what, len(got), c.record)
			}
		}
	}
}

// closed is a policy that denies.
type closed struct{ tenantPolicy }

func (closed) Decide(context.Context, *core.AccessRequest) (core.Decision, error) {
	return core.Decision{Reasons: []string{"closed"}}, nil
}
