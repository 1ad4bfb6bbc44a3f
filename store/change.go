package store

import "github.com/keyreeve/keyreeve/core"

// rowWrite is a write of a change, with what the store needs to carry it out.
type rowWrite interface {
	// validate fails if one of the databases could not store the write.
	validate() error
	// weight estimates how long the database takes; an audit record has the weight 1.
	weight() int
	// appendStatements seals the rows of the write and appends its statements.
	appendStatements(l *statementCollector) error
}

// rowWriteOf returns the rowWrite of a write. Each kind is in the file of its table.
// It allocates nothing for an audit record.
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
	case core.RemoveRows:
		return removeRows(w)
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
	case core.SaveDirectoryEntry:
		return saveDirectoryEntry(w)
	case core.PruneDirectoryEntry:
		return pruneDirectoryEntry(w)
	case core.RequireEntry:
		return requireEntry(w)
	}
	return unknownWrite{w}
}

// unknownWrite is a write that the store has no table for.
type unknownWrite struct{ core.Write }

func (w unknownWrite) validate() error {
	return core.Errorf(core.Internal, "the store does not know the write %T", w.Write)
}

func (unknownWrite) weight() int { return 0 }

func (w unknownWrite) appendStatements(*statementCollector) error { return w.validate() }

// statementCollector collects the statements of a change, except those of its audit entries.
type statementCollector struct {
	seals
	seqs       []int64 // for the objects whose statements are not here yet
	statements []statement
	aliases    []statement // run after all others, so that an alias can move within a change
	usage      []core.AddUsage
}

func (l *statementCollector) addStatements(s ...statement) { l.statements = append(l.statements, s...) }

// statementsOf returns the statements of a change. The objects that it inserts get
// their Seq from seqs: a seal covers Seq, so the database must not choose it.
func (s seals) statementsOf(c *core.Change, seqs []int64) ([]statement, error) {
	l := statementCollector{seals: s, seqs: seqs}
	for _, w := range c.Writes {
		if err := rowWriteOf(w).appendStatements(&l); err != nil {
			return nil, err
		}
	}
	l.addStatements(l.aliases...)
	l.addUsageStatements()
	return l.statements, nil
}

// checkChange fails if one of the databases could not store a change. In a batch,
// such a change would make the others fail too.
func checkChange(c *core.Change) error {
	for _, w := range c.Writes {
		if err := rowWriteOf(w).validate(); err != nil {
			return err
		}
	}
	return nil
}

// weightOf returns the sum of the weights of the writes.
func weightOf(c *core.Change) (sum int) {
	for _, w := range c.Writes {
		sum += rowWriteOf(w).weight()
	}
	return sum
}
