package engine_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"crypto/sha256"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/engine/about"
	"github.com/keyreeve/keyreeve/engine/admin"
	"github.com/keyreeve/keyreeve/engine/attributes"
	"github.com/keyreeve/keyreeve/engine/batchundo"
	"github.com/keyreeve/keyreeve/engine/keyversions"
	"github.com/keyreeve/keyreeve/engine/objects"
	"github.com/keyreeve/keyreeve/engine/upkeep"
	"github.com/keyreeve/keyreeve/engine/uses"
	"github.com/keyreeve/keyreeve/keys/soft"
)

// memHSM is an HSM whose blobs have the clear bytes. The tests try which callers can
// reach them.
type memHSM struct {
	mu         sync.Mutex
	tokens     map[string]bool
	of         map[string]core.TokenObject // whose a token object is by its label
	destroyed  [][]byte
	fail       error
	sets       map[int64]bool // that the token has
	seen       []core.TokenKeySet
	loaded     []core.KeySet
	loads      int         // how often keys were loaded
	lost       string      // tenant whose keys the token has lost
	loading    func()      // what happens when keys are loaded
	made       func()      // what happens when a key has been made
	forgot     []string    // tenants whose keys are no longer kept
	noSoftware atomic.Bool // what the last use said of software
	removing   func()      // what happens while a token object is removed
	making     func()      // what happens while a tenant key is made
	slow       func()      // what happens while an Encrypt is under way
	opened     []byte      // what the last Decrypt returned
}

func (h *memHSM) make(k core.Key, s core.KeySpec, b []byte) (core.Material, core.KeyFacts, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return core.Material{}, core.KeyFacts{}, h.fail
	}
	sum := sha256.Sum256(b)
	if s.Registered != nil {
		sum = sha256.Sum256(s.Registered)
	}
	m := core.Material{Mode: s.Mode, Class: s.Class, Kind: s.Kind, Format: s.Format, Length: len(b), Blob: bytes.Clone(b), CKAID: s.CKAID, TTLV: s.TTLV}
	if s.CKAID != nil {
		h.tokens[string(s.CKAID)] = true
		h.of[string(s.CKAID)] = core.TokenObject{Tenant: k.Tenant, ID: k.ID, CKAID: s.CKAID}
		if h.made != nil {
			h.made()
		}
	}
	return m, core.KeyFacts{SHA256: sum[:], ExecutedIn: "token"}, nil
}

func (h *memHSM) Generate(_ context.Context, k core.Key, s core.KeySpec) (core.Material, core.KeyFacts, error) {
	b := make([]byte, (s.Bits+7)/8)
	rand.Read(b)
	return h.make(k, s, b)
}

func (h *memHSM) GeneratePair(_ context.Context, k, _ core.Key, s core.KeySpec) (core.Material, core.Material, []byte, core.KeyFacts, error) {
	h.noSoftware.Store(k.NoSoftware)
	private, facts, err := h.make(k, s, []byte("private"))
	public, _, _ := h.make(k, core.KeySpec{Kind: core.KeyPublic, Mode: core.ModeData, Class: core.ClassC, Format: core.KeyFormatTypeX509}, []byte("public"))
	return private, public, []byte("public"), facts, err
}

func (h *memHSM) Import(_ context.Context, k core.Key, s core.KeySpec, b []byte) (core.Material, core.KeyFacts, error) {
	return h.make(k, s, b)
}

func (h *memHSM) ImportWrapped(_ context.Context, k core.Key, s core.KeySpec, _ core.Key, _ core.CryptographicParameters, b []byte) (core.Material, core.KeyFacts, error) {
	return h.make(k, s, b)
}

func (h *memHSM) MakeTransportKey(_ context.Context, k core.Key, _ core.Transport) (core.Material, []byte, error) {
	m, _, err := h.make(k, core.KeySpec{Kind: core.KeyRSA, Class: core.ClassN, Mode: core.ModeWrapped}, []byte("private"))
	return m, []byte("public"), err
}

func (h *memHSM) ImportTransported(_ context.Context, k core.Key, s core.KeySpec, _ core.Key, _ core.Transport, b []byte) (core.Material, core.KeyFacts, error) {
	return h.make(k, s, b)
}

func (h *memHSM) Derive(ctx context.Context, k core.Key, s core.KeySpec, base core.Key, d *core.Derivation) (core.Material, core.KeyFacts, error) {
	h.noSoftware.Store(base.NoSoftware)
	by := *d
	if d.DataOf != nil {
		by.Data = d.DataOf.Material.Blob
	}
	b := make([]byte, s.Bits/8)
	if err := soft.DeriveKey(ctx, base.Material.Blob, &by, b); err != nil {
		return core.Material{}, core.KeyFacts{}, err
	}
	if h.slow != nil {
		h.slow()
	}
	return h.make(k, s, b)
}

