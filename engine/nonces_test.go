package engine_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/core/rules"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/store"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// firstNonces is how many encryptions a node reserves for a key at first.
const firstNonces = 1 << 12

var gcm = core.CryptographicParameters{BlockCipherMode: core.BlockCipherModeGCM}

// encryptBy encrypts with parameters and an IV; nil: the server makes it.
func (w *world) encryptBy(n node, id string, p core.CryptographicParameters, iv []byte) error {
	_, err := n.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Parameters: &p, IV: iv, Data: make([]byte, 16)})
	return err
}

// mustEncrypt encrypts n times in GCM with IVs of the server.
func (w *world) mustEncrypt(by node, id string, n int) {
	w.t.Helper()
	for range n {
		if err := w.encryptBy(by, id, gcm, nil); err != nil {
			w.t.Fatal(err)
		}
	}
}

// reservedOf is how many encryptions are reserved in the row of a key.
func (w *world) reservedOf(id string) int64 {
	w.t.Helper()
	o, err := w.Ports.Store.Object(ctx, "default", id)
	if err != nil {
		w.t.Fatal(err)
	}
	if n := len(o.Attributes.All(core.NoncesAttribute)); n > 1 {
		w.t.Errorf("object %s has %d counts", id, n)
	}
	return rules.ReservedNonces(o)
}

// setReserved sets the count in the row of a key.
func (w *world) setReserved(id string, v core.Value) {
	o, _ := w.store.Object(ctx, "default", id)
	o.Attributes = o.Attributes.Without(core.NoncesAttribute).Add(core.Attribute{Vendor: core.NoncesAttribute.Vendor, Name: core.NoncesAttribute.Name, Value: v})
	w.PlantSnapshot(o)
}

// A reservation is stored before its first use, and the next ones are larger.
func TestNoncesAreReserved(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	want := int64(0)
	for size := int64(firstNonces); size <= 4*firstNonces; size *= 2 {
		w.mustEncrypt(w.node, id, 1)
		if want += size; w.reservedOf(id) != want {
			t.Fatalf("%d encryptions are reserved; want %d", w.reservedOf(id), want)
		}
		w.mustEncrypt(w.node, id, int(size)-1)
		if w.reservedOf(id) != want {
			t.Fatalf("%d encryptions are reserved before %d were made", w.reservedOf(id), want)
		}
	}
	w.store.refuse = core.Errorf(core.StoreUnavailable, "down")
	if err := w.encryptBy(w.node, id, gcm, nil); err == nil {
		t.Error("an encryption is made though no reservation can be stored")
	}
}

// What counts: IVs of the server in modes that break if one comes again. A stream counts once.
func TestWhatNoncesCount(t *testing.T) {
	w := newWorld(t)
	mode := func(m core.BlockCipherMode) core.CryptographicParameters {
		return core.CryptographicParameters{BlockCipherMode: m}
	}
	for what, c := range map[string]struct {
		p      core.CryptographicParameters
		iv     []byte
		counts bool
	}{
		"GCM":                    {gcm, nil, true},
		"GCM with a client's IV": {gcm, make([]byte, 12), false},
		"CBC":                    {mode(core.BlockCipherModeCBC), nil, false},
		"CTR":                    {mode(core.BlockCipherModeCTR), nil, false},
		"ECB":                    {mode(core.BlockCipherModeECB), nil, false},
		"CBC with a client's IV": {mode(core.BlockCipherModeCBC), make([]byte, 16), false},
	} {
		id := w.inState(core.Active)
		if err := w.encryptBy(w.node, id, c.p, c.iv); err != nil {
			t.Errorf("%s: %v", what, err)
		}
		if got := w.reservedOf(id); (got > 0) != c.counts {
			t.Errorf("%s: %d encryptions are reserved", what, got)
		}
	}
	id := w.inState(core.Active)
	w.setReserved(id, core.Long(rules.MaxNonces-2))
	yes := true
	for range 2 {
		out, err := w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Parameters: &gcm, Data: []byte("a"), Init: &yes})
		for range 3 {
			if err == nil {
				out, err = w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Data: []byte("b"), Correlation: out.Correlation})
			}
		}
		if err == nil {
			_, err = w.Encrypt(ctx, w.alice, &operation.EncryptInput{ID: core.ID(id), Data: []byte("c"), Correlation: out.Correlation, Final: &yes})
		}
		if err != nil {
			t.Fatalf("two streams with two encryptions left: %v", err)
		}
	}
	if err := w.encryptBy(w.node, id, gcm, nil); core.CodeOf(err) != core.UsageLimitExceeded {
		t.Errorf("a third encryption: %v; want UsageLimitExceeded", err)
	}
}

