package engine_test

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// The engine's tests say something about the real stores only if the store that
// they use behaves as those do.
func TestMemStore(t *testing.T) {
	var mu sync.Mutex
	kept := map[string]*memStore{}
	storetest.Run(t, func(t *testing.T) core.Store {
		mu.Lock()
		defer mu.Unlock()
		if kept[t.Name()] == nil {
			kept[t.Name()] = newMemStore()
		}
		return kept[t.Name()]
	})
}

// memStore keeps rows in memory. storetest holds it to the contract of
// core.Store.
type memStore struct {
	mu           sync.Mutex
	objects      map[storedKey]*core.ManagedObject
	order        []*core.ManagedObject
	sets         []core.KeySet
	site         *core.Installation
	intents      map[string]core.Intent
	entries      []core.StoredEntry
	counts       map[string]int64      // of the records of a node
	due          map[core.DueDate]bool // whether it has been noted
	usage        map[string]core.Usage
	directory    memDirectory
	refuse       error // answer of the next commits
	commits      int
	forged       string // the object whose row does not match its seal
	forgedIntent string // id of an intent whose row was changed
	shared       bool
}

// storedKey names a row of an object.
type storedKey struct{ tenant, id string }

func newMemStore() *memStore {
	return &memStore{objects: map[storedKey]*core.ManagedObject{}, intents: map[string]core.Intent{}, usage: map[string]core.Usage{}, counts: map[string]int64{}, due: map[core.DueDate]bool{}}
}

func (m *memStore) Object(_ context.Context, tenant, id string) (*core.ManagedObject, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if id == m.forged && id != "" {
		return nil, core.Errorf(core.Tampered, "the seal is wrong")
	}
	if o := m.objects[storedKey{tenant, id}]; o != nil {
		return o, nil
	}
	return nil, core.Errorf(core.ItemNotFound, "no row")
}

func (m *memStore) Candidates(_ context.Context, tenant string, f core.Filter, beyond int64, limit int) ([]*core.ManagedObject, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var out []*core.ManagedObject
	order := slices.Clone(m.order)
	if !f.OldestFirst {
		slices.Reverse(order)
	}
	for _, o := range order {
		now := m.objects[storedKey{o.Tenant, o.ID}]
		if now == nil || now.Seq != o.Seq || o.Tenant != tenant || len(out) >= limit || !f.Matches(now) {
			continue
		}
		mine := f.WholeTenant || now.Owner == f.Owner || (now.Group != "" && slices.Contains(f.Groups, now.Group))
		if mine && (beyond == 0 || ((now.Seq > beyond) == f.OldestFirst && now.Seq != beyond)) {
			found := now.Successor()
			found.Material = core.Material{Class: now.Material.Class}
			out = append(out, found)
		}
	}
	return out, nil
}

// fill adds n bare objects of c's.
func (m *memStore) fill(c *core.Caller, n int) {
	ch := &core.Change{}
	for range n {
		ch.Add(core.InsertObject{Object: &core.ManagedObject{Tenant: c.Principal.Tenant, ID: engine.NewID(), Type: core.ObjectTypeOpaqueObject, Owner: c.Principal.ID, Version: 1}})
	}
	if err := m.Commit(nil, ch); err != nil {
		panic(err)
	}
}

func (m *memStore) Commit(_ context.Context, c *core.Change) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.commits++
	if m.refuse != nil {
		return m.refuse
	}
	born, saved := map[storedKey]bool{}, map[core.DirectoryName]int64{}
	for _, w := range c.Writes {
		if err := m.check(w, born); err != nil {
			return err
		}
		if err := m.directory.check(w, saved); err != nil {
			return err
		}
	}
	if err := m.checkAliases(c); err != nil {
		return err
	}
	for _, w := range c.Writes {
		m.write(w)
		m.directory.write(w)
	}
	return nil
}

