package storetest

import (
	"reflect"
	"testing"

	"github.com/keyreeve/keyreeve/core"
)

// An intent is listed with all fields until it is finished.
func intents(t *testing.T, s core.Store) {
	i := core.Intent{ID: "abc", Tenant: "kt", Kind: "create-token-object", CKAID: []byte("t"), Object: "o", Label: "l", Time: 5, Process: "p", Nonce: "n"}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.BeginIntent{Intent: i})))
	open, _, err := s.Intents(ctx)
	mustSucceed(t, err)
	if !contains(open, i) {
		t.Errorf("open intents are %+v", open)
	}
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.FinishIntent{ID: "abc"})))
	if open, _, _ = s.Intents(ctx); contains(open, i) {
		t.Error("the intent is still open")
	}
}

func contains(list []core.Intent, want core.Intent) bool {
	for _, i := range list {
		if reflect.DeepEqual(i, want) {
			return true
		}
	}
	return false
}

// An object must not be inserted after the reconciler has closed its intent: its token
// object is gone.
func closedIntent(t *testing.T, s core.Store) {
	c := core.ChangeOf(core.InsertObject{Object: Object("late", "late")}, core.FinishIntent{ID: "closed", MustBeOpen: true})
	wantCode(t, "an insertion after its intent was closed", s.Commit(ctx, c), core.Conflict)
	wantCode(t, "the object", second(s.Object(ctx, "late", "late")), core.ItemNotFound)
	mustSucceed(t, s.Commit(ctx, core.ChangeOf(core.FinishIntent{ID: "closed"})))
}