// After 2^32 encryptions the key is refused, with what to do; other uses of it go on.
func TestNoncesEnd(t *testing.T) {
	w := newWorld(t)
	var log bytes.Buffer
	w.Ports.Log = slog.New(slog.NewTextHandler(&log, nil))
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	id := w.inState(core.Active)
	w.setReserved(id, core.Long(rules.MaxNonces-5))
	w.mustEncrypt(w.node, id, 5)
	err := w.encryptBy(w.node, id, gcm, nil)
	if core.CodeOf(err) != core.UsageLimitExceeded || !strings.Contains(err.Error(), "rotate") {
		t.Errorf("an encryption beyond the limit: %v; want UsageLimitExceeded, and that the key is to be rotated", err)
	}
	if got := w.reservedOf(id); got != rules.MaxNonces {
		t.Errorf("%d are reserved; want %d", got, int64(rules.MaxNonces))
	}
	if err := w.step(w.alice, "decrypt", id); err != nil {
		t.Errorf("Decrypt with a key that encrypts no more: %v", err)
	}
	if err := w.encryptBy(w.node, id, gcm, make([]byte, 12)); err != nil {
		t.Errorf("a client's IV: %v", err)
	}
	if !strings.Contains(log.String(), "due for rotation") || !strings.Contains(log.String(), id) {
		t.Errorf("the log has %q; want that the key is due for rotation", log.String())
	}
	for _, wrong := range []core.Value{core.Long(-1), core.Long(rules.MaxNonces + 1)} {
		other := w.inState(core.Active)
		w.setReserved(other, wrong)
		if err := w.encryptBy(w.node, other, gcm, nil); core.CodeOf(err) != core.Tampered {
			t.Errorf("a count of %d: %v; want Tampered", wrong.Num, err)
		}
	}
}

// rotationDue is what the server shows at half of the limit.
func TestRotationIsDueAtHalf(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	for reserved, due := range map[int64]bool{0: false, rules.RotationDueNonces - 1: false, rules.RotationDueNonces: true, rules.MaxNonces: true} {
		w.setReserved(id, core.Long(reserved))
		if o, _ := w.store.Object(ctx, "default", id); rules.RotationDue(o) != due {
			t.Errorf("at %d encryptions rotation is due: %v", reserved, !due)
		}
	}
}

// A node that starts again, also after a crash, reserves before its first use. What the node
// before it had reserved is used by nobody.
func TestNoncesAfterARestart(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	w.mustEncrypt(w.node, id, 3)
	for i := range 3 {
		w.serve(newNode(engine.New(w.Ports, w.Settings)))
		w.mustEncrypt(w.node, id, 1)
		if got, want := w.reservedOf(id), int64(i+2)*firstNonces; got != want {
			t.Errorf("after %d restarts %d encryptions are reserved; want %d", i+1, got, want)
		}
	}
}

// storableHSM makes keys that the real stores take.
type storableHSM struct{ *memHSM }

func (h storableHSM) Generate(c context.Context, k core.Key, s core.KeySpec) (core.Material, core.KeyFacts, error) {
	m, facts, err := h.memHSM.Generate(c, k, s)
	m.MAC, m.Wrap, m.Epoch = []byte("mac"), "aes-kw", 1
	return m, facts, err
}

// Many at once on two nodes that share a real store: each use is one that was reserved, and no
// two nodes have the same reservation.
func TestNoncesOnTwoNodes(t *testing.T) {
	for what, url := range map[string]func(*testing.T) string{
		"sqlite":   func(t *testing.T) string { return "sqlite:" + filepath.Join(coretest.MemoryDir(t), "k.db") },
		"postgres": func(t *testing.T) string { return storetest.Postgres(t) },
	} {
		t.Run(what, func(t *testing.T) {
			const callers, each = 8, 550 // more than one reservation
			s, err := store.Create(ctx, url(t), new(storetest.Sealer))
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			w := newWorld(t)
			w.Ports.Store, w.Ports.HSM = s, storableHSM{w.hsm}
			w.serve(newNode(engine.New(w.Ports, w.Settings)))
			if _, err := w.Tenants.Declare(ctx, "default"); err != nil {
				t.Fatal(err)
			}
			nodes := []node{w.node}
			if s.Shared() {
				nodes = append(nodes, newNode(engine.New(w.Ports, w.Settings)))
			}
			out, err := w.Create(ctx, w.alice, aesInput(core.TagActivationDate, core.Date(1)))
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			failed := map[string]int{}
			coretest.AtOnce(callers, func(i int) {
				for range each {
					if err := w.encryptBy(nodes[i%len(nodes)], out.ID, gcm, nil); err != nil {
						mu.Lock()
						failed[fmt.Sprint(err)]++
						mu.Unlock()
					}
				}
			})
			// Each node has done an equal share; a reservation that is exhausted is followed by one
			// of twice its size.
			want := int64(0)
			for range nodes {
				for left, size := callers*each/len(nodes), firstNonces; left > 0; left, size = left-size, 2*size {
					want += int64(size)
				}
			}
			if got := w.reservedOf(out.ID); len(failed) > 0 || got != want {
				t.Errorf("%d encryptions by %d nodes: %d are reserved, want %d; failures: %v", callers*each, len(nodes), got, want, failed)
			}
		})
	}
}

