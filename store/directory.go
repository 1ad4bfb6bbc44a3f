package store

import (
	"bytes"
	"context"
	"math"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/document"
)

const (
	directoryColumns = `tenant, kind, id, version, at, author, reason, deleted, body, seal, change`

	countDirectoryChange  = `UPDATE directory_change SET last = last + 1 WHERE one = 1`
	lockDirectoryChange   = `UPDATE directory_change SET last = last WHERE one = 1`
	isNextVersion         = `UPDATE directory_change SET last = last WHERE one = 1 AND $1 = 1 + (SELECT coalesce(max(version), 0) FROM directory_entry WHERE tenant = $2 AND kind = $3 AND id = $4)`
	insertDirectoryEntry  = `INSERT INTO directory_entry (` + directoryColumns + `) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, (SELECT last FROM directory_change WHERE one = 1))`
	deleteOldVersions     = `DELETE FROM directory_entry WHERE tenant = $1 AND kind = $2 AND id = $3 AND version IN (SELECT version FROM directory_entry WHERE tenant = $1 AND kind = $2 AND id = $3 AND version <= $4 ORDER BY version LIMIT 10)`
	deleteDirectoryEntry  = `DELETE FROM directory_entry WHERE tenant = $1 AND kind = $2 AND id = $3`
	selectDirectoryChange = `SELECT last FROM directory_change WHERE one = 1`

	selectDirectoryChanges  = `SELECT ` + directoryColumns + ` FROM directory_entry WHERE change > $1 ORDER BY change LIMIT $2`
	selectDirectoryHistory  = `SELECT ` + directoryColumns + ` FROM directory_entry WHERE tenant = $1 AND kind = $2 AND id = $3 AND version < $4 ORDER BY version DESC LIMIT $5`
	selectDirectoryVersions = `SELECT tenant, kind, id, max(version) FROM directory_entry WHERE (tenant, kind, id) > ($1, $2, $3) GROUP BY tenant, kind, id ORDER BY tenant, kind, id LIMIT $4`
	selectDirectoryEntries  = `SELECT ` + directoryColumns + ` FROM directory_entry e WHERE (tenant, kind, id) > ($1, $2, $3) ` +
		`AND version = (SELECT max(n.version) FROM directory_entry n WHERE n.tenant = e.tenant AND n.kind = e.kind AND n.id = e.id) ORDER BY tenant, kind, id LIMIT $4`
)

// maxDirectoryPage bounds the rows of one read: each may have a body of 1 MiB.
const maxDirectoryPage = 100

type saveDirectoryEntry core.SaveDirectoryEntry

func (w saveDirectoryEntry) validate() error { return checkDirectoryEntry(w.Entry) }

// weight counts a large body as several writes.
func (w saveDirectoryEntry) weight() int { return 4 + len(w.Entry.Body)>>14 }

// appendStatements counts the change first. The database lets other transactions wait for
// the row of the count until this one has ended, so change numbers become visible in
// order, and the newest version cannot change before the new one is stored.
func (w saveDirectoryEntry) appendStatements(l *statementCollector) error {
	e := w.Entry
	row := directoryRow{entry: *e, deleted: numberOf(e.Deleted)}
	var err error
	if row.entry.Body, err = l.sealer.EncryptBody(directoryNameBytes(e), e.Body); err != nil {
		return err
	}
	seal, err := l.sealSystem(row.sealedColumns())
	taken := notNextVersion(e)
	l.addStatements(countChange(),
		statement{text: isNextVersion, args: []any{e.Version, e.Tenant, string(e.Kind), e.ID}, rows: exactlyOne(taken), doing: "compare the version of a directory entry"},
		statement{text: insertDirectoryEntry, args: []any{e.Tenant, string(e.Kind), e.ID, e.Version, e.At, e.Author, e.Reason, row.deleted, row.entry.Body, seal},
			rows: exactlyOne(notStored("directory_entry")), duplicate: taken, doing: "write a directory entry"})
	if last := e.Version - core.KeptVersions; last > 0 {
		l.addStatements(statement{text: deleteOldVersions, args: []any{e.Tenant, string(e.Kind), e.ID, last}, doing: "remove old versions of a directory entry"})
	}
	return err
}

type pruneDirectoryEntry core.PruneDirectoryEntry

