// Package metrics counts what the doors and the engine do, for Prometheus. No
// label names a key or a principal: their number has no bound.
package metrics

import (
	"math"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/keyreeve/keyreeve/core"
	"github.com/keyreeve/keyreeve/engine"
)

// Metrics is one server's registry. Safe for concurrent use.
type Metrics struct {
	registry    *prometheus.Registry
	operations  *prometheus.HistogramVec
	connections prometheus.Gauge
	refused     *prometheus.CounterVec
	logins      *prometheus.CounterVec
}

// New makes a registry. At each scrape hsm is asked for the token's figures, and
// staleLists for the number of revocation lists past their Next Update.
func New(hsm func() core.HSMHealth, staleLists func() int) *Metrics {
	m := &Metrics{registry: prometheus.NewRegistry(),
		operations: prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: "keyreeve_operation_seconds", Help: "Time an operation took in the engine, by its outcome.",
			Buckets: []float64{.0001, .0002, .0005, .001, .002, .005, .01, .02, .05, .1, .5, 2}}, []string{"operation", "door", "outcome", "code"}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{Name: "keyreeve_kmip_connections", Help: "KMIP connections that are open."}),
		refused:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keyreeve_kmip_refused_total", Help: "KMIP connections that were refused, by why."}, []string{"why"}),
		logins:      prometheus.NewCounterVec(prometheus.CounterOpts{Name: "keyreeve_failed_logins_total", Help: "Authentications that failed, by door and by what the client sent."}, []string{"door", "method"}),
	}
	m.registry.MustRegister(m.operations, m.connections, m.refused, m.logins, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}),
		newGauge("keyreeve_hsm_ready", "1 while the HSM answers.", func() float64 {
			if hsm().Ready {
				return 1
			}
			return 0
		}),
		newGauge("keyreeve_revocation_lists_stale", "Revocation lists that are past their Next Update.", func() float64 { return float64(staleLists()) }),
		newGauge("keyreeve_hsm_sessions", "Sessions that are open at the HSM.", func() float64 { return float64(hsm().Sessions) }),
		newGauge("keyreeve_hsm_sessions_in_use", "Sessions that are in a call.", func() float64 { return float64(hsm().InUse) }),
		newGauge("keyreeve_hsm_waiting", "Calls that wait for a session.", func() float64 { return float64(hsm().Waiting) }),
		newGauge("keyreeve_hsm_stuck", "Calls into the HSM that have not come back for too long.", func() float64 { return float64(hsm().Stuck) }),
		newGauge("keyreeve_hsm_cached_handles", "Keys that are unwrapped in the HSM.", func() float64 { return float64(hsm().CachedHandles) }),
		newGauge("keyreeve_hsm_cached_copies", "Class C keys in locked memory.", func() float64 { return float64(hsm().CachedCopies) }))
	return m
}

func newGauge(name, help string, f func() float64) prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, f)
}

// MemoryFigures are those of the memory that requests share.
type MemoryFigures struct {
	Used, Limit, PrincipalLimit int64 // bytes
	Waiting, Refused            int64 // requests
}

// WatchMemory has each scrape ask for the memory of messages and answers.
func (m *Metrics) WatchMemory(figures func() MemoryFigures) {
	figure := func(pick func(MemoryFigures) int64) func() float64 {
		return func() float64 { return float64(pick(figures())) }
	}
	m.registry.MustRegister(
		newGauge("keyreeve_memory_bytes", "Memory that messages and answers take while they are worked on, and that streams hold.", figure(func(f MemoryFigures) int64 { return f.Used })),
		newGauge("keyreeve_memory_limit_bytes", "What they may take in all.", figure(func(f MemoryFigures) int64 { return f.Limit })),
		newGauge("keyreeve_memory_principal_limit_bytes", "What those of one principal may take.", figure(func(f MemoryFigures) int64 { return f.PrincipalLimit })),
		newGauge("keyreeve_memory_waiting", "Requests that wait for memory.", figure(func(f MemoryFigures) int64 { return f.Waiting })),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "keyreeve_memory_refused_total", Help: "Requests that were refused because no memory was free for them."},
			figure(func(f MemoryFigures) int64 { return f.Refused })))
}

// WatchClientCertificates has each scrape ask for authn.Authenticator.ClientExpiry.
func (m *Metrics) WatchClientCertificates(expiry func() (earliest time.Time, expiring int)) {
	m.registry.MustRegister(
		newGauge("keyreeve_client_certificates_expiring", "Client certificates in use that expire soon; see tls.expiry_warning.", func() float64 { _, n := expiry(); return float64(n) }),
		newGauge("keyreeve_client_certificate_expiry_seconds", "Time until the first client certificate expires that is in use; +Inf if none is.", func() float64 {
			earliest, _ := expiry()
			if earliest.IsZero() {
				return math.Inf(1)
			}
			return time.Until(earliest).Seconds()
		}))
}

// WatchRows has each scrape ask for engine.Engine.PendingDestroys and Tampered.
func (m *Metrics) WatchRows(pending func() int, tampered func() int64) {
	m.registry.MustRegister(
		newGauge("keyreeve_pending_destroys", "Token objects of destroyed or unfinished keys that are still in the HSM.", func() float64 { return float64(pending()) }),
		prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "keyreeve_tampered_rows_total", Help: "Times that a row of the database was found changed behind the server."},
			func() float64 { return float64(tampered()) }))
}

// WatchLDAP has each scrape ask how many LDAP directories verify no passwords. The figure has no
// tenant: those who read metrics need not know the names of tenants.
func (m *Metrics) WatchLDAP(down func() int) {
	m.registry.MustRegister(newGauge("keyreeve_ldap_directories_down", "LDAP directories that verify no passwords.", func() float64 { return float64(down()) }))
}

// Observe is engine.Ports.Observe.
func (m *Metrics) Observe(o engine.Observation) {
	code := ""
	if o.Outcome != core.Allowed {
		code = o.Code.String()
	}
	m.operations.WithLabelValues(nameOf(o.Action), string(o.Door), string(o.Outcome), code).Observe(o.Duration.Seconds())
}

// nameOf returns the name of an action. Operations that no version of KMIP has share
// one name: a client can ask for four thousand million of them.
func nameOf(a core.Action) string {
	if row := a.Info(); row != nil {
		return row.Name
	}
	return "other"
}

// FailedLogin is engine.Ports.FailedLogin.
func (m *Metrics) FailedLogin(door core.Door, method string) {
	m.logins.WithLabelValues(string(door), method).Inc()
}

// Opened, Closed and Refused watch the KMIP door.
func (m *Metrics) Opened()            { m.connections.Inc() }
func (m *Metrics) Closed()            { m.connections.Dec() }
func (m *Metrics) Refused(why string) { m.refused.WithLabelValues(why).Inc() }

// Handler serves the figures.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
}
