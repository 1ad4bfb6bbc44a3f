package engine_test

import (
	"testing"

	"github.com/keyreeve/keyreeve/core/operation"
)

// The records of one request have different times, also if the clock stands still or is set back:
// the time and the request name a record.
func TestRecordsOfARequestHaveTheirOwnTimes(t *testing.T) {
	w := newWorld(t)
	c := *w.alice
	c.RecordedAt = new(int64)
	last := int64(0)
	for range 3 {
		if _, err := w.DiscoverVersions(ctx, &c, &operation.DiscoverVersionsInput{}); err != nil {
			t.Fatal(err)
		}
		if *c.RecordedAt <= last {
			t.Errorf("a record is at %d, and the one before it at %d", *c.RecordedAt, last)
		}
		last = *c.RecordedAt
		w.clock.now--
	}
}