func (w pruneDirectoryEntry) validate() error {
	if !w.Name.Kind.Prunable() && (!w.TenantDeleted || w.Name.Tenant == "") {
		return core.Errorf(core.IllegalOperation, "the versions of a directory entry of kind %q are kept", w.Name.Kind)
	}
	return nil
}

func (pruneDirectoryEntry) weight() int { return 4 }

func (w pruneDirectoryEntry) appendStatements(l *statementCollector) error {
	l.addStatements(countChange(), statement{text: deleteDirectoryEntry, args: []any{w.Name.Tenant, string(w.Name.Kind), w.Name.ID}, doing: "prune a directory entry"})
	return nil
}

type requireEntry core.RequireEntry

func (requireEntry) validate() error { return nil }

func (requireEntry) weight() int { return 1 }

// appendStatements locks the row of the count first, in a statement of its own, so that the
// newest version is read when nobody can store another one before this transaction ends.
func (w requireEntry) appendStatements(l *statementCollector) error {
	fenced := core.Wrap(core.Conflict, core.ErrFenced, "version %d of the %s %q is not the newest any more", w.Version, w.Name.Kind, w.Name.ID)
	l.addStatements(statement{text: lockDirectoryChange, rows: exactlyOne(lostChangeRow()), doing: "lock the directory"},
		statement{text: isNextVersion, args: []any{w.Version + 1, w.Name.Tenant, string(w.Name.Kind), w.Name.ID}, rows: exactlyOne(fenced), doing: "compare the version of a directory entry"})
	return nil
}

func lostChangeRow() error {
	return core.Errorf(core.StoreUnavailable, "the database has lost the row of table directory_change; restore it from a backup")
}

func countChange() statement {
	return statement{text: countDirectoryChange, rows: exactlyOne(lostChangeRow()), doing: "count a change of the directory"}
}

func notNextVersion(e *core.DirectoryEntry) error {
	return core.Errorf(core.Conflict, "version %d is not the next one of the %s %q: somebody else changed it first; read it again", e.Version, e.Kind, e.ID)
}

func checkDirectoryEntry(e *core.DirectoryEntry) error {
	if !e.Kind.Known() {
		return core.Errorf(core.InvalidField, "a directory entry has the unknown kind %q", string(e.Kind))
	}
	if e.Version < 1 {
		return core.Errorf(core.InvalidField, "the version of a directory entry is %d; the first one is 1", e.Version)
	}
	if err := checkName("tenant", e.Tenant, true); err != nil {
		return err
	}
	for _, c := range []struct {
		what, text string
		bytes      int
	}{{"id of a directory entry", e.ID, core.MaxDirectoryID}, {"author of a directory entry", e.Author, core.MaxDirectoryAuthor},
		{"reason of a directory entry", e.Reason, core.MaxDirectoryReason}, {"body of a directory entry", string(e.Body), core.MaxDirectoryBody}} {
		if len(c.text) > c.bytes {
			return core.Errorf(core.InvalidField, "the %s has %d bytes; at most %d are allowed", c.what, len(c.text), c.bytes)
		}
	}
	return checkDirectoryTexts(e)
}

// checkDirectoryTexts fails if a database could not store a text of an entry.
func checkDirectoryTexts(e *core.DirectoryEntry) error {
	if err := checkName("id of a directory entry", e.ID, false); err != nil {
		return err
	}
	if err := checkName("author of a directory entry", e.Author, true); err != nil {
		return err
	}
	if !document.IsStorable(e.Reason) {
		return core.Errorf(core.InvalidField, "the reason of a directory entry is not UTF-8 text without NUL")
	}
	return nil
}

// directoryRow is a row of directory_entry. The body of its entry is encrypted.
type directoryRow struct {
	entry   core.DirectoryEntry
	deleted int64
	seal    []byte
	change  int64
}

func (r *directoryRow) sealedColumns() *sealInput {
	e := &r.entry
	return newSealInput("directory_entry", e.Tenant, string(e.Kind), e.ID).addNumber(e.Version).addNumber(e.At).addText(e.Author).addText(e.Reason).addNumber(r.deleted).addBytes(e.Body)
}

// directoryNameBytes returns what an encrypted body is bound to.
func directoryNameBytes(e *core.DirectoryEntry) []byte {
	r := newSealInput("directory_entry body", e.Tenant, string(e.Kind), e.ID).addNumber(e.Version)
	defer r.recycle()
	return bytes.Clone(r.b)
}