func (h *memHSM) DeriveBytes(ctx context.Context, base core.Key, d *core.Derivation, out []byte) (string, error) {
	if h.slow != nil {
		h.slow()
	}
	return "token", cmp.Or(h.fail, soft.DeriveKey(ctx, base.Material.Blob, d, out))
}

func (h *memHSM) WrapBytes(_ context.Context, _ core.Key, _ core.CryptographicParameters, b []byte) ([]byte, string, error) {
	return append([]byte("wrapped "), b...), "token", h.fail
}

func (h *memHSM) Reclass(_ context.Context, k core.Key, to core.Class) (core.Material, error) {
	m := *k.Material
	m.Class = to
	return m, h.fail
}

func (h *memHSM) Clear(_ context.Context, k core.Key, dst []byte) ([]byte, error) {
	if k.Material.Class != core.ClassC {
		return dst, core.Errorf(core.Sensitive, "the token refuses")
	}
	return append(dst, k.Material.Blob...), nil
}

func (h *memHSM) WrapOut(_ context.Context, k, _ core.Key, _ core.CryptographicParameters, ttlv []byte) ([]byte, error) {
	return append([]byte("wrapped "), ttlv...), nil
}

func (h *memHSM) aead(k core.Key) cipher.AEAD {
	b, _ := aes.NewCipher(k.Material.Blob)
	a, _ := cipher.NewGCM(b)
	return a
}

func authenticates(c *core.Cipher) bool {
	return c.Parameters.BlockCipherMode == core.BlockCipherModeGCM || c.Parameters.CryptographicAlgorithm == core.AlgorithmChaCha20Poly1305
}

func (h *memHSM) Encrypt(_ context.Context, k core.Key, c *core.Cipher) (core.Ciphered, error) {
	h.noSoftware.Store(k.NoSoftware)
	if h.slow != nil {
		h.slow()
	}
	if authenticates(c) && len(c.IV) == 0 {
		iv := make([]byte, 12)
		rand.Read(iv)
		sealed := h.aead(k).Seal(nil, iv, c.Data, c.AAD)
		return core.Ciphered{Data: sealed[:len(c.Data)], Tag: sealed[len(c.Data):], IV: iv, ExecutedIn: "token"}, nil
	}
	return core.Ciphered{Data: h.aead(k).Seal(nil, make([]byte, 12), c.Data, c.AAD), ExecutedIn: "token"}, nil
}

func (h *memHSM) Decrypt(_ context.Context, k core.Key, c *core.Cipher) (core.Ciphered, error) {
	h.noSoftware.Store(k.NoSoftware)
	iv, data := make([]byte, 12), c.Data
	if authenticates(c) && len(c.IV) == 12 {
		iv, data = c.IV, slices.Concat(c.Data, c.Tag)
	}
	b, err := h.aead(k).Open(nil, iv, data, c.AAD)
	h.mu.Lock()
	h.opened = b
	h.mu.Unlock()
	if err != nil {
		return core.Ciphered{}, core.Errorf(core.CryptographicFailure, "wrong tag")
	}
	return core.Ciphered{Data: b, ExecutedIn: "token"}, nil
}

func (h *memHSM) Sign(_ context.Context, k core.Key, _ core.CryptographicParameters, _ []byte, _ bool) ([]byte, string, error) {
	h.noSoftware.Store(k.NoSoftware)
	return []byte("signature"), "token", nil
}

func (h *memHSM) Verify(_ context.Context, _ core.Key, _ core.CryptographicParameters, _ []byte, _ bool, sig []byte) (bool, string, error) {
	return string(sig) == "signature", "software", nil
}

func (h *memHSM) MAC(_ context.Context, k core.Key, _ core.CryptographicParameters, _ []byte) ([]byte, string, error) {
	h.noSoftware.Store(k.NoSoftware)
	return []byte("mac"), "token", nil
}

