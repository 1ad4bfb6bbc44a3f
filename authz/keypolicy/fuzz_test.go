package keypolicy

import (
	"math/rand/v2"
	"reflect"
	"testing"
)

// Whatever document is accepted, it is evaluated without error, as the reference does.
func FuzzMatch(f *testing.F) {
	for seed := range uint64(20) {
		g := generator{rand.New(rand.NewPCG(7, seed))}
		f.Add([]byte(g.document()), seed)
	}
	m, err := NewMatcher(MatcherOptions{InterpretOnly: true})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte, seed uint64) {
		p, _, err := Compile(text, Options{Name: "p", Version: 1, Regions: testRegions, Locate: locateInTest})
		if err != nil {
			return
		}
		g := generator{rand.New(rand.NewPCG(8, seed))}
		for range 4 {
			r := g.request(generatedActions[g.IntN(len(generatedActions))])
			got, err := m.Match(t.Context(), r, []*Policy{p})
			if want := referenceMatch(r, []*Policy{p}); err != nil || !reflect.DeepEqual(namesOnly(got), want) {
				t.Errorf("%+v, %v; want %+v for %s", got, err, want, describe(r, []*Policy{p}))
			}
			if _, err := m.Explain(t.Context(), r, []*Policy{p}); err != nil {
				t.Errorf("no explanation: %v for %s", err, describe(r, []*Policy{p}))
			}
		}
	})
}
