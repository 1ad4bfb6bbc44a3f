package boundedlog

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core/coretest"
)

// A thousand lines of one kind become a few and their number; other kinds are
// written meanwhile, and the number of kinds is bounded too.
func TestLogLinesAreBounded(t *testing.T) {
	var out bytes.Buffer
	h := New(slog.NewTextHandler(&out, nil)).(*handler)
	h.counts.after = func(time.Duration, func()) {}
	now := time.Unix(1_700_000_000, 0)
	h.counts.now = func() time.Time { return now }
	log := slog.New(h).With("node", "n").WithGroup("g")
	for i := range 1000 {
		log.Info("rest", "probe", i)
	}
	log.Error("reload", "error", "x")
	if n := strings.Count(out.String(), "msg=rest"); n != linesEach {
		t.Errorf("%d lines of 1000 were written, want %d", n, linesEach)
	}
	if !strings.Contains(out.String(), "msg=reload") {
		t.Error("a line of another kind was left out")
	}
	now = now.Add(2 * linesPeriod)
	log.Info("rest")
	if want := fmt.Sprintf("more_lines_not_written=%d", 1000-linesEach); !strings.Contains(out.String(), want) {
		t.Errorf("nothing says %s", want)
	}
	out.Reset()
	for i := range 100_000 {
		log.Info(fmt.Sprint("kind ", i))
	}
	if n := strings.Count(out.String(), "\n"); n > lineKinds+linesEach+1 || len(h.counts.seen) > lineKinds+1 {
		t.Errorf("%d lines of 100000 kinds were written, %d are counted", n, len(h.counts.seen))
	}
}

// If nothing else is logged, a line still tells how many were left out, once, when
// the period is over.
func TestLeftOutLinesAreToldByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out coretest.LogLines
		told := func() int { return out.Count("more_lines_not_written=7") }
		log := slog.New(New(slog.NewTextHandler(&out, nil)))
		for period := range 2 {
			for range linesEach + 7 {
				log.Info("rest")
			}
			time.Sleep(linesPeriod / 2)
			if n := told(); n != period {
				t.Errorf("before the end of period %d it was told %d times", period, n)
			}
			time.Sleep(linesPeriod * 3 / 4)
			synctest.Wait()
			if n := told(); n != period+1 {
				t.Errorf("after the end of period %d it was told %d times", period, n)
			}
		}
	})
}
