package store

import (
	"context"
	"database/sql"
	"errors"

	"github.com/keyreeve/keyreeve/core"
)

// applyChange does all of a change but its entries inside a transaction. An
// error with a code of ours leaves it to the caller to take back what was done.
func applyChange(ctx context.Context, t tx, p *pending) error {
	c := p.change
	for _, i := range c.Begin {
		if _, err := t.exec(ctx, insertIntent, i.ID, i.Tenant, i.Kind, i.Token, i.Object, i.Time); err != nil {
			return unavailable(err, "write an intent")
		}
	}
	for _, o := range c.Insert {
		seq, err := insertOne(ctx, t, o)
		if err != nil {
			return err
		}
		p.seqs = append(p.seqs, seq)
	}
	for _, o := range c.Update {
		if err := updateOne(ctx, t, o); err != nil {
			return err
		}
	}
	for _, o := range c.Delete {
		if err := deleteOne(ctx, t, o); err != nil {
			return err
		}
	}
	for _, k := range c.TenantKeys {
		n, err := t.exec(ctx, upsertKey, k.Tenant, k.Purpose, k.Epoch, k.Token, k.State)
		if err != nil {
			return unavailable(err, "write a tenant key")
		}
		if n != 1 {
			return core.Errorf(core.Conflict, "tenant %s has another key %s of epoch %d, or one that is further on: another node made it", k.Tenant, k.Purpose, k.Epoch)
		}
	}
	for _, id := range c.Finish {
		n, err := t.exec(ctx, deleteIntent, id)
		if err != nil {
			return unavailable(err, "finish an intent")
		}
		if n == 0 && len(c.Insert) > 0 {
			return settled(id)
		}
	}
	return nil
}

func insertOne(ctx context.Context, t tx, o *core.ManagedObject) (int64, error) {
	values, err := changedValues(o)
	if err != nil {
		return 0, err
	}
	seq, err := t.returning(ctx, insertObject, append([]any{o.Tenant, o.ID, int64(o.Type)}, values...)...)
	if err != nil {
		if t.duplicate(err) {
			return 0, exists(o)
		}
		return 0, unavailable(err, "write an object")
	}
	return seq, indexOne(ctx, t, o, seq)
}

func updateOne(ctx context.Context, t tx, o *core.ManagedObject) error {
	values, err := changedValues(o)
	if err != nil {
		return err
	}
	seq, err := t.returning(ctx, updateObject, append(values, o.Tenant, o.ID, o.Version-1)...)
	if errors.Is(err, sql.ErrNoRows) {
		return conflict(o)
	}
	if err != nil {
		return unavailable(err, "change an object")
	}
	if _, err := t.exec(ctx, deleteAttrs, o.Tenant, seq); err != nil {
		return unavailable(err, "change an object")
	}
	return indexOne(ctx, t, o, seq)
}

// deleteOne takes the row's own seq, not the caller's: a wrong one would reach
// the search rows of somebody else's object.
func deleteOne(ctx context.Context, t tx, o *core.ManagedObject) error {
	seq, err := t.returning(ctx, deleteObject, o.Tenant, o.ID, o.Version)
	if errors.Is(err, sql.ErrNoRows) {
		return conflict(o)
	}
	if err == nil {
		_, err = t.exec(ctx, deleteAttrs, o.Tenant, seq)
	}
	if err != nil {
		return unavailable(err, "delete an object")
	}
	return nil
}

// settled refuses a birth whose intent the reconciler has closed meanwhile: it
// has removed the token object too, and the row would name a key that is lost.
func settled(intent string) error {
	return core.Errorf(core.Conflict, "the intent %s is not open any more, so the token object that it was for is gone; make the object anew", intent)
}

// indexOne writes the search table's lines of an object.
func indexOne(ctx context.Context, t tx, o *core.ManagedObject, seq int64) error {
	for _, r := range searchRows(o.Attributes) {
		if _, err := t.exec(ctx, insertAttr, o.Tenant, r.name, r.val, seq); err != nil {
			return unavailable(err, "index an object")
		}
	}
	return nil
}

func scanKey(out *[]core.TenantKey) func(scanner) error {
	return func(r scanner) error {
		var k core.TenantKey
		err := r.Scan(&k.Tenant, &k.Purpose, &k.Epoch, &k.Token, &k.State)
		*out = append(*out, k)
		return err
	}
}

func scanIntent(out *[]core.Intent) func(scanner) error {
	return func(r scanner) error {
		var i core.Intent
		err := r.Scan(&i.ID, &i.Tenant, &i.Kind, &i.Token, &i.Object, &i.Time)
		*out = append(*out, i)
		return err
	}
}

func scanEntry(out *[]core.StoredEntry) func(scanner) error {
	return func(r scanner) error {
		var e core.StoredEntry
		err := r.Scan(&e.Number, &e.Tenant, &e.Time, &e.Body)
		*out = append(*out, e)
		return err
	}
}
