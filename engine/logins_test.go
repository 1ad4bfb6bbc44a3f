package engine_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// A flood of failed logins is recorded in full and costs few records: some one
// by one, then a count for each address, and one for all addresses beyond the bound.
func TestFloodOfLogins(t *testing.T) {
	w := newWorld(t)
	before := len(w.store.entries)
	for i := range 1000 {
		if err := w.RecordLogin(ctx, core.MethodCertificate, core.Record{Door: core.DoorKMIP, Address: "10.0.0.1", Detail: fmt.Sprint("attempt ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 2 * engine.LoginSources {
		if err := w.RecordLogin(ctx, core.MethodCertificate, core.Record{Door: core.DoorREST, Address: fmt.Sprint("host ", i)}); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(w.store.entries) - before; n != engine.LoginsEach+engine.LoginSources-1+engine.LoginsEach {
		t.Errorf("%d records one by one", n)
	}
	before = len(w.store.entries)
	w.store.refuse = core.Errorf(core.StoreUnavailable, "away")
	if err := w.RecordCountedLogins(ctx); err == nil {
		t.Error("counts were recorded in a store that was away")
	}
	w.store.refuse = nil
	if err := w.RecordCountedLogins(ctx); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, e := range w.store.entries[before:] {
		text.Write(e.Body)
	}
	for _, want := range []string{"990 more failed logins", fmt.Sprint(engine.LoginSources+1-engine.LoginsEach, " more failed logins")} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the counts say %s; they lack %q", text.String(), want)
		}
	}
	if n := len(w.store.entries) - before; n != 2 {
		t.Errorf("%d records of counts, want 2", n)
	}
	if err := w.RecordCountedLogins(ctx); err != nil || len(w.store.entries)-before != 2 {
		t.Errorf("a period without logins: %v, %d records", err, len(w.store.entries)-before)
	}
	if err := w.RecordLogin(ctx, core.MethodCertificate, core.Record{Address: "10.0.0.1"}); err != nil || len(w.store.entries)-before != 3 {
		t.Errorf("the first of a new period: %v", err)
	}
}
