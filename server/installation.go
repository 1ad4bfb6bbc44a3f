package server

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/keyreeve/keyreeve/audit"
	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/hsm/custody"
	"github.com/keyreeve/keyreeve/store"
)

// Init makes a new installation of a configuration: the system set of keys in
// the token, and the row that names it in the database, whose first record says
// so. It returns the id. A database that has an installation is refused.
func Init(ctx context.Context, cfg Config, log *slog.Logger) (string, error) {
	url, err := cfg.storeURL()
	if err != nil {
		return "", err
	}
	token, _, err := openHSM(ctx, cfg.tokenSettings(), log)
	if err != nil {
		return "", err
	}
	defer token.Close(ctx)
	s, err := store.Create(ctx, url, token)
	if err != nil {
		return "", err
	}
	defer s.Close()
	switch id, err := s.InstallationID(ctx); {
	case err == nil:
		return "", core.Errorf(core.ObjectAlreadyExists, "the database has the installation %s already; start it with keyreeve serve, or name another database in store.url", id)
	case core.CodeOf(err) != core.ItemNotFound:
		return "", err
	}
	return newInstallation(ctx, token, s, cfg.nodeName())
}

// newInstallation makes the keys first: a crash before the row is written leaves
// keys that nothing is sealed under, and init can be run again.
func newInstallation(ctx context.Context, token *custody.Custody, s core.Committer, node string) (string, error) {
	b := make([]byte, 16)
	rand.Read(b)
	i := core.Installation{ID: hex.EncodeToString(b), Created: time.Now().Unix()}
	var err error
	if i.Checks, err = token.MakeSystemSet(ctx, i.ID); err != nil {
		return "", err
	}
	if err := token.OpenInstallation(ctx, i.ID); err != nil {
		return "", err
	}
	h := token.Health(ctx)
	r := core.Record{Time: time.Now().UnixMicro(), Principal: "keyreeve", Door: core.DoorClock, Action: core.ActionCreateInstallation, Object: i.ID,
		Outcome: core.Allowed, ExecutedIn: "token", Detail: fmt.Sprintf("installation %s in token %q with serial %s", i.ID, h.Label, h.Serial)}
	return i.ID, s.Commit(ctx, core.ChangeOf(core.InsertInstallation{Installation: i}, core.AppendEntry{Entry: new(audit.New(node).Seal(&r))}))
}

// openInstallation finds the installation that database and token belong to. A
// development server on an empty folder makes one.
func (s *Server) openInstallation(ctx context.Context) (stopper, error) {
	err := belongs(ctx, s.token, s.store)
	if core.CodeOf(err) != core.ItemNotFound || s.cfg.dev == nil {
		return nil, err
	}
	return nil, s.cfg.devInstallation(ctx, s.token, s.store, err)
}

// belongs loads the system set that the database's installation names, and
// refuses a database and a token that do not belong together.
func belongs(ctx context.Context, token *custody.Custody, s core.InstallationTable) error {
	id, err := s.InstallationID(ctx)
	if core.CodeOf(err) == core.ItemNotFound {
		return alsoToken(ctx, token, err)
	}
	if err != nil {
		return err
	}
	if err := token.OpenInstallation(ctx, id); err != nil {
		return err
	}
	i, err := s.Installation(ctx)
	if err != nil {
		return err
	}
	return token.ConfirmInstallation(ctx, i)
}

// alsoToken adds the installations that the token has to an error about a database
// without one.
func alsoToken(ctx context.Context, token *custody.Custody, none error) error {
	there, err := token.Installations(ctx)
	if err != nil {
		return err
	}
	h := token.Health(ctx)
	return core.Errorf(core.ItemNotFound, "%s. Token %q with serial %s has %s", core.DetailOf(none), h.Label, h.Serial, custody.DescribeInstallations(there))
}

// devMark is a file in a development folder while its installation is being
// made: a server that was killed meanwhile is not taken for one whose database
// was lost.
const devMark = "installing"

// devInstallation makes the installation of an empty folder.
func (c *Config) devInstallation(ctx context.Context, token *custody.Custody, s core.Store, none error) error {
	mark := filepath.Join(c.Dir, devMark)
	there, err := token.Installations(ctx)
	if err != nil {
		return err
	}
	if _, err := os.Stat(mark); err != nil && len(there) > 0 {
		return none
	}
	if err := os.WriteFile(mark, nil, 0o600); err != nil {
		return err
	}
	if _, err := newInstallation(ctx, token, s, c.nodeName()); err != nil {
		return err
	}
	if err := os.Remove(mark); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return belongs(ctx, token, s)
}
