// Package schedule reckons when a key is rotated. It knows no clock and no keys: callers pass
// times, in Unix seconds. Start at [Rotation.Plan].
package schedule

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Span is a time between two dates. Months are those of the calendar in UTC, so a span of one
// month leads from 31 January to the last day of February. A span has months or seconds.
type Span struct {
	Months  int64
	Seconds int64
}

// Bounds of a span between rotations.
const (
	least = 3600                  // seconds
	most  = 100 * 366 * 24 * 3600 // seconds
)

const (
	minute = 60
	hour   = 60 * minute
	day    = 24 * hour
	month  = 28 * day // the shortest
)

// units are the units of a span, the longest that fits first.
var units = []struct {
	name string
	span Span
}{{"y", Span{Months: 12}}, {"mo", Span{Months: 1}}, {"d", Span{Seconds: day}}, {"h", Span{Seconds: hour}}, {"m", Span{Seconds: minute}}, {"s", Span{Seconds: 1}}}

// ErrSpan is the error of a text that is no span.
var ErrSpan = errors.New("a span is a number from 1 with y, mo, d, h, m or s, such as 90d or 1mo, and at most 100 years")

// ParseSpan reads a span such as "90d", "12h", "1mo" or "1y".
func ParseSpan(text string) (Span, error) {
	for _, u := range units {
		number, ok := strings.CutSuffix(text, u.name)
		if !ok || number == "" || strings.Trim(number, "0123456789") != "" {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 40)
		if err != nil || n < 1 || strconv.FormatInt(n, 10) != number || n > most/max(u.span.Seconds, u.span.Months*month) {
			return Span{}, ErrSpan
		}
		return Span{n * u.span.Months, n * u.span.Seconds}, nil
	}
	return Span{}, ErrSpan
}

// IsZero reports whether there is no span.
func (s Span) IsZero() bool { return s == Span{} }

// Shortest returns the least number of seconds that the span can have.
func (s Span) Shortest() int64 { return s.Seconds + s.Months*month }

// String returns the span as ParseSpan reads it, "" for none.
func (s Span) String() string {
	for _, u := range units {
		switch {
		case u.span.Months > 0 && s.Months > 0 && s.Months%u.span.Months == 0:
			return strconv.FormatInt(s.Months/u.span.Months, 10) + u.name
		case u.span.Seconds > 0 && s.Seconds > 0 && s.Seconds%u.span.Seconds == 0:
			return strconv.FormatInt(s.Seconds/u.span.Seconds, 10) + u.name
		}
	}
	return ""
}

// After returns the time n spans after a time. A day that a month lacks becomes its last one; n
// spans after the same time never lose days by that.
func (s Span) After(unix, n int64) int64 {
	at := time.Unix(unix, 0).UTC()
	if s.Months > 0 {
		first := time.Date(at.Year(), at.Month()+time.Month(n*s.Months), 1, at.Hour(), at.Minute(), at.Second(), 0, time.UTC)
		last := first.AddDate(0, 1, -1).Day()
		return first.AddDate(0, 0, min(at.Day(), last)-1).Unix()
	}
	return unix + n*s.Seconds
}

// Before returns the time one span before a time.
func (s Span) Before(unix int64) int64 { return s.After(unix, -1) }

// Rotation says when a key is replaced by a new version.
type Rotation struct {
	Every  Span  // between two versions; none: not by age
	Before Span  // before the key ends; none: not for that
	From   int64 // Unix seconds, from which Every counts
}

// Check returns a sentence about what is wrong with a rotation, nil if nothing is.
func (r *Rotation) Check() error {
	switch {
	case r.Every.IsZero() && r.Before.IsZero():
		return errors.New("a rotation needs every or before")
	case !r.Every.IsZero() && r.Every.Shortest() < least:
		return errors.New("every must be at least 1h")
	}
	return nil
}

// Plan returns the first date after a time at which a key that ends at a time is rotated; ends is
// 0 if it does not end. ok is false if there is none. Dates of Every that have passed are left
// out together, and the others stay where they are.
func (r *Rotation) Plan(after, ends int64) (at int64, ok bool) {
	if !r.Every.IsZero() {
		at, ok = r.Every.After(r.From, r.countTo(after)+1), true
	}
	if !r.Before.IsZero() && ends != 0 {
		if early := r.Before.Before(ends); early > after && (!ok || early < at) {
			at, ok = early, true
		}
	}
	return at, ok
}

// countTo returns how many spans have passed from From to a time.
func (r *Rotation) countTo(unix int64) (n int64) {
	if unix < r.From {
		return 0
	}
	n = max(0, (unix-r.From)/(r.Every.Seconds+r.Every.Months*31*day)-1) // not too many
	for r.Every.After(r.From, n+1) <= unix {
		n++
	}
	return n
}

// Text returns the rotation in the form in which it is stored.
func (r *Rotation) Text() string {
	return fmt.Sprintf("every=%s before=%s from=%d", r.Every, r.Before, r.From)
}

// Parse reads what [Rotation.Text] wrote.
func Parse(text string) (r Rotation, err error) {
	for _, field := range strings.Fields(text) {
		name, value, _ := strings.Cut(field, "=")
		switch {
		case name == "every" && value != "":
			r.Every, err = ParseSpan(value)
		case name == "before" && value != "":
			r.Before, err = ParseSpan(value)
		case name == "from":
			r.From, err = strconv.ParseInt(value, 10, 64)
		case name != "every" && name != "before":
			err = fmt.Errorf("unknown field %q", name)
		}
		if err != nil {
			return Rotation{}, fmt.Errorf("the rotation %q: %w", text, err)
		}
	}
	return r, r.Check()
}
