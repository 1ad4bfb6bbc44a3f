package store

import (
	"context"
	"errors"

	"github.com/keyreeve/keyreeve/core"
)

const (
	selectKeySets = `SELECT number, tenant, epoch, state, checks, seal FROM tenant_key WHERE ($1 = '' OR tenant = $2) ORDER BY tenant, epoch`
	upsertKeySet  = `INSERT INTO tenant_key (number, tenant, epoch, state, checks, seal) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (number) DO UPDATE SET state = excluded.state, checks = excluded.checks, seal = excluded.seal ` +
		`WHERE tenant_key.tenant = excluded.tenant AND tenant_key.epoch = excluded.epoch AND (tenant_key.state = 'pending' AND excluded.state <> 'pending' OR tenant_key.state IN ('active', 'retired') AND excluded.state = 'destroyed')`
)

type saveKeySet core.SaveKeySet

func (w saveKeySet) validate() error { return checkKeySet(&w.KeySet) }

func (saveKeySet) weight() int { return 2 }

func (w saveKeySet) appendStatements(l *statementCollector) error {
	k := &w.KeySet
	seal, err := l.sealSystem(keySetRow(k))
	l.addStatements(statement{text: upsertKeySet, args: []any{k.Number, k.Tenant, k.Epoch, string(k.State), nullable(k.Checks), seal}, rows: exactlyOne(keySetTaken(*k)), duplicate: keySetTaken(*k), doing: "write a set of keys"})
	return err
}

func keySetTaken(k core.KeySet) error {
	return core.Errorf(core.Conflict, "another node made set %d or epoch %d of tenant %s, or has already changed its state", k.Number, k.Epoch, k.Tenant)
}

func checkKeySet(k *core.KeySet) error {
	states := map[core.KeySetState]bool{core.KeySetPending: true, core.KeySetActive: true, core.KeySetRetired: true, core.KeySetDestroyed: true}
	if !states[k.State] || k.Number < 1 || k.Epoch < 1 || k.Epoch > core.MaxKeyEpoch || len(k.Checks) > maxChecksBytes || (k.State == core.KeySetActive) != (len(k.Checks) > 0) {
		return core.Errorf(core.Internal, "set %d of epoch %d has the state %q and %d bytes of check values; an active one has up to %d, another none", k.Number, k.Epoch, k.State, len(k.Checks), maxChecksBytes)
	}
	return checkName("tenant", k.Tenant, false)
}

func keySetRow(k *core.KeySet) *sealInput {
	return newSealInput("tenant_key", k.Tenant).addNumber(k.Number).addNumber(int64(k.Epoch)).addText(string(k.State)).addBytes(k.Checks)
}

// KeySets implements [core.KeySetTable].
func (t *tables) KeySets(ctx context.Context, tenant string) (sets []core.KeySet, err error) {
	var tampered []error
	if err := t.query(ctx, t.scanKeySet(&sets, &tampered), selectKeySets, tenant, tenant); err != nil {
		return nil, err
	}
	return sets, errors.Join(tampered...)
}

// scanKeySet reads a set of keys. If the row was tampered with, its error goes to
// tampered, so that the other rows can still be read.
func (s seals) scanKeySet(out *[]core.KeySet, tampered *[]error) func(scanner) error {
	return func(r scanner) error {
		var k core.KeySet
		var seal []byte
		err := r.Scan(&k.Number, &k.Tenant, &k.Epoch, (*string)(&k.State), &k.Checks, &seal)
		if err == nil {
			err = s.checkSystem(keySetRow(&k), seal, func() error { return tamperedKeySet(&k) })
		}
		if err != nil && core.CodeOf(err) == core.Tampered {
			if len(*tampered) < maxTamperedKeySets {
				*tampered = append(*tampered, err)
			}
			return nil
		}
		*out = append(*out, k)
		return err
	}
}

// maxTamperedKeySets bounds the errors about tampered rows.
const maxTamperedKeySets = 100

func tamperedKeySet(k *core.KeySet) error {
	return core.Errorf(core.Tampered, "the database row of set %d of tenant %s was changed outside keyreeve, so its keys are not used. Restore the row from a backup, and find out who can write the database",
		k.Number, quoteName(k.Tenant))
}
