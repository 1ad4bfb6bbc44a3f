package server

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

// boundedLog hands on the first lines of each kind in a period. The others are
// counted, and one line tells how many there were. Safe for concurrent use.
type boundedLog struct {
	slog.Handler
	counts *lineCounts
}

type lineCounts struct {
	mu     sync.Mutex
	now    func() time.Time
	ends   time.Time
	seen   map[lineKind]int
	lesser slog.Handler // gets the lines that tell how many
}

type lineKind struct {
	level   slog.Level
	message string
}

// BoundLog bounds the lines of a log.
func BoundLog(h slog.Handler) slog.Handler {
	return &boundedLog{h, &lineCounts{now: time.Now, seen: map[lineKind]int{}, lesser: h}}
}

// Handle is part of [slog.Handler].
func (b *boundedLog) Handle(ctx context.Context, r slog.Record) error {
	if !b.counts.alone(ctx, lineKind{r.Level, r.Message}) {
		return nil
	}
	return b.Handler.Handle(ctx, r)
}

// WithAttrs is part of [slog.Handler].
func (b *boundedLog) WithAttrs(a []slog.Attr) slog.Handler {
	return &boundedLog{b.Handler.WithAttrs(a), b.counts}
}

// WithGroup is part of [slog.Handler].
func (b *boundedLog) WithGroup(name string) slog.Handler {
	return &boundedLog{b.Handler.WithGroup(name), b.counts}
}

// alone counts a line and tells whether it is written. A line that begins a new
// period first has the old one told.
func (c *lineCounts) alone(ctx context.Context, k lineKind) bool {
	c.mu.Lock()
	now := c.now()
	var over map[lineKind]int
	if now.After(c.ends) {
		over = maps.Clone(c.seen)
		clear(c.seen)
		c.ends = now.Add(linesPeriod)
	}
	if _, known := c.seen[k]; !known && len(c.seen) >= lineKinds {
		k = lineKind{k.level, "other lines"}
	}
	c.seen[k]++
	alone := c.seen[k] <= linesEach
	c.mu.Unlock()
	for kind, n := range over {
		if n > linesEach {
			r := slog.NewRecord(now, kind.level, kind.message, 0)
			r.AddAttrs(slog.Int("more_lines_not_written", n-linesEach))
			c.lesser.Handle(ctx, r)
		}
	}
	return alone
}
