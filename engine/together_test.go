package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
)

// Operations whose records are stored together are decided and recorded one by one, and stored by
// one commit, also if they end by a panic. If it fails, the caller is told.
func TestRecordsStoredTogether(t *testing.T) {
	w := newWorld(t)
	key := w.aesKey()
	random := func(c *core.Caller) error {
		_, err := w.RNGRetrieve(ctx, c, &operation.RNGRetrieveInput{Length: 16})
		return err
	}
	encrypt := func(c *core.Caller, id string) error {
		_, err := w.Encrypt(ctx, c, &operation.EncryptInput{ID: core.ID(id), Parameters: &gcm, Data: []byte("data")})
		return err
	}
	var at int64
	alice := *w.alice
	alice.RecordedAt = &at
	commits, entries := w.store.commits, len(w.store.entries)
	err := w.RecordTogether(&alice, func(c *core.Caller) {
		for range 10 {
			if err := random(c); err != nil {
				t.Error(err)
			}
		}
		if err := encrypt(c, "none"); core.CodeOf(err) != core.ItemNotFound {
			t.Errorf("a key that does not exist: %v", err)
		}
		if w.store.commits != commits || at != 0 {
			t.Errorf("%d records are stored before the end, and %d is told", w.store.commits-commits, at)
		}
	})
	if err != nil || w.store.commits != commits+1 || len(w.store.entries) != entries+11 || at == 0 {
		t.Errorf("%v; %d commits of %d records, the last at %d; want 1 of 11", err, w.store.commits-commits, len(w.store.entries)-entries, at)
	}

	limited := w.aesKey(core.TagUsageLimits, core.UsageLimits{Total: 2, Count: 2, Unit: core.UsageLimitsUnitObject}.Value())
	for name, id := range map[string]string{"a key": key, "a key with Usage Limits": limited} {
		w.store.refuse = core.Errorf(core.StoreUnavailable, "full")
		at = 0
		if err := w.RecordTogether(&alice, func(c *core.Caller) { encrypt(c, id) }); core.CodeOf(err) != core.AuditUnavailable || at != 0 {
			t.Errorf("%s, and the store refuses: %v, a record at %d", name, err, at)
		}
		w.store.refuse = nil
	}

	entries = len(w.store.entries)
	func() {
		defer func() { recover() }()
		w.RecordTogether(&alice, func(c *core.Caller) {
			random(c)
			panic("of the test")
		})
	}()
	if len(w.store.entries) != entries+1 {
		t.Errorf("%d records of an operation before a panic; want 1", len(w.store.entries)-entries)
	}
}
