// Package ratewindow counts uses in a window of time that moves, and requests by the second.
// Times are Unix seconds. It imports nothing of ours. Start at [Table.Take].
package ratewindow

// Count has the uses of the current span and of the one before it.
type Count struct {
	began, per    int64 // seconds
	now, previous int64
}

// New returns a count that begins at a time, for spans of so many seconds.
func New(at, per int64) *Count { return &Count{began: at, per: per} }

// IsOver reports whether a count bounds nothing any more.
func (c *Count) IsOver(at int64) bool { return at-c.began >= 2*c.per }

// advance moves the count to the span of a time.
func (c *Count) advance(at int64) {
	switch spans := (at - c.began) / c.per; {
	case spans <= 0: // also if the clock was set back
	case spans == 1:
		c.began, c.previous, c.now = c.began+c.per, c.now, 0
	default:
		c.began, c.previous, c.now = at, 0, 0
	}
}

// Take counts one use if the rate permits it. Uses of the span before count by the part of it
// that is less than a span ago, rounded up.
func (c *Count) Take(uses, at int64) bool {
	c.advance(at)
	left := max(0, c.per-max(0, at-c.began))
	if c.now+(c.previous*left+c.per-1)/c.per >= uses {
		return false
	}
	c.now++
	return true
}

// Wait returns the seconds after which Take succeeds, if nothing is counted or given back meanwhile.
func (c *Count) Wait(uses, at int64) int64 {
	c.advance(at)
	end, fading, room := c.began+c.per, c.previous, uses-1-c.now
	if room < 0 { // the next span has to begin, in which the uses of this one fade
		end, fading, room = end+c.per, c.now, uses-1
	}
	left := c.per // of the span in which Take succeeds
	if fading > 0 {
		left = min(c.per, room*c.per/fading)
	}
	return max(0, end-left-at)
}

// GiveBack takes back a use that was counted at a time.
func (c *Count) GiveBack(at int64) {
	if at >= c.began {
		c.now = max(0, c.now-1)
	} else if at >= c.began-c.per {
		c.previous = max(0, c.previous-1)
	}
}