// Only the server sets the count and the mark, and a replacement begins without them.
func TestNoncesAreTheServers(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	w.mustEncrypt(w.node, id, 1)
	o, _ := w.store.Object(ctx, "default", id)
	marked := o.Successor()
	marked.Attributes = marked.Attributes.Add(core.Attribute{Vendor: core.EnvelopesAttribute.Vendor, Name: core.EnvelopesAttribute.Name, Value: core.Bool(true)})
	w.store.objects[storedKey{"default", id}] = marked
	w.ForgetSnapshot("default", id)
	for _, name := range []core.AttributeName{core.NoncesAttribute, core.EnvelopesAttribute} {
		a := core.Attribute{Vendor: name.Vendor, Name: name.Name, Value: core.Long(0)}
		_, added := w.AddAttribute(ctx, w.alice, &operation.AddAttributeInput{ID: core.ID(id), Attribute: a})
		_, set := w.SetAttribute(ctx, w.alice, &operation.SetAttributeInput{ID: core.ID(id), Attribute: a})
		_, modified := w.ModifyAttribute(ctx, w.alice, &operation.ModifyAttributeInput{ID: core.ID(id), Name: name, New: a})
		_, deleted := w.DeleteAttribute(ctx, w.alice, &operation.DeleteAttributeInput{ID: core.ID(id), Name: name})
		_, created := w.Create(ctx, w.alice, &operation.CreateInput{ObjectType: core.ObjectTypeSymmetricKey, Attributes: append(aesInput().Attributes, a)})
		for what, err := range map[string]error{"Add": added, "Set": set, "Modify": modified, "Delete": deleted, "Create": created} {
			if core.CodeOf(err) != core.AttributeReadOnly {
				t.Errorf("%s of %s: %v; want AttributeReadOnly", what, name, err)
			}
		}
	}
	fresh, err := w.ReKey(ctx, w.alice, &operation.RekeyInput{ID: core.ID(id)})
	if err != nil {
		t.Fatal(err)
	}
	if o, _ := w.store.Object(ctx, "default", fresh.ID); rules.ReservedNonces(o) != 0 || rules.MakesEnvelopes(o) {
		t.Errorf("the replacement has %v", o.Attributes)
	}
}

// Lists leave the count and the mark out, and a request that names them gets them.
func TestNoncesAreUnlisted(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	get := func(names ...core.AttributeName) (core.Attributes, []core.AttributeName) {
		t.Helper()
		out, err := w.GetAttributes(ctx, w.alice, &operation.GetAttributesInput{ID: core.ID(id), Names: names})
		list, lerr := w.GetAttributeList(ctx, w.alice, &operation.GetAttributeListInput{ID: core.ID(id)})
		if err != nil || lerr != nil {
			t.Fatal(err, lerr)
		}
		return out.Attributes, list.Names
	}
	before, namesBefore := get()
	w.sealed(id, "x")
	after, namesAfter := get()
	if len(before) != len(after) || len(namesBefore) != len(namesAfter) {
		t.Errorf("an envelope changes the attributes from %v to %v, and the list from %v to %v", before, after, namesBefore, namesAfter)
	}
	named, _ := get(core.NoncesAttribute, core.EnvelopesAttribute)
	if len(named) != 2 || named[0].Value.Num != firstNonces || named[1].Value.Num != 1 {
		t.Errorf("by name they are %v", named)
	}
}

// A batch that is undone gives no encryption back: their ciphertexts may be known.
func TestUndoKeepsNonces(t *testing.T) {
	w := newWorld(t)
	id := w.inState(core.Active)
	c := *w.alice
	c.Undo = &core.Undo{}
	if err := w.step(&c, "add name", id); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Encrypt(ctx, &c, &operation.EncryptInput{ID: core.ID(id), Parameters: &gcm, Data: []byte("x")}); err != nil {
		t.Fatal(err)
	}
	if err := w.UndoBatch(ctx, &c, c.Undo); err != nil {
		t.Fatal(err)
	}
	o, _ := w.store.Object(ctx, "default", id)
	if got := w.reservedOf(id); got != firstNonces || o.Attributes.Has(core.TagName) {
		t.Errorf("after Undo %d encryptions are reserved, want %d; it has a name: %v", got, firstNonces, o.Attributes.Has(core.TagName))
	}
}
