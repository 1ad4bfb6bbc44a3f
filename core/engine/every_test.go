package engine

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// every does each operation once: on the key id, which is in a state that
// allows it, or on nothing.
var every = map[core.Operation]struct {
	object bool // it touches an object
	state  core.State
	do     func(w *world, c *core.Caller, id string) error
}{
	core.OperationActivate:         {true, core.PreActive, by("activate")},
	core.OperationRevoke:           {true, core.Active, by("compromise")},
	core.OperationDestroy:          {true, core.Deactivated, by("destroy")},
	core.OperationGet:              {true, core.Active, by("get")},
	core.OperationGetAttributes:    {true, core.Active, by("get attributes")},
	core.OperationGetAttributeList: {true, core.Active, by("get attribute list")},
	core.OperationAddAttribute:     {true, core.Active, by("add name")},
	core.OperationModifyAttribute:  {true, core.Active, by("modify attribute")},
	core.OperationSetAttribute:     {true, core.Active, by("set attribute")},
	core.OperationDeleteAttribute:  {true, core.Active, by("delete attribute")},
	core.OperationCheck:            {true, core.Active, by("check")},
	core.OperationReKey:            {true, core.Active, by("re-key")},
	core.OperationEncrypt:          {true, core.Active, by("encrypt")},
	core.OperationDecrypt:          {true, core.Active, by("decrypt")},
	core.OperationSign:             {true, core.Active, by("sign")},
	core.OperationSignatureVerify:  {true, core.Active, by("signature verify")},
	core.OperationMAC:              {true, core.Active, by("mac")},
	core.OperationMACVerify:        {true, core.Active, by("mac verify")},
	core.OperationCreate: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.Create(ctx, c, &core.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: attrs(core.TagCryptographicAlgorithm,
			core.Enum(core.AlgorithmAES), core.TagCryptographicUsageMask, core.Mask(core.MaskEncrypt))})
		return err
	}},
	core.OperationCreateKeyPair: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.CreateKeyPair(ctx, c, &core.CreateKeyPairInput{Common: attrs(core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmEC),
			core.TagCryptographicLength, core.Int(256), core.TagCryptographicUsageMask, core.Mask(core.MaskSign))})
		return err
	}},
	core.OperationRegister: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.Register(ctx, c, &core.RegisterInput{ObjectType: core.ObjectTypeOpaqueObject, Object: core.ObjectBody{Type: core.ObjectTypeOpaqueObject, OpaqueData: []byte("o")}})
		return err
	}},
	core.OperationLocate: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.Locate(ctx, c, &core.LocateInput{MaximumItems: -1})
		return err
	}},
	core.OperationQuery: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.Query(ctx, c, &core.QueryInput{Functions: []core.QueryFunction{core.QueryFunctionQueryOperations}})
		return err
	}},
	core.OperationDiscoverVersions: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.DiscoverVersions(ctx, c, &core.DiscoverVersionsInput{})
		return err
	}},
	core.OperationHash: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.Hash(ctx, c, &core.HashInput{Parameters: &core.CryptographicParameters{HashingAlgorithm: core.HashSHA256}, Data: []byte("d")})
		return err
	}},
	core.OperationRNGRetrieve: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.RNGRetrieve(ctx, c, &core.RNGRetrieveInput{Length: 8})
		return err
	}},
	core.OperationRNGSeed: {do: func(w *world, c *core.Caller, _ string) error {
		_, err := w.RNGSeed(ctx, c, &core.RNGSeedInput{Data: []byte("s")})
		return err
	}},
}

func by(step string) func(*world, *core.Caller, string) error {
	return func(w *world, c *core.Caller, id string) error { return w.step(c, step, id) }
}

// An operation that is learned later cannot be left out of the tests below.
func TestEveryOperationIsTried(t *testing.T) {
	have, want := slices.Sorted(maps.Keys(every)), slices.Sorted(slices.Values(Operations))
	if !slices.Equal(have, want) {
		t.Errorf("tried are %v, offered are %v", have, want)
	}
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
			{what: "broken policy", policy: rules{fail: core.Errorf(core.PolicyUnavailable, "broken")}, want: core.PolicyUnavailable, record: "denied"},
			{what: "forbidden", policy: closed{}, want: core.PermissionDenied, record: "denied"},
			{what: "no record", refuse: core.Errorf(core.StoreUnavailable, "disk full"), want: core.AuditUnavailable},
			{what: "another tenant's", who: func(w *world) *core.Caller { return w.out }, want: core.ItemNotFound, record: "failed"},
		} {
			w := newWorld(t)
			id := w.inState(core.Active)
			if e.object {
				id = w.inState(e.state)
			}
			for _, tenant := range []string{"default", "other"} {
				if err := w.EnsureTenant(ctx, tenant); err != nil {
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
				w.Policy = c.policy
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
type closed struct{ rules }

func (closed) Decide(context.Context, *core.AccessRequest) (core.Decision, error) {
	return core.Decision{Reasons: []string{"closed"}}, nil
}
