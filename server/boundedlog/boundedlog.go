// Package boundedlog is a log handler that writes a bounded number of lines of each kind: anybody
// who reaches a door can cause some.
package boundedlog

import (
	"context"
	"log/slog"
	"maps"
	"sync"
	"time"
)

// Bounds of what one kind of line may fill the log with: anybody who reaches a
// door can cause some.
const (
	linesEach   = 50          // of one level and message in a period; errors included
	linesPeriod = time.Minute // after which the rest is told in one line
	lineKinds   = 1000        // kinds counted apart; the rest together
)

// handler hands on the first lines of each kind in a period. The others are
// counted, and one line tells how many there were. Safe for concurrent use.
type handler struct {
	slog.Handler
	counts *lineCounts
}

type lineCounts struct {
	mu     sync.Mutex
	now    func() time.Time
	after  func(time.Duration, func()) // time.AfterFunc but in tests
	ends   time.Time
	told   bool // that the end of this period will be told by itself
	seen   map[lineKind]int
	lesser slog.Handler // gets the lines that tell how many
}

type lineKind struct {
	level   slog.Level
	message string
}

// New bounds the lines of a log.
func New(h slog.Handler) slog.Handler {
	after := func(d time.Duration, f func()) { time.AfterFunc(d, f) }
	return &handler{h, &lineCounts{now: time.Now, after: after, seen: map[lineKind]int{}, lesser: h}}
}

// Handle is part of [slog.Handler].
func (b *handler) Handle(ctx context.Context, r slog.Record) error {
	if !b.counts.isWritten(ctx, lineKind{r.Level, r.Message}) {
		return nil
	}
	return b.Handler.Handle(ctx, r)
}

// WithAttrs is part of [slog.Handler].
func (b *handler) WithAttrs(a []slog.Attr) slog.Handler {
	return &handler{b.Handler.WithAttrs(a), b.counts}
}

// WithGroup is part of [slog.Handler].
func (b *handler) WithGroup(name string) slog.Handler {
	return &handler{b.Handler.WithGroup(name), b.counts}
}

// isWritten counts a line and reports whether it is written. The first line of a period
// ends the one before, and the first line that is left out sees to it that the
// period is ended even if no line follows.
func (c *lineCounts) isWritten(ctx context.Context, k lineKind) bool {
	c.endPeriod(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, known := c.seen[k]; !known && len(c.seen) >= lineKinds {
		k = lineKind{k.level, "other lines"}
	}
	c.seen[k]++
	alone := c.seen[k] <= linesEach
	if !alone && !c.told {
		c.told = true
		c.after(c.ends.Sub(c.now()), func() { c.endPeriod(context.Background()) })
	}
	return alone
}

// endPeriod begins a new period if the last one is over, and tells how many lines of
// each kind were left out in it.
func (c *lineCounts) endPeriod(ctx context.Context) {
	c.mu.Lock()
	now := c.now()
	if now.Before(c.ends) {
		c.mu.Unlock()
		return
	}
	over := maps.Clone(c.seen)
	clear(c.seen)
	c.ends, c.told = now.Add(linesPeriod), false
	c.mu.Unlock()
	for kind, n := range over {
		if n > linesEach {
			r := slog.NewRecord(now, kind.level, kind.message, 0)
			r.AddAttrs(slog.Int("more_lines_not_written", n-linesEach))
			c.lesser.Handle(ctx, r)
		}
	}
}
