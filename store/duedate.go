package store

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
)

const (
	insertDueDate  = `INSERT INTO due_date (tenant, id, tag, at, done) VALUES ($1, $2, $3, $4, 0) ON CONFLICT DO NOTHING`
	updateDueDate  = `UPDATE due_date SET done = 1 WHERE tenant = $1 AND id = $2 AND tag = $3 AND at = $4 AND done = 0`
	deleteDueDate  = `DELETE FROM due_date WHERE tenant = $1 AND id = $2 AND tag = $3 AND at = $4`
	deleteDueDates = `DELETE FROM due_date WHERE tenant = $1 AND id = $2`
	selectDueDates = `SELECT tenant, id, tag, at FROM due_date WHERE done = 0 AND at <= $1 AND (at, tenant, id, tag) > ($2, $3, $4, $5) AND tag BETWEEN $6 AND $7 ORDER BY at, tenant, id, tag LIMIT $8`
)

type addDueDate core.AddDueDate

func (addDueDate) validate() error { return nil }

func (addDueDate) weight() int { return 1 }

func (w addDueDate) appendStatements(l *statementCollector) error {
	l.addStatements(statement{text: insertDueDate, args: dueDateArgs(&w.DueDate), doing: "write a date"})
	return nil
}

type noteDueDate core.NoteDueDate

func (noteDueDate) validate() error { return nil }

func (noteDueDate) weight() int { return 1 }

func (w noteDueDate) appendStatements(l *statementCollector) error {
	noted := core.Errorf(core.Conflict, "the date %d of object %s was noted before (%v)", w.DueDate.At, w.DueDate.ID, w.DueDate.Tag)
	text := updateDueDate
	if !core.DueAttributes.Has(w.DueDate.Tag) {
		text = deleteDueDate
	}
	l.addStatements(statement{text: text, args: dueDateArgs(&w.DueDate), rows: exactlyOne(noted), doing: "note a date"})
	return nil
}

func dueDateArgs(d *core.DueDate) []any { return []any{d.Tenant, d.ID, int64(d.Tag), d.At} }

// DueDates implements [core.DueDateTable].
func (t *tables) DueDates(ctx context.Context, kinds core.DueKinds, until int64, after core.DueDate, limit int) (due []core.DueDate, err error) {
	err = t.query(ctx, func(r scanner) error {
		var d core.DueDate
		var tag int64
		err := r.Scan(&d.Tenant, &d.ID, &tag, &d.At)
		d.Tag = core.Tag(tag)
		due = append(due, d)
		return err
	}, selectDueDates, until, after.At, after.Tenant, after.ID, int64(after.Tag), int64(kinds.From), int64(kinds.To), limit)
	return due, err
}
