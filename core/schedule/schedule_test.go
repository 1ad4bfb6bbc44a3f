package schedule

import (
	"testing"
	"time"
)

func unix(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at.Unix()
}

func TestSpans(t *testing.T) {
	for text, want := range map[string]Span{"90d": {0, 90 * day}, "12h": {0, 12 * hour}, "15m": {0, 15 * minute}, "1mo": {1, 0}, "2y": {24, 0}, "18mo": {18, 0}, "5s": {0, 5}, "100y": {1200, 0}} {
		got, err := ParseSpan(text)
		if err != nil || got != want || got.String() != text {
			t.Errorf("%s is %+v, %v, and is written %s; want %+v", text, got, err, got, want)
		}
	}
	for _, text := range []string{"", "d", "0d", "-1d", "+1d", "01d", "1", "1.5d", "1 d", "1w", "1D", "1mo2d", "110y", "99999999999999999999d", "9999999999s"} {
		if s, err := ParseSpan(text); err == nil {
			t.Errorf("%q is read as %v", text, s)
		}
	}
	if s, _ := ParseSpan("24h"); s.String() != "1d" {
		t.Errorf("24h is written %s", s)
	}
}

// Months are those of the calendar: from the 31st, each month has its last day, and none is lost.
func TestMonthsByTheCalendar(t *testing.T) {
	r := Rotation{Every: Span{Months: 1}, From: unix(t, "2027-01-31T10:00:00Z")}
	at := r.From
	for _, want := range []string{"2027-02-28", "2027-03-31", "2027-04-30", "2027-05-31", "2027-06-30", "2027-07-31", "2027-08-31", "2027-09-30", "2027-10-31", "2027-11-30", "2027-12-31", "2028-01-31", "2028-02-29", "2028-03-31"} {
		next, ok := r.Plan(at, 0)
		if got := time.Unix(next, 0).UTC().Format(time.RFC3339); !ok || got != want+"T10:00:00Z" {
			t.Errorf("the date after %s is %s, %v; want %s", time.Unix(at, 0).UTC(), got, ok, want)
		}
		at = next
	}
}

// Whenever it is asked, the dates of a rotation are the same ones, and those that were missed
// count once.
func TestNoDrift(t *testing.T) {
	for _, every := range []string{"1mo", "3mo", "1y", "90d", "36h", "1h"} {
		span, err := ParseSpan(every)
		if err != nil {
			t.Fatal(err)
		}
		r := Rotation{Every: span, From: unix(t, "2026-03-29T01:30:00Z")}
		planned := map[int64]bool{}
		for n := range int64(5000) {
			planned[span.After(r.From, n)] = true
		}
		at := r.From
		for late := int64(0); late < 2_000_000 && at < span.After(r.From, 4000); late += 7919 {
			next, ok := r.Plan(at+late, 0)
			if !ok || next <= at+late || !planned[next] || next > span.After(at+late, 1) {
				t.Fatalf("every %s: after %d the date is %d, %v, which is not the next one", every, at+late, next, ok)
			}
			at = next
		}
	}
}

func TestRotationBeforeTheEnd(t *testing.T) {
	week := Span{Seconds: 7 * day}
	for _, c := range []struct {
		r           Rotation
		after, ends int64
		want        int64
		ok          bool
	}{
		{Rotation{Before: week}, 0, 100 * day, 93 * day, true},
		{Rotation{Before: week}, 0, 0, 0, false},
		{Rotation{Before: week}, 93 * day, 100 * day, 0, false},
		{Rotation{Every: Span{Seconds: 30 * day}, Before: week}, 0, 100 * day, 30 * day, true},
		{Rotation{Every: Span{Seconds: 30 * day}, Before: week}, 90 * day, 100 * day, 93 * day, true},
		{Rotation{Every: Span{Seconds: 30 * day}, Before: week}, 95 * day, 100 * day, 120 * day, true},
	} {
		if at, ok := c.r.Plan(c.after, c.ends); at != c.want || ok != c.ok {
			t.Errorf("%s after day %d, of a key that ends on day %d: day %d, %v; want %d, %v", c.r.Text(), c.after/day, c.ends/day, at/day, ok, c.want/day, c.ok)
		}
	}
}

func TestTexts(t *testing.T) {
	for _, text := range []string{"every=1mo before= from=5", "every= before=7d from=5", "every=90d before=7d from=1700000000"} {
		if r, err := Parse(text); err != nil || r.Text() != text {
			t.Errorf("%s is read as %+v, %v", text, r, err)
		}
	}
	for _, text := range []string{"", "every= before= from=5", "every=30m before= from=5", "every=1d more=1", "every=x", "every=1d from=x"} {
		if r, err := Parse(text); err == nil {
			t.Errorf("%q is read as %+v", text, r)
		}
	}
}
