package store

import (
	"context"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/migrations"
)

const (
	selectInstallation    = `SELECT id, created, checks, seal FROM installation`
	insertInstallationRow = `INSERT INTO installation (one, id, created, checks, seal) VALUES (1, $1, $2, $3, $4)`
)

type insertInstallation core.InsertInstallation

func (insertInstallation) validate() error { return nil }

func (insertInstallation) weight() int { return 1 }

func (w insertInstallation) appendStatements(l *statementCollector) error {
	i := &w.Installation
	seal, err := l.sealSystem(installationRow(i))
	l.addStatements(statement{text: insertInstallationRow, args: []any{i.ID, i.Created, i.Checks, seal}, rows: exactlyOne(notStored("installation")), duplicate: secondInstallation(), doing: "write the installation"})
	return err
}

func secondInstallation() error {
	return core.Errorf(core.Conflict, "the database has an installation already")
}

func installationRow(i *core.Installation) *sealInput {
	return newSealInput("installation", i.ID).addNumber(i.Created).addBytes(i.Checks)
}

// sealedInstallation is a row of installation whose seal is not checked yet.
type sealedInstallation struct {
	core.Installation
	seal []byte
}

// installations reads the row, of which there is at most one. It does not check the seal.
func (t *tables) installations(ctx context.Context) (all []sealedInstallation, err error) {
	err = t.query(ctx, func(r scanner) error {
		var i sealedInstallation
		err := r.Scan(&i.ID, &i.Created, &i.Checks, &i.seal)
		all = append(all, i)
		return err
	}, selectInstallation)
	if err == nil && len(all) == 0 {
		err = migrations.NoInstallation()
	}
	return all, err
}

// InstallationID implements [core.InstallationTable]. It does not check the seal: the
// key of the seal is found by the id.
func (t *tables) InstallationID(ctx context.Context) (string, error) {
	all, err := t.installations(ctx)
	if err != nil {
		return "", err
	}
	return all[0].ID, nil
}

// Installation implements [core.InstallationTable].
func (t *tables) Installation(ctx context.Context) (core.Installation, error) {
	all, err := t.installations(ctx)
	if err != nil {
		return core.Installation{}, err
	}
	i := &all[0].Installation
	if err := t.checkSystem(installationRow(i), all[0].seal, func() error { return tamperedInstallation(i) }); err != nil {
		return core.Installation{}, err
	}
	return *i, nil
}

func tamperedInstallation(i *core.Installation) error {
	return core.Errorf(core.Tampered, "the database row of installation %s was changed outside keyreeve. Restore the row from a backup, and find out who can write the database", quoteName(i.ID))
}
