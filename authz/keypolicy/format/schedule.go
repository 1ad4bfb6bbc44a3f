package format

import (
	"strconv"
	"time"
	_ "time/tzdata" // so that a machine without zones knows them too

	"github.com/keyreeve/keyreeve/core"
)

const secondsPerDay = 24 * 60 * 60

// weekdays are in the order of time.Weekday.
var weekdays = []string{"sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"}

func (r *reader) timeBounds(n node) (t Time) {
	get := r.object(n, "notBefore", "notAfter", "daily")
	t.NotBefore, t.NotAfter = r.optionalInstant(get("notBefore")), r.optionalInstant(get("notAfter"))
	if t.NotBefore != nil && t.NotAfter != nil && *t.NotBefore > *t.NotAfter {
		r.refuse(n, "notBefore is later than notAfter, so no time is between them")
	}
	if m := get("daily"); m.kind != missingNode {
		t.Daily = r.dailyWindow(m)
	}
	r.refuseEmpty(n)
	return t
}

func (r *reader) optionalInstant(n node) *int64 {
	if n.kind == missingNode {
		return nil
	}
	at := r.instant(n)
	return &at
}

// instant reads a time of RFC 3339 in whole seconds.
func (r *reader) instant(n node) int64 {
	s := r.nameOf(n, maxNameBytes)
	t, err := time.Parse(time.RFC3339, s)
	if r.fault == nil && (err != nil || t.Nanosecond() != 0) {
		r.refuse(n, "%q is no time in whole seconds such as 2026-01-31T08:00:00Z", core.ClientText(s))
	}
	return t.Unix()
}

func (r *reader) dailyWindow(n node) *Daily {
	get := r.object(n, "from", "to", "zone", "weekdays")
	d := &Daily{From: r.clockTime(get("from")), To: r.clockTime(get("to")), Zone: r.nameOf(get("zone"), maxNameBytes)}
	if r.fault == nil && (d.From == d.To || d.From == secondsPerDay) {
		r.refuse(n, "the window has no length; a whole day is from 00:00 to 24:00")
	}
	if _, err := time.LoadLocation(d.Zone); r.fault == nil && (err != nil || d.Zone == "Local") {
		r.refuse(get("zone"), "%q is no time zone such as UTC or Europe/Berlin", core.ClientText(d.Zone))
	}
	if m := get("weekdays"); m.kind != missingNode {
		d.Weekdays = readList(r, m, func(n node) string { return r.choice(n, weekdays) })
	}
	return d
}

// clockTime reads a time of day, "08:00" to "24:00", and returns seconds after midnight.
func (r *reader) clockTime(n node) int {
	s := r.nameOf(n, maxNameBytes)
	seconds, ok := parseClock(s)
	if r.fault == nil && !ok {
		r.refuse(n, "%q is no time of day such as 08:00; the end of a day is 24:00", core.ClientText(s))
	}
	return seconds
}

func parseClock(s string) (seconds int, ok bool) {
	if len(s) != len("08:00") || s[2] != ':' {
		return 0, false
	}
	hours, err := strconv.ParseUint(s[:2], 10, 8)
	minutes, err2 := strconv.ParseUint(s[3:], 10, 8)
	seconds = int(hours*3600 + minutes*60)
	return seconds, err == nil && err2 == nil && minutes < 60 && seconds <= secondsPerDay
}
