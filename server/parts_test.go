package server

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// Parts are stopped in reverse, each within its bound, also if another fails or hangs,
// and an error names the part.
func TestPartsStopInReverse(t *testing.T) {
	var stopped []string
	stops := func(name string, err error) startedPart {
		return startedPart{part{name: name, within: time.Minute}, func(context.Context) error {
			stopped = append(stopped, name)
			return err
		}}
	}
	hangs := inBackground(func(ctx context.Context) { <-ctx.Done(); time.Sleep(time.Second) })
	s := &Server{started: []startedPart{stops("first", nil), stops("second", errors.New("broken")), {part{name: "third", within: time.Millisecond}, hangs}, stops("fourth", nil)}}
	err := s.Stop(context.Background())
	if !slices.Equal(stopped, []string{"fourth", "second", "first"}) {
		t.Errorf("stopped were %v", stopped)
	}
	if err == nil || !strings.Contains(err.Error(), "second: broken") || !strings.Contains(err.Error(), "third: it did not end") {
		t.Errorf("the errors are %v", err)
	}
}

// Every part has a name of its own, and one that must be stopped has a bound.
func TestPartsAreNamed(t *testing.T) {
	seen := map[string]bool{}
	for _, p := range new(Server).parts() {
		if p.name == "" || seen[p.name] || p.start == nil {
			t.Errorf("part %q", p.name)
		}
		seen[p.name] = true
	}
}
