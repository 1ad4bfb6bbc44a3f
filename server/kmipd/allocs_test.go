package kmipd

import (
	"bytes"
	"context"
	"crypto/tls"
	"log/slog"
	"os"
	"path/filepath"
	"testing"

	"github.com/keyreeve/keyreeve"
	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/authz"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/engine"
	"github.com/keyreeve/keyreeve/keys/format"
	"github.com/keyreeve/keyreeve/keys/soft"
	"github.com/keyreeve/keyreeve/kmip"
	"github.com/keyreeve/keyreeve/kmip/kmiptest"
	"github.com/keyreeve/keyreeve/store"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// copied is an HSM that has the key in memory, as hsm.Token has a class C key's
// copy; tests of package hsm hold that one to no allocation.
type copied struct {
	core.HSM
	key []byte
}

func (h copied) LoadKeySets(context.Context, []core.KeySet) error        { return nil }
func (h copied) MakeKeySet(context.Context, core.KeySet) ([]byte, error) { return []byte("c"), nil }
func (h copied) KeySets(context.Context) ([]core.TokenKeySet, error)     { return nil, nil }
func (h copied) KeySetExists(context.Context, int64) (bool, error)       { return false, nil }
func (h copied) Clear(_ context.Context, _ core.Key, dst []byte) ([]byte, error) {
	return append(dst, h.key...), nil
}
func (h copied) Forget(tenant, id string) {}
func (h copied) Generate(_ context.Context, _ core.Key, s core.KeySpec) (core.Material, core.KeyFacts, error) {
	return core.Material{Mode: s.Mode, Class: s.Class, Kind: s.Kind, Format: s.Format, Length: len(h.key), Blob: h.key, MAC: []byte("m"), Wrap: "aes-kw", Epoch: 1}, core.KeyFacts{}, nil
}

type formats struct{ format.Formats }

func (formats) Digest(h core.HashingAlgorithm, data []byte) ([]byte, error) {
	return soft.Digest(h, data)
}

func (formats) EncodeKeyValue(dst []byte, kb *core.KeyBlock, v core.Version) ([]byte, error) {
	return kmip.AppendKeyValue(dst, kb, v)
}

func (formats) DecodeKeyValue(ttlv []byte, kb *core.KeyBlock, v core.Version) error {
	return kmip.ReadKeyValue(ttlv, kb, v)
}

// unwritten leaves out the record of a use: what is left is codec, lookup,
// policy and checks.
type unwritten struct{ core.Store }

func (s unwritten) Commit(ctx context.Context, c *core.Change) error {
	for _, w := range c.Writes {
		if _, record := w.(core.AppendEntry); !record {
			return s.Store.Commit(ctx, c)
		}
	}
	return nil
}

type unsealed struct{ core.Journal }

var body = []byte("x")

func (unsealed) Seal(*core.Record) core.Entry {
	return core.Entry{Tenant: "default", Time: 1, Body: body}
}

type nobody struct{}

func (nobody) Identify(*tls.ConnectionState) func() (*core.Principal, error) {
	return func() (*core.Principal, error) { return nil, nil }
}

// door makes a connection without TLS, and the request of a Get.
func door(t testing.TB, wrapStore func(core.Store) core.Store, j core.Journal) (*conn, []byte) {
	t.Helper()
	dir := t.TempDir()
	if _, err := os.Stat("/dev/shm"); err == nil {
		if dir, err = os.MkdirTemp("/dev/shm", "keyreeve-allocs-"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { os.RemoveAll(dir) })
	}
	ctx := context.Background()
	s, err := store.Create(ctx, "sqlite:"+filepath.Join(dir, "k.db"), new(storetest.Sealer))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	policy, err := authz.New(ctx, authz.Options{Load: func() (string, string, error) { return keyreeve.Policy, keyreeve.PolicyTests, nil }})
	if err != nil {
		t.Fatal(err)
	}
	e := engine.New(engine.Options{Store: wrapStore(s), HSM: copied{key: bytes.Repeat([]byte{7}, 32)}, Policy: policy, Journal: j, Formats: formats{}, Log: slog.New(slog.DiscardHandler)})
	p := &core.Principal{Tenant: "default", ID: "dev", Groups: []string{"dev"}, Method: "mtls", Fingerprint: "f"}
	made, err := e.Create(ctx, &core.Caller{Principal: p, Door: core.DoorKMIP, Version: core.V1_4}, kmiptest.AESKey(256, core.MaskEncrypt))
	if err != nil {
		t.Fatal(err)
	}
	msg, err := kmip.AppendRequest(nil, core.V1_4, kmip.RequestOptions{}, kmiptest.Item(&kmip.Get, &core.GetInput{ID: core.ID(made.ID)}))
	if err != nil {
		t.Fatal(err)
	}
	srv := &Server{Engine: e, Auth: nobody{}, Log: slog.New(slog.DiscardHandler), Limits: Limits{}.withDefaults()}
	return &conn{server: srv, peer: "127.0.0.1", principal: p, answered: make(chan bool, 1)}, msg
}

// open is a context that can be cancelled, as a connection's is.
var open, _ = context.WithCancel(context.Background())

func (c *conn) once(t testing.TB, ctx context.Context, msg, buf []byte) {
	out, keep := c.respond(ctx, msg, nil, buf[:0])
	if !keep || len(out) < 250 {
		t.Fatalf("the answer is %x", out)
	}
}

// A Get of a key in memory allocates nothing beside TLS and the record, whose way
// through database/sql takes ten; with several callers they share most of them.
func TestGetAllocates(t *testing.T) {
	if core.Poison {
		t.Skip("nothing that was lent is used again in this build: run this without -race and without the tag poison")
	}
	for what, c := range map[string]struct {
		store func(core.Store) core.Store
		j     core.Journal
		most  float64
	}{
		"codec, lookup and checks": {func(s core.Store) core.Store { return unwritten{s} }, unsealed{}, 0},
		"with the record":          {func(s core.Store) core.Store { return s }, audit.New("n"), 10},
	} {
		conn, msg := door(t, c.store, c.j)
		buf := make([]byte, 0, 4096)
		ctx := core.OnBehalfOf(open, conn.principal) // as a connection does it, once
		conn.once(t, ctx, msg, buf)
		if got := testing.AllocsPerRun(500, func() { conn.once(t, ctx, msg, buf) }); got > c.most {
			t.Errorf("%s: %.1f allocations, at most %.0f", what, got, c.most)
		}
	}
}

func BenchmarkGet(b *testing.B) {
	conn, msg := door(b, func(s core.Store) core.Store { return unwritten{s} }, unsealed{})
	benchmark(b, conn, msg)
}

func BenchmarkGetRecorded(b *testing.B) {
	conn, msg := door(b, func(s core.Store) core.Store { return s }, audit.New("n"))
	benchmark(b, conn, msg)
}

func benchmark(b *testing.B, conn *conn, msg []byte) {
	buf := make([]byte, 0, 4096)
	ctx := core.OnBehalfOf(open, conn.principal)
	b.ReportAllocs()
	for b.Loop() {
		conn.once(b, ctx, msg, buf)
	}
}