func (m *memStore) write(w core.Write) {
	switch w := w.(type) {
	case core.InsertObject:
		o := w.Object
		o.Seq = int64(len(m.order) + 1)
		m.order = append(m.order, o)
		m.objects[storedKey{o.Tenant, o.ID}] = o
	case core.UpdateObject:
		m.objects[storedKey{w.Object.Tenant, w.Object.ID}] = w.Object
	case core.DeleteObject:
		o := w.Object
		delete(m.objects, storedKey{o.Tenant, o.ID})
		maps.DeleteFunc(m.due, func(d core.DueDate, _ bool) bool { return d.Tenant == o.Tenant && d.ID == o.ID })
	case core.RemoveRows:
		removed := func(o *core.ManagedObject) bool { return o != nil && o.Tenant == w.Tenant && o.Seq <= w.UpTo }
		maps.DeleteFunc(m.due, func(d core.DueDate, _ bool) bool { return removed(m.objects[storedKey{d.Tenant, d.ID}]) })
		maps.DeleteFunc(m.objects, func(_ storedKey, o *core.ManagedObject) bool { return removed(o) })
		delete(m.usage, w.Tenant)
	case core.SaveKeySet:
		if at := m.setAt(w.KeySet); at >= 0 {
			m.sets[at] = w.KeySet
		} else {
			m.sets = append(m.sets, w.KeySet)
		}
	case core.InsertInstallation:
		m.site = &w.Installation
	case core.BeginIntent:
		m.intents[w.Intent.ID] = w.Intent
	case core.FinishIntent:
		delete(m.intents, w.ID)
	case core.AddDueDate:
		m.due[w.DueDate] = m.due[w.DueDate]
	case core.NoteDueDate:
		if m.due[w.DueDate] = true; !core.DueAttributes.Has(w.DueDate.Tag) {
			delete(m.due, w.DueDate)
		}
	case core.AppendEntry:
		m.counts[w.Entry.Node]++
		m.entries = append(m.entries, core.StoredEntry{Number: int64(len(m.entries) + 1), Count: m.counts[w.Entry.Node], Entry: *w.Entry})
	case core.AddUsage:
		m.usage[w.Tenant] = m.usage[w.Tenant].Add(w.Usage)
	}
}

func (m *memStore) Usage(_ context.Context, tenant string) (core.Usage, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.usage[tenant], nil
}

// check refuses a write before anything of its change is stored.
func (m *memStore) check(w core.Write, born map[storedKey]bool) error {
	switch w := w.(type) {
	case core.InsertObject:
		key := storedKey{w.Object.Tenant, w.Object.ID}
		if m.objects[key] != nil || born[key] {
			return core.Errorf(core.ObjectAlreadyExists, "an object has this id")
		}
		if born[key] = true; !storable(w.Object.ID) || !storable(w.Object.Tenant) {
			return core.Errorf(core.InvalidField, "no name")
		}
	case core.UpdateObject:
		key := storedKey{w.Object.Tenant, w.Object.ID}
		if born[key] {
			return core.Errorf(core.Conflict, "the change has the row already")
		}
		born[key] = true
		return m.checkVersion(w.Object, w.Object.Version-1)
	case core.DeleteObject:
		return m.checkVersion(w.Object, w.Object.Version)
	case core.FinishIntent:
		if _, open := m.intents[w.ID]; !open && w.MustBeOpen {
			return core.Errorf(core.Conflict, "the intent is not open any more")
		}
	case core.AppendEntry:
		if !storable(w.Entry.Tenant) {
			return core.Errorf(core.InvalidField, "no name")
		}
	case core.NoteDueDate:
		if noted, known := m.due[w.DueDate]; noted || !known {
			return core.Errorf(core.Conflict, "noted")
		}
	case core.InsertInstallation:
		if m.site != nil {
			return core.Errorf(core.Conflict, "there is an installation")
		}
	case core.SaveKeySet:
		return m.checkSet(w.KeySet)
	}
	return nil
}

// checkAliases refuses a change after which two objects of a tenant would have one alias.
func (m *memStore) checkAliases(c *core.Change) error {
	if !slices.ContainsFunc(c.Stored(), func(o *core.ManagedObject) bool { return o.Attributes.Find(core.AliasAttribute) >= 0 }) {
		return nil
	}
	after := maps.Clone(m.objects)
	for _, o := range core.WritesOf[core.DeleteObject](c) {
		delete(after, storedKey{o.Object.Tenant, o.Object.ID})
	}
	for _, o := range c.Stored() {
		after[storedKey{o.Tenant, o.ID}] = o
	}
	taken := map[storedKey]bool{}
	for key, o := range after {
		for _, a := range o.Attributes.All(core.AliasAttribute) {
			alias := storedKey{key.tenant, a.Value.Text}
			if taken[alias] {
				return core.Errorf(core.ObjectAlreadyExists, "the alias is taken")
			}
			taken[alias] = true
		}
	}
	return nil
}

