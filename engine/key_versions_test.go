package engine_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/operation"
	"github.com/keyreeve/keyreeve/engine"
)

// A key has more versions than a page. Each is listed once, the newest first, whichever is named and
// however long a page is. Versions that the caller may not read are left out, and others' keys are no places to go on.
func TestVersionsOfAKeyAreListed(t *testing.T) {
	w := newWorld(t)
	want := []string{w.aesKey()}
	for range core.CandidatePage + 2 {
		want = append(want, w.rekey(want[0]))
	}
	slices.Reverse(want)
	first, newest, other := want[len(want)-1], want[0], w.aesKey()
	list := func(name string, limit int) (ids []string) {
		t.Helper()
		for after := ""; ; after = ids[len(ids)-1] {
			page, err := w.Versions(ctx, w.alice, &operation.VersionsInput{Key: core.Identifier{Text: name, Family: true}, Limit: limit, After: after})
			if err != nil || len(page) > limit {
				t.Fatalf("a page of %d after %q has %d versions, %v", limit, after, len(page), err)
			}
			for _, v := range page {
				if ids = append(ids, v.ID); len(v.Attributes) == 0 || v.Owner != "alice" {
					t.Errorf("version %s is %+v; want its attributes", v.ID, v)
				}
			}
			if len(page) < limit {
				return ids
			}
		}
	}
	for _, limit := range []int{1, 2, core.CandidatePage, len(want), 2 * len(want)} {
		for _, name := range []string{first, newest} {
			if got := list(name, limit); !slices.Equal(got, want) {
				t.Errorf("versions of %s by %d: %d, %v; want %d", name, limit, len(got), got[:min(3, len(got))], len(want))
			}
		}
	}
	for _, after := range []string{other, "nobody"} {
		if _, err := w.Versions(ctx, w.alice, &operation.VersionsInput{Key: core.Identifier{Text: first, Family: true}, Limit: 5, After: after}); core.CodeOf(err) != core.InvalidField {
			t.Errorf("a list that goes on after %s: %v; want Invalid Field", after, err)
		}
	}
	w.Ports.Policy = chosen{denies: map[string]bool{"Get Attributes " + want[1]: true, "Get Attributes " + first: true}}
	w.serve(newNode(engine.New(w.Ports, w.Settings)))
	if got, visible := list(newest, 3), want[2:len(want)-1]; !slices.Equal(got, append([]string{newest}, visible...)) {
		t.Errorf("with two versions that alice may not read the list has %d versions; want %d", len(got), len(visible)+1)
	}
	for _, name := range []string{want[1], fmt.Sprintf("%s@%d", "nobody", 1)} {
		if got, err := w.Versions(ctx, w.alice, &operation.VersionsInput{Key: core.Identifier{Text: name, Family: true}, Limit: 5}); err == nil {
			t.Errorf("the versions of %s, which alice may not read, are %v", name, got)
		}
	}
}
