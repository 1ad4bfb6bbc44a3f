package storetest

import (
	"reflect"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// A database has one installation, which is stored once.
func installation(t *testing.T, s core.Store) {
	wantCode(t, "an id before there is one", second(s.InstallationID(ctx)), core.ItemNotFound)
	wantCode(t, "the installation before there is one", second(s.Installation(ctx)), core.ItemNotFound)
	i := core.Installation{ID: "0123456789abcdef0123456789abcdef", Created: 5, Checks: []byte("checks")}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.InsertInstallation{Installation: i})))
	if got, err := s.Installation(ctx); err != nil || !reflect.DeepEqual(got, i) {
		t.Errorf("the installation is %+v, %v", got, err)
	}
	if id, err := s.InstallationID(ctx); err != nil || id != i.ID {
		t.Errorf("the id is %q, %v", id, err)
	}
	rival := i
	rival.ID = "ffffffffffffffffffffffffffffffff"
	wantCode(t, "a second installation", s.Commit(ctx, core.ChangeOf(core.InsertInstallation{Installation: rival})), core.Conflict)
}
