package store

import (
	"context"
	"fmt"

	"github.com/keyreeve/keyreeve/core"
)

const (
	intentColumns = `id, tenant, kind, token, object, label, began, process, nonce, seal`
	selectIntents = `SELECT ` + intentColumns + ` FROM intent ORDER BY began, id`
	upsertIntent  = `INSERT INTO intent (` + intentColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT (id) DO UPDATE SET tenant = excluded.tenant, kind = excluded.kind, token = excluded.token, ` +
		`object = excluded.object, label = excluded.label, began = excluded.began, process = excluded.process, nonce = excluded.nonce, seal = excluded.seal`
	deleteIntent = `DELETE FROM intent WHERE id = $1`
)

type beginIntent core.BeginIntent

func (w beginIntent) validate() error { return checkIntent(&w.Intent) }

func (beginIntent) weight() int { return 2 }

func (w beginIntent) appendStatements(l *statementCollector) error {
	i := &w.Intent
	seal, err := l.sealSystem(intentRow(i))
	l.addStatements(statement{text: upsertIntent, args: []any{i.ID, i.Tenant, string(i.Kind), i.CKAID, i.Object, i.Label, i.Time, i.Process, i.Nonce, seal}, rows: exactlyOne(notStored("intent")), doing: "write an intent"})
	return err
}

type finishIntent core.FinishIntent

func (finishIntent) validate() error { return nil }

func (finishIntent) weight() int { return 2 }

func (w finishIntent) appendStatements(l *statementCollector) error {
	s := statement{text: deleteIntent, args: []any{w.ID}, doing: "finish an intent"}
	if w.MustBeOpen {
		s.rows = exactlyOne(intentNotOpen(w.ID))
	}
	l.addStatements(s)
	return nil
}

// intentNotOpen is the error if the reconciler has closed an intent. It has also
// removed the token object, so the new row would name a lost key.
func intentNotOpen(intent string) error {
	return core.Errorf(core.Conflict, "the intent %s is no longer open, so its token object is gone; create the object again", intent)
}

func checkIntent(i *core.Intent) error {
	if len(i.CKAID) == 0 || len(i.CKAID) > maxTokenBytes {
		return core.Errorf(core.Internal, "an intent names a CKA_ID of %d bytes; it must have 1 to %d", len(i.CKAID), maxTokenBytes)
	}
	if err := checkName("id of an intent", i.ID, false); err != nil {
		return err
	}
	if err := checkName("tenant", i.Tenant, true); err != nil {
		return err
	}
	if err := checkName("kind of an intent", string(i.Kind), true); err != nil {
		return err
	}
	for what, name := range map[string]string{"label of an intent": i.Label, "process of an intent": i.Process, "nonce of an intent": i.Nonce} {
		if err := checkName(what, name, true); err != nil {
			return err
		}
	}
	return checkName("object", i.Object, true)
}

func intentRow(i *core.Intent) *sealInput {
	return newSealInput("intent", i.ID, i.Tenant).addText(string(i.Kind)).addBytes(i.CKAID).addText(i.Object).addText(i.Label).addNumber(i.Time).addText(i.Process).addText(i.Nonce)
}

// Intents implements [core.IntentTable].
func (t *tables) Intents(ctx context.Context) (sound []core.Intent, tampered []string, err error) {
	if err := t.query(ctx, t.scanIntent(&sound, &tampered), selectIntents); err != nil {
		return nil, nil, err
	}
	return sound, tampered, nil
}

// scanIntent reads one row of intent and checks its seal. If the seal is wrong, only
// the id is kept, in tampered.
func (s seals) scanIntent(sound *[]core.Intent, tampered *[]string) func(scanner) error {
	return func(r scanner) error {
		var i core.Intent
		var seal []byte
		if err := r.Scan(&i.ID, &i.Tenant, (*string)(&i.Kind), &i.CKAID, &i.Object, &i.Label, &i.Time, &i.Process, &i.Nonce, &seal); err != nil {
			var row [10]any // SQLite stores a text in a column of numbers
			if r.Scan(&row[0], &row[1], &row[2], &row[3], &row[4], &row[5], &row[6], &row[7], &row[8], &row[9]) != nil {
				return err
			}
			i.ID = fmt.Sprint(row[0])
			*tampered = append(*tampered, i.ID[:min(len(i.ID), maxNameBytes)])
			return nil
		}
		err := s.checkSystem(intentRow(&i), seal, func() error { return tamperedIntent(&i) })
		if err != nil && core.CodeOf(err) == core.Tampered {
			*tampered = append(*tampered, i.ID[:min(len(i.ID), maxNameBytes)])
			return nil
		}
		*sound = append(*sound, i)
		return err
	}
}

func tamperedIntent(i *core.Intent) error {
	return core.Errorf(core.Tampered, "the database row of intent %s was changed outside keyreeve, so it is not used. Restore the row from a backup, and find out who can write the database", quoteName(i.ID))
}