func (m *memStore) checkVersion(o *core.ManagedObject, version int64) error {
	if old := m.objects[storedKey{o.Tenant, o.ID}]; old == nil || old.Version != version || old.Seq != o.Seq {
		return core.Errorf(core.Conflict, "version")
	}
	return nil
}

func storable(name string) bool {
	return len(name) <= 512 && utf8.ValidString(name) && !strings.Contains(name, "\x00")
}

// setAt is where the set is that has the number, or the epoch of the tenant.
func (m *memStore) setAt(k core.KeySet) int {
	return slices.IndexFunc(m.sets, func(old core.KeySet) bool {
		return old.Number == k.Number || (old.Tenant == k.Tenant && old.Epoch == k.Epoch)
	})
}

func (m *memStore) checkSet(k core.KeySet) error {
	at := m.setAt(k)
	if at < 0 {
		return nil
	}
	old := m.sets[at]
	if old.Number != k.Number || old.Tenant != k.Tenant || old.Epoch != k.Epoch || k.State == core.KeySetPending ||
		old.State != core.KeySetPending && (old.State == core.KeySetDestroyed || k.State != core.KeySetDestroyed) {
		return core.Errorf(core.Conflict, "another node made it, or it is further on")
	}
	return nil
}

func (m *memStore) KeySets(_ context.Context, tenant string) (out []core.KeySet, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, k := range m.sets {
		if tenant == "" || k.Tenant == tenant {
			out = append(out, k)
		}
	}
	return out, nil
}

func (m *memStore) InstallationID(ctx context.Context) (string, error) {
	i, err := m.Installation(ctx)
	return i.ID, err
}

func (m *memStore) Installation(context.Context) (core.Installation, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.site == nil {
		return core.Installation{}, core.Errorf(core.ItemNotFound, "no installation")
	}
	return *m.site, nil
}

func (m *memStore) Intents(context.Context) (sound []core.Intent, tampered []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, i := range m.intents {
		if i.ID == m.forgedIntent {
			tampered = append(tampered, i.ID)
			continue
		}
		sound = append(sound, i)
	}
	return sound, tampered, nil
}

func (m *memStore) OldestRows(_ context.Context, tenant string, limit int) (rows core.OldestRows, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	var seqs []int64
	for _, o := range m.objects {
		if o.Tenant == tenant {
			seqs = append(seqs, o.Seq)
		}
	}
	slices.Sort(seqs)
	if rows.Count = min(len(seqs), limit); rows.Count > 0 {
		rows.LastSeq = seqs[rows.Count-1]
	}
	return rows, nil
}

func (m *memStore) Residents(_ context.Context, tokens [][]byte) (map[string]bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	out := map[string]bool{}
	for _, o := range m.objects {
		for _, t := range tokens {
			if bytes.Equal(o.Material.CKAID, t) {
				out[string(t)] = true
			}
		}
	}
	return out, nil
}

func (m *memStore) RowHash(o *core.ManagedObject) ([]byte, error) {
	row := *o
	row.Seq = 0
	sum := sha256.Sum256(fmt.Appendf(nil, "%#v", row))
	return sum[:], nil
}

func dueOrder(a, b core.DueDate) int {
	return cmp.Or(cmp.Compare(a.At, b.At), cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.ID, b.ID), cmp.Compare(a.Tag, b.Tag))
}

func (m *memStore) DueDates(_ context.Context, kinds core.DueKinds, until int64, after core.DueDate, limit int) (out []core.DueDate, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for d, noted := range m.due {
		if !noted && kinds.Has(d.Tag) && d.At <= until && dueOrder(d, after) > 0 {
			out = append(out, d)
		}
	}
	slices.SortFunc(out, dueOrder)
	return out[:min(limit, len(out))], nil
}

func (m *memStore) Records(_ context.Context, q core.RecordQuery) (out []core.StoredEntry, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range slices.Backward(m.entries) {
		n := e.Number
		if (q.Tenant == "" || e.Tenant == q.Tenant) && (q.Since == 0 || e.Time >= q.Since) && (q.Until == 0 || e.Time < q.Until) &&
			(q.Before == 0 || n < q.Before) && (q.Limit == 0 || len(out) < q.Limit) {
			out = append(out, e)
		}
	}
	return out, nil
}

func (m *memStore) Shared() bool                 { return m.shared }
func (m *memStore) Health(context.Context) error { return nil }
func (m *memStore) Close() error                 { return nil }
