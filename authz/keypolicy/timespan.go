package keypolicy

import (
	"math"
	"slices"
	"time"

	"github.com/keyreeve/keyreeve/authz/keypolicy/format"
)

// TimeSpan is a span of time from its first to its last second, in Unix seconds.
type TimeSpan struct{ First, Last int64 }

// Always is the span of an answer that does not depend on the time.
var Always = TimeSpan{math.MinInt64, math.MaxInt64}

// Contains reports whether a second is in the span.
func (s TimeSpan) Contains(at int64) bool { return s.First <= at && at <= s.Last }

// cutAt shortens the span so that it does not cross an edge: the second before and the second
// at the edge are never both in it. now stays in it.
func (s *TimeSpan) cutAt(edge, now int64) {
	if now >= edge {
		s.First = max(s.First, edge)
	} else {
		s.Last = min(s.Last, edge-1)
	}
}

// timeEdges are the seconds at which conditions about the time can change. Between two of them
// no condition does.
type timeEdges struct {
	instants []int64                  // sorted, Unix seconds
	daily    map[*time.Location][]int // sorted, seconds after midnight
	unknown  bool                     // a zone is not known: each second is an edge
}

// zonesOf returns the zones that conditions name. One that is not known is nil.
func zonesOf(n *format.Normal) map[string]*time.Location {
	zones := map[string]*time.Location{}
	for i := range n.Statements {
		for _, c := range n.Statements[i].Conditions {
			if _, done := zones[c.Zone]; c.Kind == format.DailyCondition && !done {
				zones[c.Zone], _ = time.LoadLocation(c.Zone)
			}
		}
	}
	return zones
}

// addCondition adds the edges of a condition.
func (e *timeEdges) addCondition(c *format.Condition, zones map[string]*time.Location) {
	switch c.Kind {
	case format.NotBeforeCondition:
		e.instants = append(e.instants, c.At)
	case format.NotAfterCondition:
		e.instants = append(e.instants, c.At+1)
	case format.DailyCondition:
		zone := zones[c.Zone]
		if zone == nil {
			e.unknown = true
			return
		}
		if e.daily == nil {
			e.daily = map[*time.Location][]int{}
		}
		for _, w := range c.Windows {
			e.daily[zone] = append(e.daily[zone], w.From, w.To)
		}
	}
}

// sortEdges must be called after the last addCondition.
func (e *timeEdges) sortEdges() {
	slices.Sort(e.instants)
	e.instants = slices.Compact(e.instants)
	for zone, seconds := range e.daily {
		slices.Sort(seconds)
		e.daily[zone] = slices.Clip(slices.Compact(seconds))
	}
}

// spanAround returns the longest span around a time in which no condition of policies about an
// action can change.
func spanAround(now int64, policies []*Policy, action string) TimeSpan {
	span := Always
	for _, p := range policies {
		c, _ := p.concernFor(action)
		c.edges.cutSpan(&span, now)
	}
	return span
}

// cutSpan shortens a span to the part around now that crosses no edge.
func (e *timeEdges) cutSpan(span *TimeSpan, now int64) {
	if e.unknown {
		*span = TimeSpan{now, now}
	}
	next, _ := slices.BinarySearch(e.instants, now+1) // the first edge after now
	if next > 0 {
		span.cutAt(e.instants[next-1], now)
	}
	if next < len(e.instants) {
		span.cutAt(e.instants[next], now)
	}
	for zone, seconds := range e.daily {
		cutDaily(span, now, zone, seconds)
	}
}

const secondsPerDay = 24 * 60 * 60

// cutDaily shortens a span to the part around now in which the day in a zone is the same, its
// clock was not changed, and the time of day passes none of some seconds after midnight.
func cutDaily(span *TimeSpan, now int64, zone *time.Location, seconds []int) {
	local := time.Unix(now, 0).In(zone)
	begins, ends := local.ZoneBounds() // of the offset from UTC
	if !begins.IsZero() {
		span.cutAt(begins.Unix(), now)
	}
	if !ends.IsZero() {
		span.cutAt(ends.Unix(), now)
	}
	hour, minute, second := local.Clock()
	midnight := now - int64(hour*3600+minute*60+second)
	span.cutAt(midnight, now)
	span.cutAt(midnight+secondsPerDay, now)
	for _, s := range seconds {
		span.cutAt(midnight+int64(s), now)
	}
}
