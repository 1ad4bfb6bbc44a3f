package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/core/coretest"
	"github.com/keyreeve/keyreeve/engine"
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

type declaredTenants struct{ asked int }

func (d *declaredTenants) RequireDeclared(context.Context, string) error { d.asked++; return nil }

// Who a client is costs next to nothing to ask for each message: the tenant is
// looked up once, and nothing is allocated. A principal is refused from the second
// in which its proof ends, also if its authenticator does not notice.
func TestAdmission(t *testing.T) {
	p := &core.Principal{Tenant: "acme", ID: "dev", Expires: time.Now().Add(time.Hour).Unix()}
	tenants := &declaredTenants{}
	identify := admission{auth: coretest.Always(p), tenants: tenants}.Identify(core.Evidence{})
	if n := testing.AllocsPerRun(100, func() {
		if got, err := identify(); err != nil || got != p {
			t.Fatalf("%+v, %v", got, err)
		}
	}); n != 0 || tenants.asked != 1 {
		t.Errorf("%v allocations, %d looks at the tenant", n, tenants.asked)
	}
	p.Expires = time.Now().Unix() - 1
	if _, err := identify(); core.CodeOf(err) != core.AuthenticationNotSuccessful {
		t.Errorf("a proof that has expired: %v", err)
	}
}

// A switch that a tenant sets is the tenant's, one that it leaves out is the
// server's: every combination.
func TestTenantSwitches(t *testing.T) {
	for n := range 4 * 9 {
		var c Config
		c.Keys.DeactivatedMayProcess, c.Keys.CompromisedMayProcess = n&1 == 0, n&2 == 0
		own := map[string]bool{}
		want := engine.RevokedKeys{DeactivatedRefused: n&1 != 0, CompromisedRefused: n&2 != 0}
		if of := n / 4 % 3; of > 0 {
			own["deactivated_may_process"], want.DeactivatedRefused = of == 1, of != 1
		}
		if of := n / 12; of > 0 {
			own["compromised_may_process"], want.CompromisedRefused = of == 1, of != 1
		}
		c.Keys.Tenants = map[string]map[string]bool{"t": own}
		if got := c.defaults().RevokedKeysOf; len(got) != 1 || got["t"] != want {
			t.Errorf("server %v, tenant %s: %+v, want %+v", c.Keys, fmt.Sprint(own), got, want)
		}
	}
}

// The doctor of another user does not load the library of the token.
func TestDoctorIsTheServersUser(t *testing.T) {
	dir := t.TempDir()
	var c Config
	c.Dir, c.Store.URL = dir, "sqlite:"+filepath.Join(dir, "db")
	if err := os.WriteFile(filepath.Join(dir, "db"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	own := os.Geteuid()
	if err := c.anothersFiles(own); err != nil {
		t.Errorf("the server's user: %v", err)
	}
	for _, dir := range []string{dir, "/none"} { // by the folder, and by the database alone
		c.Dir = dir
		if err := c.anothersFiles(own + 1); err == nil || !strings.Contains(err.Error(), fmt.Sprintf("as user %d", own)) {
			t.Errorf("another user: %v; want a refusal that says whose they are", err)
		}
	}
}

// A filter of records that is not understood is refused, never passed over.
func TestAuditFilterNeverWidens(t *testing.T) {
	for query, ok := range map[string]bool{
		"limit=5":                            true,
		"limit=5&since=1&until=2&before=3":   true,
		"limit=5&tenant=a&object=b&outcome=": true,
		"limit=5&principal=p&operation=Get":  true,
		"":                                   false,
		"limit=0":                            false,
		"limit=many":                         false,
		"limit=5&since=yesterday":            false,
		"limit=5&before=1e3":                 false,
		"limit=5&principle=p":                false,
		"limit=5&tenant=a&tenant=b":          false,
		"limit=5&until=99999999999999999999": false,
	} {
		q, err := url.ParseQuery(query)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := auditQuery(q); (err == nil) != ok {
			t.Errorf("%q: %v; want accepted %v", query, err, ok)
		}
	}
}

// A thousand lines of one kind become a few and their number; other kinds are
// written meanwhile, and the number of kinds is bounded too.
func TestLogLinesAreBounded(t *testing.T) {
	var out bytes.Buffer
	h := BoundLog(slog.NewTextHandler(&out, nil)).(*boundedLog)
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

// logLines keeps what is logged. Safe for concurrent use.
type logLines struct {
	mu    sync.Mutex
	lines bytes.Buffer
}

func (l *logLines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lines.Write(b)
}

func (l *logLines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.lines.String(), text)
}

// If nothing else is logged, a line still tells how many were left out, once, when
// the period is over.
func TestLeftOutLinesAreToldByThemselves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out logLines
		told := func() int { return out.count("more_lines_not_written=7") }
		log := slog.New(BoundLog(slog.NewTextHandler(&out, nil)))
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