func numberOf(yes bool) int64 {
	if yes {
		return 1
	}
	return 0
}

func scanDirectoryRow(r scanner) (row directoryRow, err error) {
	e := &row.entry
	err = r.Scan(&e.Tenant, (*string)(&e.Kind), &e.ID, &e.Version, &e.At, &e.Author, &e.Reason, &row.deleted, &e.Body, &row.seal, &row.change)
	return row, err
}

// openDirectoryRow checks the seal of a row and decrypts its body.
func (s seals) openDirectoryRow(row *directoryRow) (*core.DirectoryEntry, error) {
	e := &row.entry
	tampered := func() error { return tamperedDirectoryRow(e) }
	if err := s.checkSystem(row.sealedColumns(), row.seal, tampered); err != nil {
		return nil, err
	}
	body, err := s.sealer.DecryptBody(directoryNameBytes(e), e.Body)
	if core.CodeOf(err) == core.CryptographicFailure {
		err = tampered()
	}
	if err != nil {
		return nil, err
	}
	e.Body, e.Deleted = body, row.deleted == 1
	return e, nil
}

func tamperedDirectoryRow(e *core.DirectoryEntry) error {
	return core.Errorf(core.Tampered, "the database row of version %d of the %s %s was changed outside keyreeve, so it is not used. Restore the row from a backup, and find out who can write the database",
		e.Version, quoteName(string(e.Kind)), quoteName(e.ID))
}

// DirectoryChange implements [core.DirectoryTable].
func (t *tables) DirectoryChange(ctx context.Context) (last int64, err error) {
	err = t.query(ctx, func(r scanner) error { return r.Scan(&last) }, selectDirectoryChange)
	return last, err
}

// DirectoryChanges implements [core.DirectoryTable].
func (t *tables) DirectoryChanges(ctx context.Context, after int64, limit int) (core.DirectoryPage, error) {
	limit = min(limit, maxDirectoryPage)
	return t.directoryPage(ctx, limit, selectDirectoryChanges, after, limit)
}

// DirectoryEntries implements [core.DirectoryTable].
func (t *tables) DirectoryEntries(ctx context.Context, after core.DirectoryName, limit int) (core.DirectoryPage, error) {
	limit = min(limit, maxDirectoryPage)
	return t.directoryPage(ctx, limit, selectDirectoryEntries, after.Tenant, string(after.Kind), after.ID, limit)
}

func (t *tables) directoryPage(ctx context.Context, limit int, text string, args ...any) (page core.DirectoryPage, err error) {
	rows := 0
	err = t.query(ctx, func(r scanner) error {
		row, err := scanDirectoryRow(r)
		if err != nil {
			return err
		}
		rows++
		page.Last, page.Change = row.entry.Name(), row.change
		e, err := t.openDirectoryRow(&row)
		if core.CodeOf(err) == core.Tampered {
			page.Tampered = append(page.Tampered, page.Last)
			return nil
		}
		page.Entries = append(page.Entries, e)
		return err
	}, text, args...)
	if err != nil {
		return core.DirectoryPage{}, err
	}
	page.More = rows == limit
	return page, nil
}

// DirectoryVersions implements [core.DirectoryTable].
func (t *tables) DirectoryVersions(ctx context.Context, after core.DirectoryName, limit int) (all []core.DirectoryVersion, err error) {
	err = t.query(ctx, func(r scanner) error {
		var v core.DirectoryVersion
		err := r.Scan(&v.Name.Tenant, (*string)(&v.Name.Kind), &v.Name.ID, &v.Version)
		all = append(all, v)
		return err
	}, selectDirectoryVersions, after.Tenant, string(after.Kind), after.ID, limit)
	return all, err
}

// DirectoryHistory implements [core.DirectoryTable].
func (t *tables) DirectoryHistory(ctx context.Context, name core.DirectoryName, below int64, limit int) (versions []*core.DirectoryEntry, err error) {
	if below <= 0 {
		below = math.MaxInt64
	}
	err = t.query(ctx, func(r scanner) error {
		row, err := scanDirectoryRow(r)
		if err != nil {
			return err
		}
		e, err := t.openDirectoryRow(&row)
		versions = append(versions, e)
		return err
	}, selectDirectoryHistory, name.Tenant, string(name.Kind), name.ID, below, min(limit, maxDirectoryPage))
	if err != nil {
		return nil, err
	}
	return versions, nil
}
