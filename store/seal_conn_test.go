package store

import (
	"path/filepath"
	"sync/atomic"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// askingSealer asks the store for a tenant's sets before it checks a seal, as the
// engine does for a tenant whose keys another node has made.
type askingSealer struct {
	storetest.Sealer
	store core.Store
	asked atomic.Int32
}

func (s *askingSealer) CheckSeal(tenant string, row, seal []byte) error {
	if tenant != systemSet && s.store != nil {
		s.asked.Add(1)
		if _, err := s.store.KeySets(bg, tenant); err != nil {
			return err
		}
	}
	return s.Sealer.CheckSeal(tenant, row, seal)
}

// A seal is checked after the connection of the row is released. Otherwise reads could hold
// all connections while each waits for another one, for the keys of its tenant.
func TestSealsAreCheckedWithoutConnection(t *testing.T) {
	url := storetest.Postgres(t) + "&pool_max_conns=1"
	sealer := &askingSealer{}
	s, err := Create(bg, url, sealer)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sealer.store = s
	o := storetest.Object("t", "an-object")
	if err := s.Commit(bg, core.ChangeOf(core.InsertObject{Object: o})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Object(bg, "t", o.ID); err != nil {
		t.Errorf("read an object: %v", err)
	}
	if found, err := s.Candidates(bg, "t", core.Filter{WholeTenant: true}, 0, 10); err != nil || len(found) != 1 {
		t.Errorf("search: %d objects, %v", len(found), err)
	}
	if sealer.asked.Load() != 2 {
		t.Errorf("the keys were asked for %d times", sealer.asked.Load())
	}
}

// busySealer cannot check seals.
type busySealer struct{ storetest.Sealer }

func (s *busySealer) CheckSeal(string, []byte, []byte) error {
	return core.Errorf(core.StoreUnavailable, "the sets of keys cannot be read")
}

// A row whose seal could not be checked is not reported as tampered.
func TestUncheckedSealIsNoTampering(t *testing.T) {
	s, err := Create(bg, "sqlite:"+filepath.Join(t.TempDir(), "busy.db"), &busySealer{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if err := s.Commit(bg, core.ChangeOf(core.InsertObject{Object: storetest.Object("t", "an-object")})); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Object(bg, "t", "an-object"); core.CodeOf(err) != core.StoreUnavailable {
		t.Errorf("read an object: %v", err)
	}
	if _, err := s.Candidates(bg, "t", core.Filter{WholeTenant: true}, 0, 10); core.CodeOf(err) != core.StoreUnavailable {
		t.Errorf("search: %v", err)
	}
}
