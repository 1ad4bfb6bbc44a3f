package store

import "github.com/keyreeve/keyreeve/core"

// rowWrite is a write of a change as the store carries it out.
type rowWrite interface {
	// check refuses what one of the databases could not keep.
	validate() error
	// weight is about how long the database takes, in audit records.
	weight() int
	// lay appends the statements, with the seals of their rows.
	appendStatements(l *layout) error
}

// rowWriteOf finds how a write is carried out: each kind in the file of its table.
// Nothing is allocated for an audit record.
func rowWriteOf(w core.Write) rowWrite {
	switch w := w.(type) {
	case core.AppendEntry:
		return appendEntry(w)
	case core.InsertObject:
		return insertObject(w)
	case core.UpdateObject:
		return updateObject(w)
	case core.DeleteObject:
		return deleteObject(w)
	case core.SaveKeySet:
		return saveKeySet(w)
	case core.InsertInstallation:
		return insertInstallation(w)
	case core.BeginIntent:
		return beginIntent(w)
	case core.FinishIntent:
		return finishIntent(w)
	case core.AddDueDate:
		return addDueDate(w)
	case core.NoteDueDate:
		return noteDueDate(w)
	case core.AddUsage:
		return addUsage(w)
	}
	return unknownWrite{w}
}

// unknownWrite is a write that the store has no table for.
type unknownWrite struct{ core.Write }

func (w unknownWrite) validate() error {
	return core.Errorf(core.Internal, "the store does not know the write %T", w.Write)
}

func (unknownWrite) weight() int { return 0 }

func (w unknownWrite) appendStatements(*layout) error { return w.validate() }

// layout is a change as statements, all but its audit entries.
type layout struct {
	seals
	seqs       []int64 // of the objects that are yet to be inserted
	statements []statement
	usage      []core.AddUsage
}

func (l *layout) addStatements(s ...statement) { l.statements = append(l.statements, s...) }

// statementsOf lays a change out. The objects that it inserts are given the Seq of seqs: a
// seal covers Seq, so the database must not choose it.
func (s seals) statementsOf(c *core.Change, seqs []int64) ([]statement, error) {
	l := layout{seals: s, seqs: seqs}
	for _, w := range c.Writes {
		if err := rowWriteOf(w).appendStatements(&l); err != nil {
			return nil, err
		}
	}
	l.addUsageStatements()
	return l.statements, nil
}

// checkChange refuses, before a change joins a group, what one of the databases
// could not keep: in the group it would fail the others too.
func checkChange(c *core.Change) error {
	for _, w := range c.Writes {
		if err := rowWriteOf(w).validate(); err != nil {
			return err
		}
	}
	return nil
}

// weightOf is about how long the database takes for a change, in audit records.
func weightOf(c *core.Change) (sum int) {
	for _, w := range c.Writes {
		sum += rowWriteOf(w).weight()
	}
	return sum
}