func (h *memHSM) MACVerify(_ context.Context, _ core.Key, _ core.CryptographicParameters, _, mac []byte) (bool, string, error) {
	return string(mac) == "mac", "token", nil
}
func (h *memHSM) Random(_ context.Context, dst []byte) error { rand.Read(dst); return nil }
func (h *memHSM) Seed(context.Context, []byte) error         { return nil }
func (h *memHSM) Forget(string, string)                      {}
func (h *memHSM) ForgetTenant(tenant string)                 { h.forgot = append(h.forgot, tenant) }
func (h *memHSM) MakeKeySet(_ context.Context, s core.KeySet) ([]byte, error) {
	if h.making != nil {
		h.making()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail == nil {
		h.sets[s.Number] = true
	}
	return []byte("checks"), h.fail
}
func (h *memHSM) KeySetExists(_ context.Context, n int64) (bool, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sets[n], nil
}
func (h *memHSM) DestroyKeySet(_ context.Context, s core.KeySet) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail == nil {
		delete(h.sets, s.Number)
	}
	return h.fail
}
func (h *memHSM) LoadKeySets(_ context.Context, sets []core.KeySet) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.loading != nil {
		h.loading()
	}
	h.loads++
	if len(sets) > 0 && sets[0].Tenant == h.lost {
		return core.Errorf(core.TokenUnavailable, "the token has 0 objects with the label")
	}
	h.loaded = sets
	return nil
}
func (h *memHSM) DestroyObject(_ context.Context, o core.TokenObject) error {
	if h.removing != nil {
		h.removing()
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.fail != nil {
		return h.fail
	}
	if is := h.of[string(o.CKAID)]; h.tokens[string(o.CKAID)] && (is.Tenant != o.Tenant || is.ID != o.ID) {
		return nil // its label is another's
	}
	delete(h.tokens, string(o.CKAID))
	h.destroyed = append(h.destroyed, o.CKAID)
	return nil
}

func (h *memHSM) Objects(context.Context) (out []core.TokenObject, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for t := range h.tokens {
		o := h.of[t]
		o.CKAID = []byte(t)
		out = append(out, o)
	}
	return out, nil
}
func (h *memHSM) KeySets(context.Context) (out []core.TokenKeySet, err error) { return h.seen, nil }
func (h *memHSM) ObjectLabel(tenant, id string) string                        { return "object/" + tenant + "/" + id }
func (h *memHSM) Health(context.Context) core.HSMHealth                       { return core.HSMHealth{Ready: true} }
func (h *memHSM) Close(context.Context) error                                 { return nil }

// tenantPolicy is a policy in five lines: the tenant's own, owner or group.
type tenantPolicy struct{ fail error }

func (r tenantPolicy) Decide(_ context.Context, a *core.AccessRequest) (core.Decision, error) {
	if r.fail != nil {
		return core.Decision{}, r.fail
	}
	o, p := a.Object, a.Principal
	allow := o == nil || (o.Tenant == p.Tenant && (o.Owner == p.ID || p.InGroup(o.Group)))
	return core.Decision{Allow: allow, Scope: "own", Reasons: []string{"test"}}, nil
}
func (tenantPolicy) Health(context.Context) error { return nil }

// plainJournal writes what the tests look for.
type plainJournal struct{}

func (plainJournal) Seal(r *core.Record) core.Entry {
	return core.Entry{Tenant: r.Tenant, Time: r.Time, Body: []byte(r.Action.String() + " " + string(r.Outcome) + " " + r.Object + " " + r.Detail + " | " + strings.Join(r.Reasons, ", "))}
}

// plainFormats passes bytes through.
type plainFormats struct{}

func (plainFormats) Normalize(t core.ObjectType, kb *core.KeyBlock, _ core.Class) (core.Normalized, error) {
	kind := core.KeyData
	if t == core.ObjectTypeSymmetricKey {
		kind = core.KeyAES
	}
	return core.Normalized{Bytes: bytes.Clone(kb.Material), Kind: kind, Format: core.KeyFormatTypeRaw, Algorithm: kb.Algorithm, Length: len(kb.Material) * 8}, nil
}

func (plainFormats) Render(clear []byte, m *core.Material, _ core.CryptographicAlgorithm, want core.KeyFormatType, kb *core.KeyBlock) error {
	kb.Format, kb.Material = want, clear
	return nil
}

func (plainFormats) Digest(_ core.HashingAlgorithm, data []byte) ([]byte, error) {
	s := sha256.Sum256(data)
	return s[:], nil
}

func (plainFormats) EncodeKeyValue(dst []byte, kb *core.KeyBlock, _ core.Version) ([]byte, error) {
	return append(append(dst, "ttlv "...), kb.Material...), nil
}

func (plainFormats) DecodeKeyValue(ttlv []byte, kb *core.KeyBlock, _ core.Version) error {
	material, ok := bytes.CutPrefix(ttlv, []byte("ttlv "))
	if kb.Material = material; !ok {
		return core.Errorf(core.InvalidField, "no TTLV")
	}
	return nil
}

// testClock stands still until it is told to move.
type testClock struct {
	now  int64 // seconds that have really passed
	back int64 // by which the wall clock has been set back
}

func (c *testClock) Now() int64      { return c.now - c.back }
func (c *testClock) NowMicro() int64 { return c.Now() * 1e6 }
func (c *testClock) Mono() int64     { return c.now * 1e6 }

// The verbs of the rooms, each under a name of its own.
type (
	objectVerbs    = objects.Verbs
	useVerbs       = uses.Verbs
	attributeVerbs = attributes.Verbs
	aboutVerbs     = about.Verbs
	adminVerbs     = admin.Verbs
	tenantVerbs    = admin.TenantVerbs
	upkeepVerbs    = upkeep.Verbs
)

// node is an engine with all verbs.
type node struct {
	*engine.Engine
	*objectVerbs
	*useVerbs
	*attributeVerbs
	*aboutVerbs
	*adminVerbs
	*tenantVerbs
	*upkeepVerbs
}

func newNode(e *engine.Engine) node {
	administer := admin.New(e, admin.Ports{})
	return node{e, objects.New(e), uses.New(e), attributes.New(e), about.New(e), administer, admin.NewTenantVerbs(administer, admin.TenantSettings{}), upkeep.New(e)}
}

type world struct {
	node
	t     *testing.T
	store *memStore
	hsm   *memHSM
	clock *testClock
	alice *core.Caller // group g
	bob   *core.Caller // group g
	eve   *core.Caller // same tenant, no group
	out   *core.Caller // another tenant
}

// UndoBatch undoes a batch.
func (n node) UndoBatch(ctx context.Context, c *core.Caller, u *core.Undo) error {
	return batchundo.Undo(ctx, n.Engine, c, u)
}

// FinishBatch ends a batch that will not be undone.
func (n node) FinishBatch(ctx context.Context, u *core.Undo) { batchundo.Finish(ctx, n.Engine, u) }

// serve has the world served by another node.
func (w *world) serve(n node) { w.node = n }

func newWorld(t *testing.T) *world {
	w := &world{t: t, store: newMemStore(), hsm: &memHSM{tokens: map[string]bool{}, of: map[string]core.TokenObject{}, sets: map[int64]bool{}}, clock: &testClock{now: 1_700_000_000}}
	w.store.sets = []core.KeySet{{Number: 1, Tenant: "default", Epoch: 1, State: core.KeySetActive}, {Number: 2, Tenant: "other", Epoch: 1, State: core.KeySetActive}}
	w.serve(newNode(engine.New(engine.Ports{FindVersion: new(keyversions.Finder).Find, Store: w.store, HSM: w.hsm, Policy: tenantPolicy{}, Journal: plainJournal{}, Formats: plainFormats{}, Clock: w.clock},
		engine.Settings{Server: engine.ServerInfo{Vendor: "keyreeve", Product: "keyreeve", Version: "test"}})))
	caller := func(tenant, id string, groups ...string) *core.Caller {
		p := &core.Principal{Tenant: tenant, ID: id, Groups: groups}
		if len(groups) > 0 {
			p.KeyGroup = groups[0] // their setting: new keys are shared
		}
		return &core.Caller{Principal: p, Door: core.DoorKMIP, Version: core.V2_1, Address: "127.0.0.1"}
	}
	w.alice, w.bob, w.eve, w.out = caller("default", "alice", "g"), caller("default", "bob", "g"), caller("default", "eve"), caller("other", "out", "g")
	return w
}

// attrs makes a template out of pairs of tag and value.
func attrs(pairs ...any) core.Attributes {
	var as core.Attributes
	for i := 0; i < len(pairs); i += 2 {
		as = as.Add(core.Attribute{Tag: pairs[i].(core.Tag), Value: pairs[i+1].(core.Value)})
	}
	return as
}

func name(s string) core.Value {
	return core.Structure(core.Field{Tag: core.TagNameValue, Value: core.Text(s)},
		core.Field{Tag: core.TagNameType, Value: core.Enum(core.NameTypeUninterpretedTextString)})
}

const allUses = core.MaskEncrypt | core.MaskDecrypt | core.MaskSign | core.MaskVerify | core.MaskMACGenerate | core.MaskMACVerify | core.MaskWrapKey | core.MaskUnwrapKey | core.MaskDeriveKey

// aesKey creates an AES-256 key of alice's.
func (w *world) aesKey(more ...any) string {
	w.t.Helper()
	as := attrs(append([]any{core.TagCryptographicAlgorithm, core.Enum(core.AlgorithmAES), core.TagCryptographicLength, core.Int(256),
		core.TagCryptographicUsageMask, core.Mask(allUses)}, more...)...)
	out, err := w.Create(context.Background(), w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: as})
	if err != nil {
		w.t.Fatal(err)
	}
	return out.ID
}
