package core

import (
	"slices"
	"strings"
	"testing"
)

// Each action that a policy can be asked for has one word and one name; nothing else has
// either.
func TestEveryActionHasOneWord(t *testing.T) {
	words := map[Action][]string{}
	for _, w := range ActionWords() {
		if len(w.Actions) == 0 || w.Word != strings.ToLower(w.Word) || w.Word == EveryAction {
			t.Errorf("the word %q stands for %v; a word is in lower case and stands for something", w.Word, w.Actions)
		}
		if got := ActionsNamed(w.Word); !slices.Equal(got, w.Actions) {
			t.Errorf("the word %q is looked up as %v, want %v; is it in the table twice, or also a name?", w.Word, got, w.Actions)
		}
		for _, a := range w.Actions {
			words[a] = append(words[a], w.Word)
		}
	}
	for _, a := range Actions() {
		if want := map[bool]int{true: 1}[a.Askable()]; len(words[a]) != want {
			t.Errorf("%v has the words %v, want %d; see actionWords", a, words[a], want)
		}
		if got := ActionsNamed(a.String()); a.Askable() != slices.Equal(got, []Action{a}) {
			t.Errorf("%v is looked up as %v", a, got)
		}
		if a.Askable() != slices.Contains(ActionsNamed(EveryAction), a) {
			t.Errorf("* and %v: it stands for all actions that are askable, and for no other", a)
		}
	}
}

// A word in another case, a near miss and an event of the server name nothing.
func TestUnknownWords(t *testing.T) {
	for _, word := range []string{"", " ", "Encrypt ", "ENCRYPT", "Delete", "get", "GetAttributes", "destroy", "wrap", "unwrap", "**", "Message", "Start", "0x00000001"} {
		if got := ActionsNamed(word); got != nil {
			t.Errorf("%q stands for %v, want nothing", word, got)
		}
	}
}
