package store_test

import (
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/store/storetest"
)

// A transaction whose node is gone still holds a count. The commit that needs the count
// fails in time, the next one does not wait, and there is no gap when the old transaction
// ends.
func TestCountOfALostTransaction(t *testing.T) {
	t.Parallel()
	url := storetest.Postgres(t)
	s := created(t, url)
	defer s.Close()
	if err := s.Commit(ctx, entry()); err != nil {
		t.Fatal(err)
	}
	lost, err := pgx.Connect(ctx, url)
	if err != nil {
		t.Fatal(err)
	}
	defer lost.Close(ctx)
	for _, query := range []string{"BEGIN", "INSERT INTO audit_entry (tenant, at, body, node, writer, count) VALUES ('t', 1, 'x', '', 0, 2)"} {
		if _, err := lost.Exec(ctx, query); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Commit(ctx, entry()); core.CodeOf(err) != core.StoreUnavailable {
		t.Errorf("a commit with the count of an open transaction: %v", err)
	}
	began := time.Now()
	if err := s.Commit(ctx, entry()); err != nil || time.Since(began) > 2*time.Second {
		t.Errorf("the next commit, after %v: %v", time.Since(began), err)
	}
	if _, err := lost.Exec(ctx, "COMMIT"); err != nil {
		t.Fatal(err)
	}
	if n := storetest.Counts(t, s)[""]; n != 3 {
		t.Errorf("%d records are there, want 3", n)
	}
}
