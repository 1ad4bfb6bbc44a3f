package metrics

import (
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

func scrape(t *testing.T, m *Metrics) string {
	t.Helper()
	w := httptest.NewRecorder()
	m.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	b, err := io.ReadAll(w.Result().Body)
	if err != nil || w.Code != http.StatusOK {
		t.Fatal(w.Code, err)
	}
	return string(b)
}

func has(t *testing.T, text string, lines ...string) {
	t.Helper()
	for _, l := range lines {
		if !strings.Contains(text, "\n"+l+"\n") {
			t.Errorf("there is no line %s", l)
		}
	}
}

// The figures are what was seen, the token's those of the moment.
func TestFigures(t *testing.T) {
	health := core.HSMHealth{Ready: true, Sessions: 3, Stuck: 1, CachedHandles: 20, CachedCopies: 7}
	m := New(func() core.HSMHealth { return health }, func() int { return 3 })
	m.Observe(engine.Observation{Action: core.ActionGet, Door: core.DoorKMIP, Outcome: core.Allowed, Code: core.Internal, Duration: 300 * time.Microsecond})
	m.Observe(engine.Observation{Action: core.ActionGet, Door: core.DoorREST, Outcome: core.Denied, Code: core.PermissionDenied, Duration: time.Millisecond})
	m.Opened()
	m.Opened()
	m.Closed()
	m.Refused("peer")
	m.FailedLogin(core.DoorREST, core.MethodPassword)
	m.WatchLDAP(func() int { return 1 })
	m.WatchRows(func() int { return 2 }, func() int64 { return 5 })
	var earliest time.Time
	m.WatchClientCertificates(func() (time.Time, int) { return earliest, 4 })
	has(t, scrape(t, m), "keyreeve_client_certificates_expiring 4", "keyreeve_client_certificate_expiry_seconds +Inf")
	earliest = time.Now().Add(-time.Hour)
	text := scrape(t, m)
	if !strings.Contains(text, "keyreeve_client_certificate_expiry_seconds -3600.") {
		t.Error("the figure of a certificate that expired an hour ago is not about -3600")
	}
	has(t, text, `keyreeve_operation_seconds_count{code="",door="kmip",operation="Get",outcome="allowed"} 1`, `keyreeve_operation_seconds_bucket{code="",door="kmip",operation="Get",outcome="allowed",le="0.0002"} 0`,
		`keyreeve_operation_seconds_bucket{code="",door="kmip",operation="Get",outcome="allowed",le="0.0005"} 1`,
		`keyreeve_operation_seconds_count{code="`+core.PermissionDenied.String()+`",door="rest",operation="Get",outcome="denied"} 1`,
		`keyreeve_failed_logins_total{door="rest",method="password"} 1`, `keyreeve_ldap_directories_down 1`, "keyreeve_kmip_connections 1", `keyreeve_kmip_refused_total{why="peer"} 1`,
		"keyreeve_hsm_ready 1", "keyreeve_hsm_sessions 3", "keyreeve_hsm_stuck 1", "keyreeve_hsm_cached_handles 20", "keyreeve_hsm_cached_copies 7", "keyreeve_pending_destroys 2", "keyreeve_tampered_rows_total 5")
	health.Ready = false
	has(t, scrape(t, m), "keyreeve_hsm_ready 0")
}

// The number of series has a bound whatever clients ask for: no figure names
// what came from outside.
func TestSeriesAreBounded(t *testing.T) {
	m := New(func() core.HSMHealth { return core.HSMHealth{} }, func() int { return 0 })
	m.Observe(engine.Observation{Action: core.ActionGet, Door: core.DoorKMIP})
	before := strings.Count(scrape(t, m), "keyreeve_operation_seconds_count")
	for n := range uint32(2000) {
		m.Observe(engine.Observation{Action: core.ActionOf(core.Operation(0x8000_0000 + n)), Door: core.DoorKMIP, Outcome: core.Denied, Code: core.OperationNotSupported})
	}
	if after := strings.Count(scrape(t, m), "keyreeve_operation_seconds_count"); after > before+1 {
		t.Errorf("2,000 operations that do not exist make %d series", after-before)
	}
}

func TestObserveAtOnce(t *testing.T) {
	m := New(func() core.HSMHealth { return core.HSMHealth{} }, func() int { return 0 })
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				m.Observe(engine.Observation{Action: core.ActionGet, Door: core.DoorKMIP, Outcome: core.Allowed})
				m.Opened()
				m.Closed()
				m.Refused("peer")
			}
		})
	}
	all.Wait()
	has(t, scrape(t, m), `keyreeve_kmip_refused_total{why="peer"} 1600`, "keyreeve_kmip_connections 0")
}
