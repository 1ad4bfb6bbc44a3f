// Package messagetest makes an engine for tests of messages and of the doors that
// bring them. Its HSM keeps keys in memory. Store and policy
// are the real ones, in a folder that is removed after the test. Start at [New].
package messagetest

import (
	"bytes"
	"context"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/objects"
	"github.com/keyreeve/keyreeve/keys/format"
	"github.com/keyreeve/keyreeve/keys/soft"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/store"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// HSM is an HSM that has the key in memory, as custody.Custody has a class C key's
// copy; tests of package custody hold that one to no allocation.
type HSM struct {
	core.HSM
	Key []byte
}

func (h HSM) LoadKeySets(context.Context, []core.KeySet) error        { return nil }
func (h HSM) MakeKeySet(context.Context, core.KeySet) ([]byte, error) { return []byte("c"), nil }
func (h HSM) KeySets(context.Context) ([]core.TokenKeySet, error)     { return nil, nil }
func (h HSM) DestroyKeySet(context.Context, core.KeySet) error        { return nil }
func (h HSM) KeySetExists(context.Context, int64) (bool, error)       { return false, nil }
func (h HSM) Clear(_ context.Context, _ core.Key, dst []byte) ([]byte, error) {
	return append(dst, h.Key...), nil
}
func (h HSM) Forget(tenant, id string) {}

func (h HSM) ForgetTenant(tenant string) {}
func (h HSM) Generate(_ context.Context, _ core.Key, s core.KeySpec) (core.Material, core.KeyFacts, error) {
	return core.Material{Mode: s.Mode, Class: s.Class, Kind: s.Kind, Format: s.Format, Length: len(h.Key), Blob: h.Key, MAC: []byte("m"), Wrap: "aes-kw", Epoch: 1}, core.KeyFacts{}, nil
}

// World is an engine with one key, and what a client needs to ask for it.
type World struct {
	Engine    *engine.Engine
	Principal *core.Principal
	Key       string // its Unique Identifier
	Get       []byte // the request of a Get of the key, KMIP 1.4
	HSM       *Exchange
}

// Exchange is an HSM that a test exchanges for another one between requests.
type Exchange struct{ core.HSM }

// SameStore leaves the store as it is.
func SameStore(s core.Store) core.Store { return s }

// New returns a World whose records go through j and whose changes go through the
// store that wrapStore returns.
func New(t testing.TB, wrapStore func(core.Store) core.Store, j core.Journal) World {
	t.Helper()
	ctx := context.Background()
	s, err := store.Create(ctx, "sqlite:"+filepath.Join(coretest.MemoryDir(t), "k.db"), new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	policy, err := authz.Load(ctx, authz.Options{}, core.PolicySource{Policy: keyreeve.Policy, Tests: keyreeve.PolicyTests})
	if err != nil {
		t.Fatal(err)
	}
	hsm := &Exchange{HSM{Key: bytes.Repeat([]byte{7}, 32)}}
	e := engine.New(engine.Ports{Store: wrapStore(s), HSM: hsm, Policy: policy, Journal: j, Formats: format.With(soft.Digest, kmip.AppendKeyValue, kmip.ReadKeyValue), Log: slog.New(slog.DiscardHandler)}, engine.Settings{})
	p := &core.Principal{Tenant: "default", ID: "dev", Groups: []string{"dev"}, KeyGroup: "dev", Method: "mtls", Fingerprint: "f"}
	if _, err := e.Tenants.Declare(ctx, p.Tenant); err != nil {
		t.Fatal(err)
	}
	made, err := objects.New(e).Create(ctx, &core.Caller{Principal: p, Door: core.DoorKMIP, Version: core.V1_4}, kmiptest.AESKey(256, core.MaskEncrypt))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, kmiptest.Item(&kmip.Get, &operation.GetInput{ID: core.ID(made.ID)}))
	if err != nil {
		t.Fatal(err)
	}
	return World{e, p, made.ID, msg, hsm}
}
